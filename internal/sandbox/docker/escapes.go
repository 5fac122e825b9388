package docker

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// escape is a known way out of a container that a version of runc left open.
type escape struct {
	id    string
	since string   // the version that brought it; empty = all before fixed have it
	fixed []string // the first version of each branch without it, ascending; later branches never had it
	built []string // how distributions number builds that have it mended under an older version: prefixes
	what  string
}

// escapes of runc, newest first. Sources: the advisories at https://github.com/opencontainers/runc/security/advisories
// (GHSA-9493-h29p-rfm2, GHSA-qw9x-cqr3-wc7r, GHSA-cgrx-mc8f-2prm of November 2025; GHSA-xr7r-f8xq-vfvv of January 2024;
// GHSA-vpvm-3wq2-2wvm and GHSA-g2j6-57v7-gm8c of March 2023; GHSA-c3xm-pvg7-gh7r of May 2021; GHSA-fh74-hm69-rqjw of
// January 2020), https://www.openwall.com/lists/oss-security/2019/02/11/2 for CVE-2019-5736; for
// builds the changelogs of the Debian package runc.
//
//nolint:gochecknoglobals // a table
var escapes = []escape{
	{id: "CVE-2025-31133", fixed: []string{"1.2.8", "1.3.3", "1.4.0-rc.3"}, what: "masked paths that turn into mounts of the host's"},
	{id: "CVE-2025-52565", fixed: []string{"1.2.8", "1.3.3", "1.4.0-rc.3"}, what: "a console that is mounted before paths are masked"},
	{id: "CVE-2025-52881", fixed: []string{"1.2.8", "1.3.3", "1.4.0-rc.3"}, what: "writes to /proc that are led elsewhere"},
	{
		id: "CVE-2024-21626", since: "1.0.0-rc93", fixed: []string{"1.1.12"}, built: []string{"1.1.5+ds1-1+deb12u"},
		what: "a working directory in a file that runc left open",
	},
	{id: "CVE-2023-27561", since: "1.0.0-rc95", fixed: []string{"1.1.5"}, what: "an image whose /proc is a link, with a volume"},
	{id: "CVE-2023-28642", fixed: []string{"1.1.5"}, what: "AppArmor turned off by an image whose /proc is a link"},
	{id: "CVE-2021-30465", fixed: []string{"1.0.0-rc95"}, what: "mounts that follow a link which was exchanged"},
	{id: "CVE-2019-19921", fixed: []string{"1.0.0-rc10"}, what: "an image whose /proc is a link, with a volume that two share"},
	{id: "CVE-2019-5736", fixed: []string{"1.0.0-rc7"}, what: "overwriting runc itself from inside"},
}

// adviceOn tells which known ways out a version of runc has; empty when there is none, or when the version is not one.
func adviceOn(number, build string) string {
	version, ok := parseVersion(number)
	if !ok {
		return ""
	}
	var known, fixed []string
	for _, e := range escapes {
		mended := slices.ContainsFunc(e.built, func(prefix string) bool { return strings.HasPrefix(build, prefix) })
		since, _ := parseVersion(e.since) // none: the smallest of all
		if first := firstWithout(version, e.fixed); first != "" && !mended && slices.Compare(version[:], since[:]) >= 0 {
			known = append(known, fmt.Sprintf("%s (%s)", e.id, e.what))
			fixed = append(fixed, first)
		}
	}
	if len(known) == 0 {
		return ""
	}
	advice := "Known ways out of a container: " + strings.Join(known, ", ") + ". Fixed in runc " + fixed[0] + "."
	if distribution(build) {
		advice += " A distribution may have mended this under its own number: ask its security tracker about " + build + "."
	}
	return advice
}

// distribution tells whether a build is numbered by a distribution, as 1.1.5+ds1-1+deb12u1 and 1.1.12-0ubuntu2 are.
func distribution(build string) bool { return distributionBuild.MatchString(build) }

var (
	distributionBuild = regexp.MustCompile(`\+ds|deb\d|ubuntu|\.el\d|\.fc\d|-r\d+$`)
	versionNumber     = regexp.MustCompile(`^v?(\d+)\.(\d+)\.(\d+)(?:[-~+.]?rc\.?(\d+))?`)
)

// versionParts are major, minor, patch and release candidate; a release comes after all its candidates.
type versionParts [4]int

func parseVersion(text string) (parts versionParts, ok bool) {
	found := versionNumber.FindStringSubmatch(text)
	if found == nil {
		return parts, false
	}
	for i, digits := range found[1:] {
		n, err := strconv.Atoi(digits)
		if err != nil {
			n = math.MaxInt // no candidate
		}
		parts[i] = n
	}
	return parts, true
}

// firstWithout is the version of its branch that has it mended, or of the next; empty when version needs none.
func firstWithout(version versionParts, fixed []string) string {
	for _, text := range fixed {
		first, _ := parseVersion(text)
		if slices.Compare(version[:2], first[:2]) > 0 {
			continue
		}
		if slices.Compare(version[:], first[:]) < 0 {
			return text
		}
		return ""
	}
	return ""
}
