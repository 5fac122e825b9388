package sandbox

import (
	"slices"

	"boomerang/internal/limit"
)

// Name is what the inside of every container is called: its host, and the user and the group that programs run as.
const Name = "sandbox"

// Spec is all that must be known to prepare a container, before there is a job for it.
type Spec struct {
	Execution string // the execution's id; names and labels the container. Empty for a container that waits for one
	Language  string
	Image     string
	Pull      string // PullMissing, also when empty, or PullNever
	Limits    Limits
	Slot      int    // 0…; concurrent containers of one node have different slots, and so different UIDs
	Network   string // "none", also when empty, "egress" or "proxy"
	Runtime   string // empty = the engine's default
	// Rehearsal is what the init runs once while it waits for the job, so that the program starts faster; empty = nothing.
	// The job waits for none of it, and the program finds none of it.
	Rehearsal []string
}

// Whether an image that is not there is pulled.
const (
	PullMissing = "missing" // pulled once for all who wait
	PullNever   = "never"   // ErrImageUnavailable: nobody else's image may take the name
)

// Limits bound one container.
type Limits = limit.Limits

// MaxArtifacts is how many files are collected at most, whatever their size: each has a frame in the log.
const MaxArtifacts = 256

// Same tells whether two specs make the same container, whoever it is for.
func (s Spec) Same(o Spec) bool { return s.Limits == o.Limits && s.sameSetup(o) }

// Fits tells whether a container of this spec can serve as one of another when it is resized. What is only collected or kept of a
// container may be less than it could be.
func (s Spec) Fits(o Spec) bool {
	l, m := s.Limits, o.Limits
	return s.sameSetup(o) && l.Files == m.Files && l.Workspace == m.Workspace && l.Tmp == m.Tmp &&
		l.Output >= m.Output && l.Tail >= m.Tail && l.Artifacts >= m.Artifacts && l.Kept >= m.Kept && l.Entries >= m.Entries
}

func (s Spec) sameSetup(o Spec) bool {
	return s.Language == o.Language && s.Image == o.Image && s.Pull == o.Pull && s.Network == o.Network && s.Runtime == o.Runtime &&
		slices.Equal(s.Rehearsal, o.Rehearsal)
}
