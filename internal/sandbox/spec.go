package sandbox

import (
	"slices"

	"boomerang/internal/execution"
)

// Name is the host name of every container, and the name of the user and the group that programs run as.
const Name = "sandbox"

// Spec describes a container before there is a job for it.
type Spec struct {
	Execution string // id of the execution, for names and labels; empty for a waiting container
	Language  string
	Image     string
	Pull      string // PullMissing or PullNever; empty means PullMissing
	Limits    Limits
	Slot      int    // from 0; concurrent containers of one node have different slots, and so different UIDs
	Network   string // "none", "egress" or "proxy"; empty means "none"
	Runtime   string // empty means the engine's default
	// Rehearsal is a command that the init runs once while it waits for the job, so that the program starts faster. A
	// job does not wait for the rehearsal, and the rehearsal leaves no files or processes. Empty means no rehearsal.
	Rehearsal []string
}

// The ways to treat a missing image.
const (
	PullMissing = "missing" // one pull serves all callers that wait for the image
	PullNever   = "never"   // fail with ErrImageUnavailable, so that a foreign image cannot take the name
)

// Limits bound one container.
type Limits = execution.Limits

// MaxArtifacts is the largest number of collected files, whatever their size: each file has a frame in the log.
const MaxArtifacts = 256

// Same reports whether two specs make the same container, for any execution and slot.
func (s Spec) Same(o Spec) bool { return s.Limits == o.Limits && s.sameSetup(o) }

// Fits reports whether a container of spec s, once resized, can run a job of spec o. Limits on kept and collected
// output may be larger in s than in o.
func (s Spec) Fits(o Spec) bool {
	l, m := s.Limits.Resized(o.Limits), o.Limits
	if l.Output < m.Output || l.Tail < m.Tail || l.Artifacts < m.Artifacts || l.Kept < m.Kept || l.Entries < m.Entries {
		return false
	}
	l.Output, l.Tail, l.Artifacts, l.Kept, l.Entries = m.Output, m.Tail, m.Artifacts, m.Kept, m.Entries
	l.Flood = m.Flood               // the init gets it with the job
	return s.sameSetup(o) && l == m // a limit that is not named here must be equal
}

func (s Spec) sameSetup(o Spec) bool {
	return s.Language == o.Language && s.Image == o.Image && s.Pull == o.Pull && s.Network == o.Network &&
		s.Runtime == o.Runtime &&
		slices.Equal(s.Rehearsal, o.Rehearsal)
}
