package docker

import (
	_ "embed" // for escapes.yaml
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"

	"boomerang/internal/sandbox"
)

// escapeTable is escapes.yaml.
type escapeTable struct {
	Reviewed string   `yaml:"reviewed"` // the day of the last review, as 2006-01-02
	Escapes  []escape `yaml:"escapes"`
}

// escape is a known way out of a container in some versions of runc. The file explains the fields.
type escape struct {
	ID    string   `yaml:"id"`
	Since string   `yaml:"since"`
	Fixed []string `yaml:"fixed"`
	Built []string `yaml:"built"`
	Hole  string   `yaml:"hole"`
}

//go:embed escapes.yaml
var escapesFile []byte

// escapes parses the embedded table once.
var escapes = sync.OnceValue(func() escapeTable {
	var table escapeTable
	if err := yaml.UnmarshalWithOptions(escapesFile, &table, yaml.Strict()); err != nil {
		panic(err) // the file is part of the program, and a test reads it
	}
	return table
})

// reviewTime is the age from which the table of escapes counts as out of date.
const reviewTime = 183 * 24 * time.Hour

// escapesFact reports the age of a table of escapes at now: newer holes are missing from an old table.
func escapesFact(table escapeTable, now time.Time) sandbox.Fact {
	f := sandbox.Fact{Name: "runc advisories", Value: "reviewed " + table.Reviewed, Weight: sandbox.Fine, Own: true}
	reviewed, err := time.Parse(time.DateOnly, table.Reviewed)
	if err != nil || now.Sub(reviewed) > reviewTime {
		f.Weight = sandbox.Warning
		f.Advice = "This program's list of known holes in runc is more than half a year old: update boomerang, " +
			"and read https://github.com/opencontainers/runc/security/advisories until then."
	}
	return f
}

// escapeAdvice names the known ways out of a container that a version of runc has, and the version that fixes them. It
// is empty for a version without known holes, and for a text that is not a version.
func escapeAdvice(number, build string) string {
	version, ok := parseVersion(number)
	if !ok {
		return ""
	}
	var known, fixed []string
	for _, e := range escapes().Escapes {
		patched := slices.ContainsFunc(e.Built, func(prefix string) bool { return strings.HasPrefix(build, prefix) })
		since, _ := parseVersion(e.Since) // an empty Since parses to the smallest version
		if first := firstFixed(version, e.Fixed); first != "" && !patched && slices.Compare(version[:], since[:]) >= 0 {
			known = append(known, fmt.Sprintf("%s (%s)", e.ID, e.Hole))
			fixed = append(fixed, first)
		}
	}
	if len(known) == 0 {
		return ""
	}
	advice := "Known ways out of a container: " + strings.Join(known, ", ") + ". Fixed in runc " + fixed[0] + "."
	if distribution(build) {
		advice += " A distribution may have fixed this under its own version number: ask its security tracker about " +
			build + "."
	}
	return advice
}

// distribution reports whether a distribution numbered the build, as in 1.1.5+ds1-1+deb12u1 and 1.1.12-0ubuntu2.
func distribution(build string) bool { return distributionBuild.MatchString(build) }

var (
	distributionBuild = regexp.MustCompile(`\+ds|deb\d|ubuntu|\.el\d|\.fc\d|-r\d+$`)
	versionNumber     = regexp.MustCompile(`^v?(\d+)\.(\d+)\.(\d+)(?:[-~+.]?rc\.?(\d+))?`)
)

// versionParts are the major, minor and patch numbers and the release candidate. A release has the largest candidate
// number, so that it comes after all its candidates.
type versionParts [4]int

func parseVersion(text string) (parts versionParts, ok bool) {
	found := versionNumber.FindStringSubmatch(text)
	if found == nil {
		return parts, false
	}
	for i, digits := range found[1:] {
		n, err := strconv.Atoi(digits)
		if err != nil {
			n = math.MaxInt // a release
		}
		parts[i] = n
	}
	return parts, true
}

// firstFixed returns the fixed version of the version's own release branch, or else of the next branch. It is empty if
// version is fixed already.
func firstFixed(version versionParts, fixed []string) string {
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
