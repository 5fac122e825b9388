package docker

import (
	"errors"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/system"

	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
)

func TestACgroupParentFitsTheEnginesDriver(t *testing.T) {
	for _, c := range []struct {
		driver, parent string
		fits           bool
	}{
		{"cgroupfs", "", true},
		{"cgroupfs", "/boomerang", true},
		{"cgroupfs", "/boomerang/programs", true},
		{"cgroupfs", "boomerang", false}, // below the engine's own cgroup
		{"cgroupfs", "boomerang.slice", false},
		{"cgroupfs", "/boomerang/", false},
		{"cgroupfs", "/", false},
		{"systemd", "", true},
		{"systemd", "boomerang.slice", true},
		{"systemd", "boomerang-programs.slice", true},
		{"systemd", "/boomerang", false},
		{"systemd", "boomerang", false},
		{"systemd", "boomerang--programs.slice", false},
		{"systemd", "-boomerang.slice", false},
		{"systemd", "a/boomerang.slice", false},
		{"none", "/boomerang", true}, // an engine without cgroups, of which the facts warn
	} {
		err := Config{CgroupParent: c.parent}.checkEngine(system.Info{CgroupDriver: c.driver})
		if (err == nil) != c.fits || err != nil && (!errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(),
			"docker.cgroup_parent")) {
			t.Errorf("%s, %q: %v, want fits = %t and the key in the error", c.driver, c.parent, err, c.fits)
		}
	}
}

func TestProgramsAreUsersThatTheEngineHas(t *testing.T) {
	for name, c := range map[string]struct {
		set     int
		options []string
		want    int
		weight  sandbox.Weight
	}{
		"as they are": {want: 100_000, weight: sandbox.Fine},
		"as set":      {set: 5000, want: 5000, weight: sandbox.Fine},
		"remapped":    {options: []string{"name=userns"}, want: 20_000, weight: sandbox.Note},
		"rootless": {
			options: []string{"name=seccomp,profile=builtin", "name=rootless"}, want: 20_000,
			weight: sandbox.Note,
		},
		"as set, on one that remaps": {
			set: 300_000, options: []string{"name=userns"}, want: 300_000,
			weight: sandbox.Warning,
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := Config{UIDBase: c.set}
			engine := engineInfoOf(system.Info{SecurityOptions: c.options})
			if got, want := uid(sandbox.Spec{Slot: 3}, hostFacts{config: config, engine: engine}),
				c.want+3; got != want {
				t.Errorf("user of slot 3 = %d, want %d", got, want)
			}
			if got := usersFact(config, engine); got.Weight != c.weight ||
				(got.Advice == "") != (c.weight == sandbox.Fine) {
				t.Errorf("got %+v, want a %s", got, c.weight)
			}
		})
	}
}

func TestGVisorHasRoomForItsThreads(t *testing.T) {
	for name, c := range map[string]struct {
		runtime, engines string
		want             int64
	}{
		"by name":                 {runtime: "runsc", want: gvisorPIDs},
		"by another name":         {runtime: "runsc-kvm", engines: "runc", want: gvisorPIDs},
		"as the engine's default": {engines: "runsc", want: gvisorPIDs},
		"not where runc is named": {runtime: "runc", engines: "runsc", want: 1 + journal.Threads},
	} {
		spec := sandbox.Spec{Runtime: c.runtime, Limits: sandbox.Limits{PIDs: 1}}
		if got := pidsLimit(spec, hostFacts{engine: engineInfo{runtime: c.engines}}); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
