package sandbox_test

import (
	"testing"

	"boomerang/internal/sandbox"
)

func spec() sandbox.Spec {
	return sandbox.Spec{
		Language: "l", Image: "i", Pull: "missing", Network: "none", Runtime: "runc", Rehearsal: []string{"r"},
		Limits: sandbox.Limits{
			Memory: 10, CPUs: 1, PIDs: 10, Files: 10, Workspace: 10, Tmp: 10, Output: 10, Tail: 10, Flood: 10, Kept: 10,
			Entries: 10, Artifacts: 10,
		},
	}
}

func TestAContainerFitsSpecsThatAreNotLarger(t *testing.T) {
	for name, c := range map[string]struct {
		want       func(*sandbox.Spec)
		fits, same bool
	}{
		"an equal spec":              {func(*sandbox.Spec) {}, true, true},
		"another execution and slot": {func(s *sandbox.Spec) { s.Execution, s.Slot = "exec", 3 }, true, true},
		"another language":           {func(s *sandbox.Spec) { s.Language = "m" }, false, false},
		"another image":              {func(s *sandbox.Spec) { s.Image = "j" }, false, false},
		"another pull policy":        {func(s *sandbox.Spec) { s.Pull = "never" }, false, false},
		"another network":            {func(s *sandbox.Spec) { s.Network = "egress" }, false, false},
		"another runtime":            {func(s *sandbox.Spec) { s.Runtime = "runsc" }, false, false},
		"another rehearsal":          {func(s *sandbox.Spec) { s.Rehearsal = nil }, false, false},
		"more memory":                {func(s *sandbox.Spec) { s.Limits.Memory++ }, true, false},
		"more CPUs":                  {func(s *sandbox.Spec) { s.Limits.CPUs++ }, true, false},
		"more PIDs":                  {func(s *sandbox.Spec) { s.Limits.PIDs++ }, true, false},
		"another flood":              {func(s *sandbox.Spec) { s.Limits.Flood++ }, true, false},
		"fewer files":                {func(s *sandbox.Spec) { s.Limits.Files-- }, false, false},
		"a smaller workspace":        {func(s *sandbox.Spec) { s.Limits.Workspace-- }, false, false},
		"a smaller /tmp":             {func(s *sandbox.Spec) { s.Limits.Tmp-- }, false, false},
		"less output":                {func(s *sandbox.Spec) { s.Limits.Output-- }, true, false},
		"more output":                {func(s *sandbox.Spec) { s.Limits.Output++ }, false, false},
		"a shorter tail":             {func(s *sandbox.Spec) { s.Limits.Tail-- }, true, false},
		"a longer tail":              {func(s *sandbox.Spec) { s.Limits.Tail++ }, false, false},
		"less that is kept":          {func(s *sandbox.Spec) { s.Limits.Kept-- }, true, false},
		"more that is kept":          {func(s *sandbox.Spec) { s.Limits.Kept++ }, false, false},
		"fewer entries":              {func(s *sandbox.Spec) { s.Limits.Entries-- }, true, false},
		"more entries":               {func(s *sandbox.Spec) { s.Limits.Entries++ }, false, false},
		"less to be collected":       {func(s *sandbox.Spec) { s.Limits.Artifacts-- }, true, false},
		"more to be collected":       {func(s *sandbox.Spec) { s.Limits.Artifacts++ }, false, false},
	} {
		other := spec()
		c.want(&other)
		if fits, same := spec().Fits(other), spec().Same(other); fits != c.fits || same != c.same {
			t.Errorf("%s: fits = %t, same = %t; want %t, %t", name, fits, same, c.fits, c.same)
		}
	}
}
