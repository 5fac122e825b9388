package docker

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/system"

	"boomerang/internal/sandbox"
)

// recorded reads an engine's answers to /info and /version. The file debian-20.10 is a recording; upstream-28 has
// the values of Docker's own packages of version 28 in it.
func recorded(t *testing.T, name string) (info system.Info, version types.Version) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "engines", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var both struct {
		Info    *system.Info
		Version *types.Version
	}
	both.Info, both.Version = &info, &version
	if err := json.Unmarshal(text, &both); err != nil {
		t.Fatal(err)
	}
	return info, version
}

// fact returns the fact with that name.
func fact(t *testing.T, facts []sandbox.Fact, name string) sandbox.Fact {
	t.Helper()
	for _, f := range facts {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no fact %q in %+v", name, facts)
	return sandbox.Fact{}
}

func TestEngineAnswersBecomeFacts(t *testing.T) {
	for name, c := range map[string]struct {
		engine   string
		change   func(*system.Info, *types.Version)
		fact     string
		weight   sandbox.Weight
		mentions string // in value or advice
	}{
		"its version": {engine: "debian-20.10", fact: "engine", weight: sandbox.Fine, mentions: "API 1.41"},
		"a version that is old": {engine: "debian-20.10", change: func(_ *system.Info,
			v *types.Version,
		) {
			v.APIVersion = "1.40"
		}, fact: "engine", weight: sandbox.Warning, mentions: "20.10"},
		"Podman": {
			engine: "upstream-28", change: components("Podman Engine", "Conmon",
				"OCI Runtime (crun)"), fact: "engine", weight: sandbox.Warning,
			mentions: "Podman is not supported: its Docker API takes the seccomp profile as the path",
		},
		"Podman, old": {
			engine: "debian-20.10", change: components("Podman Engine"), fact: "engine",
			weight: sandbox.Warning, mentions: "Podman is not supported",
		},
		"an engine with a name": {
			engine: "upstream-28", change: components("containerd", "runc"), fact: "engine",
			weight: sandbox.Warning, mentions: "Finch is not supported: no isolation",
		},
		"only a component": {
			engine: "upstream-28", change: nameless(components("Daemonless", "runc")),
			fact: "engine", weight: sandbox.Warning, mentions: "Daemonless is not supported",
		},
		"no components at all": {
			engine: "upstream-28", change: components(), fact: "engine", weight: sandbox.Fine,
			mentions: "API",
		},
		"Docker's, rebranded": {
			engine: "upstream-28", change: components("Engine", "containerd"), fact: "engine",
			weight: sandbox.Fine, mentions: "API",
		},
		"containers of Windows": {engine: "debian-20.10", change: func(i *system.Info,
			_ *types.Version,
		) {
			i.OSType = "windows"
		}, fact: "engine", weight: sandbox.Warning, mentions: "Linux"},
		"a distribution's runc": {
			engine: "debian-20.10", fact: "runc", weight: sandbox.Warning,
			mentions: "security tracker about 1.1.5+ds1-1+deb12u1",
		},
		"a runc without holes": {engine: "upstream-28", fact: "runc", weight: sandbox.Fine, mentions: "1.3.3"},
		"a runc without a version": {engine: "upstream-28", change: func(i *system.Info, v *types.Version) {
			v.Components,
				i.RuncCommit.ID = nil, ""
		}, fact: "runc", weight: sandbox.Note, mentions: "unknown"},
		"cgroups of version 1": {engine: "debian-20.10", fact: "cgroup", weight: sandbox.Fine, mentions: "version 1"},
		"cgroups not delegated": {
			engine: "upstream-28", change: func(i *system.Info,
				_ *types.Version,
			) {
				i.CgroupDriver = "none"
			}, fact: "cgroup", weight: sandbox.Warning,
			mentions: "delegate",
		},
		"all limits": {engine: "debian-20.10", fact: "limits", weight: sandbox.Fine, mentions: "pids"},
		"no limit of swap": {
			engine: "debian-20.10", change: func(i *system.Info,
				_ *types.Version,
			) {
				i.SwapLimit = false
			}, fact: "limits", weight: sandbox.Warning,
			mentions: "missing: swap",
		},
		"no limit of processes": {
			engine: "upstream-28", change: func(i *system.Info,
				_ *types.Version,
			) {
				i.PidsLimit = false
			}, fact: "limits", weight: sandbox.Warning,
			mentions: "missing: pids",
		},
		"seccomp": {engine: "upstream-28", fact: "seccomp", weight: sandbox.Fine, mentions: "builtin"},
		"no seccomp": {
			engine: "upstream-28", change: func(i *system.Info,
				_ *types.Version,
			) {
				i.SecurityOptions = nil
			}, fact: "seccomp", weight: sandbox.Warning,
			mentions: "absent",
		},
		"AppArmor": {
			engine: "upstream-28", fact: "apparmor or selinux", weight: sandbox.Fine,
			mentions: "apparmor",
		},
		"no AppArmor": {
			engine: "debian-20.10", fact: "apparmor or selinux", weight: sandbox.Note,
			mentions: "none",
		},
		"an engine that is root": {
			engine: "debian-20.10", fact: "engine's user", weight: sandbox.Note,
			mentions: "rootless",
		},
		"a rootless engine": {
			engine: "upstream-28", change: withOption("name=rootless"), fact: "engine's user",
			weight: sandbox.Fine, mentions: "rootless",
		},
		"remapped users": {
			engine: "upstream-28", change: withOption("name=userns"), fact: "engine's user",
			weight: sandbox.Fine, mentions: "remapped",
		},
		"live-restore":    {engine: "upstream-28", fact: "live-restore", weight: sandbox.Fine, mentions: "on"},
		"no live-restore": {engine: "debian-20.10", fact: "live-restore", weight: sandbox.Note, mentions: "off"},
		"a slow storage driver": {engine: "debian-20.10", change: func(i *system.Info,
			_ *types.Version,
		) {
			i.Driver = "vfs"
		}, fact: "storage", weight: sandbox.Note, mentions: "vfs"},
		"a bridge's warning": {
			engine: "debian-20.10",
			change: warning("WARNING: bridge-nf-call-iptables is disabled"), fact: "engine warns", weight: sandbox.Note,
			mentions: "bridge-nf",
		},
		"a public API": {
			engine: "debian-20.10",
			change: warning("WARNING: API is accessible on http://0.0.0.0:2375 without encryption."),
			fact:   "engine warns", weight: sandbox.Warning, mentions: "root",
		},
	} {
		t.Run(name, func(t *testing.T) {
			info, version := recorded(t, c.engine)
			if c.change != nil {
				c.change(&info, &version)
			}
			got := fact(t, engineFacts(info, version, time.Now()), c.fact)
			if got.Weight != c.weight || !strings.Contains(got.Value+got.Advice, c.mentions) {
				t.Errorf("got %+v, want a %s that mentions %q", got, c.weight, c.mentions)
			}
		})
	}
}

// components returns a change to an engine with components of these names, on a platform called Finch.
func components(names ...string) func(*system.Info, *types.Version) {
	return func(_ *system.Info, v *types.Version) {
		v.Platform.Name, v.Components = "Finch", nil
		for _, name := range names {
			v.Components = append(v.Components, types.ComponentVersion{Name: name, Version: "4.3.1"})
		}
	}
}

func nameless(change func(*system.Info, *types.Version)) func(*system.Info, *types.Version) {
	return func(i *system.Info, v *types.Version) {
		change(i, v)
		v.Platform.Name = ""
	}
}

func withOption(option string) func(*system.Info, *types.Version) {
	return func(i *system.Info, _ *types.Version) { i.SecurityOptions = append(i.SecurityOptions, option) }
}

func warning(text string) func(*system.Info, *types.Version) {
	return func(i *system.Info, _ *types.Version) { i.Warnings = append(i.Warnings, text) }
}

func TestKnownWaysOutOfRunc(t *testing.T) {
	for _, c := range []struct {
		number, build string
		want, not     []string // CVEs
	}{
		{number: "1.0.0-rc6", want: []string{
			"CVE-2019-5736", "CVE-2019-19921", "CVE-2021-30465", "CVE-2023-28642",
			"CVE-2025-31133",
		}, not: []string{"CVE-2024-21626", "CVE-2023-27561"}},
		{number: "1.0.0-rc10", want: []string{"CVE-2021-30465"}, not: []string{"CVE-2019-5736", "CVE-2019-19921"}},
		{number: "1.0.0~rc93+ds1", want: []string{"CVE-2021-30465"}},
		{number: "1.0.0-rc95", want: []string{"CVE-2024-21626", "CVE-2023-27561"}, not: []string{"CVE-2021-30465"}},
		{number: "1.1.4", want: []string{"CVE-2023-27561", "CVE-2023-28642"}},
		{number: "1.1.5", want: []string{"CVE-2024-21626"}, not: []string{"CVE-2023-27561", "CVE-2023-28642"}},
		{number: "1.1.11", want: []string{"CVE-2024-21626", "CVE-2025-52565"}, not: []string{"CVE-2021-30465"}},
		{
			number: "1.1.5+ds1", build: "1.1.5+ds1-1+deb12u1", want: []string{"CVE-2025-52881", "security tracker"},
			not: []string{"CVE-2024-21626"},
		},
		{number: "1.1.5+ds1", build: "1.1.5+ds1-1", want: []string{"CVE-2024-21626"}},
		{
			number: "1.1.12", build: "v1.1.12-0-g51d5e946", want: []string{"CVE-2025-31133"},
			not: []string{"CVE-2024-21626", "security tracker"},
		},
		{number: "1.2.7", want: []string{"CVE-2025-31133"}, not: []string{"CVE-2024-21626"}},
		{number: "1.3.2", want: []string{"CVE-2025-31133", "Fixed in runc 1.3.3"}},
		{number: "1.4.0-rc.2", want: []string{"CVE-2025-31133", "Fixed in runc 1.4.0-rc.3"}},
		{number: "1.2.8", not: []string{"CVE"}},
		{number: "1.3.3", not: []string{"CVE"}},
		{number: "1.4.0-rc.3", not: []string{"CVE"}},
		{number: "1.4.0", not: []string{"CVE"}},
		{number: "2.0.0", not: []string{"CVE"}},
		{number: "unknown", not: []string{"CVE"}},
	} {
		t.Run(c.number+" "+c.build, func(t *testing.T) {
			got := escapeAdvice(c.number, c.build)
			for _, id := range c.want {
				if !strings.Contains(got, id) {
					t.Errorf("%q does not say %s", got, id)
				}
			}
			for _, id := range c.not {
				if strings.Contains(got, id) {
					t.Errorf("%q says %s", got, id)
				}
			}
		})
	}
}

func TestATableOfEscapesOlderThanHalfAYearIsAWarning(t *testing.T) {
	const day = 24 * time.Hour
	reviewed, err := time.Parse(time.DateOnly, escapes().Reviewed)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		age  time.Duration
		want sandbox.Weight
	}{
		{-day, sandbox.Fine},
		{0, sandbox.Fine},
		{183 * day, sandbox.Fine},
		{184 * day, sandbox.Warning},
		{1000 * day, sandbox.Warning},
	} {
		info, version := recorded(t, "upstream-28")
		got := fact(t, engineFacts(info, version, reviewed.Add(c.age)), "runc advisories")
		if !got.Own {
			t.Error("docker.strict would refuse an engine for the age of boomerang's own table")
		}
		if got.Weight != c.want || (got.Advice != "") != (c.want == sandbox.Warning) {
			t.Errorf("%d days after the review: %+v, want a %s", c.age/day, got, c.want)
		}
		if want := "reviewed " + escapes().Reviewed; got.Value != want {
			t.Errorf("value = %q, want %q", got.Value, want)
		}
	}
	if got := escapesFact(escapeTable{Reviewed: "soon"}, reviewed); got.Weight != sandbox.Warning {
		t.Errorf("a table without a date: %+v, want a warning", got)
	}
}

func TestTheTableOfEscapesIsValid(t *testing.T) {
	for _, e := range escapes().Escapes {
		if e.ID == "" || e.Hole == "" || len(e.Fixed) == 0 {
			t.Errorf("%+v: id, hole and fixed must be set", e)
		}
		for _, v := range append(e.Fixed, e.Since) {
			if _, ok := parseVersion(v); !ok && v != "" {
				t.Errorf("%s: %q is no version", e.ID, v)
			}
		}
	}
}
