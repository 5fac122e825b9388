package sandbox

import "slices"

// Name is what the inside of every container is called: its host, and the user and the group that programs run as.
const Name = "sandbox"

// Spec is all that must be known to prepare a berth, before there is a job for it.
type Spec struct {
	Execution string // the execution's id; names and labels the container. Empty for a berth that waits for one
	Language  string
	Image     string
	Pull      string // PullMissing, also when empty, or PullNever
	Limits    Limits
	Slot      int    // 0…; concurrent berths of one node have different slots, and so different UIDs
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

// Limits bound what one container may take.
type Limits struct {
	Memory    int64   // bytes; swap is not added to it; tmpfs pages count
	CPUs      float64 // > 0
	PIDs      int64   // the program's; the init's threads are added
	Files     int64   // open files of one process
	Workspace int64   // bytes of the tmpfs at /workspace
	Tmp       int64   // bytes of the tmpfs at /tmp
	Output    int64   // bytes of each stream that are passed on as they come
	Tail      int64   // bytes of each stream that are kept beyond these
	Flood     int64   // bytes of a stream above which the program is killed; 0 = never
	Kept      int64   // bytes of the workspace that are collected in the end
	Entries   int     // files, directories and links of it
	Artifacts int64   // bytes of all files together that are collected in the end
}

// MaxArtifacts is how many files are collected at most, whatever their size: each has a frame in the log.
const MaxArtifacts = 256

// Resized are the limits of a berth that is resized to o: its own where Resize changes nothing.
func (l Limits) Resized(o Limits) Limits {
	l.Memory, l.CPUs, l.PIDs = o.Memory, o.CPUs, o.PIDs
	return l
}

// Same tells whether two specs make the same berth, whoever it is for.
func (s Spec) Same(o Spec) bool { return s.Limits == o.Limits && s.alike(o) }

// Fits tells whether a berth of this spec can serve as one of another when it is resized. What is only collected or kept of a
// berth may be less than it could be.
func (s Spec) Fits(o Spec) bool {
	l, m := s.Limits, o.Limits
	return s.alike(o) && l.Files == m.Files && l.Workspace == m.Workspace && l.Tmp == m.Tmp &&
		l.Output >= m.Output && l.Tail >= m.Tail && l.Artifacts >= m.Artifacts && l.Kept >= m.Kept && l.Entries >= m.Entries
}

func (s Spec) alike(o Spec) bool {
	return s.Language == o.Language && s.Image == o.Image && s.Pull == o.Pull && s.Network == o.Network && s.Runtime == o.Runtime &&
		slices.Equal(s.Rehearsal, o.Rehearsal)
}
