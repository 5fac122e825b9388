package execution

// Limits bound one execution. A zero field of a request means the language's limit.
type Limits struct {
	Memory    int64   `json:"memory,omitempty"`    // bytes; no swap is added; tmpfs pages count
	CPUs      float64 `json:"cpus,omitempty"`      // greater than 0
	PIDs      int64   `json:"pids,omitempty"`      // processes and threads of the program; the init's threads are added
	Output    int64   `json:"output,omitempty"`    // bytes of each stream that are passed on while the program runs
	Workspace int64   `json:"workspace,omitempty"` // bytes of the tmpfs at /workspace
	Artifacts int64   `json:"artifacts,omitempty"` // bytes of all collected files together

	// A request cannot choose the limits below.

	Files int64 `json:"files,omitempty"` // open files of one process
	Tmp   int64 `json:"tmp,omitempty"`   // bytes of the tmpfs at /tmp
	Tail  int64 `json:"tail,omitempty"`  // bytes of each stream that are kept beyond Output
	Flood int64 `json:"flood,omitempty"` // bytes of a stream above which the program is killed; 0 means never
	Kept  int64 `json:"kept,omitempty"`  // bytes of the workspace that are collected at the end
	// Files, directories and links of the workspace that are collected at the end.
	Entries int `json:"entries,omitempty"`
}

// Resized returns l with the memory, CPUs and PIDs of to: the limits of a waiting container after a resize.
func (l Limits) Resized(to Limits) Limits {
	l.Memory, l.CPUs, l.PIDs = to.Memory, to.CPUs, to.PIDs
	return l
}

// LimitUnit is the unit of a limit.
type LimitUnit string

// The units of limits, as error sentences name them.
const (
	UnitBytes     LimitUnit = "bytes"
	UnitCPUs      LimitUnit = "CPUs"
	UnitProcesses LimitUnit = "processes"
	UnitFiles     LimitUnit = "files"
)

// Limit describes one field of Limits. The catalogue, admission and the HTTP decoder walk the table of all limits. A
// new limit is a field of Limits and an entry of AllLimits. A limit of the container also has a line in the Docker
// package.
type Limit struct {
	Name    string // the key in languages.yaml, in requests and in error sentences
	Unit    LimitUnit
	Default float64 // the limit of a language that sets none
	Least   float64 // the smallest value in languages.yaml; for memory and CPUs this is Docker's own minimum
	// LeastAsked is the smallest value that a request may ask for, unless the language itself has less.
	// 0 means that a request cannot choose this limit.
	LeastAsked float64

	integer func(*Limits) *int64
	decimal func(*Limits) *float64 // in place of integer, for a limit that may have a fraction
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// AllLimits returns every limit of languages.yaml in the order in which error sentences name them.
func AllLimits() []Limit {
	return []Limit{
		{
			Name: "memory", Unit: UnitBytes, Default: 512 * mib, Least: 6 * mib, LeastAsked: 16 * mib,
			integer: func(l *Limits) *int64 { return &l.Memory },
		},
		{
			Name: "cpus", Unit: UnitCPUs, Default: 1, Least: 0.01, LeastAsked: 0.01,
			decimal: func(l *Limits) *float64 { return &l.CPUs },
		},
		{
			Name: "pids", Unit: UnitProcesses, Default: 128, Least: 1, LeastAsked: 1,
			integer: func(l *Limits) *int64 { return &l.PIDs },
		},
		{Name: "files", Unit: UnitFiles, Default: 1024, Least: 1, integer: func(l *Limits) *int64 { return &l.Files }},
		{
			Name: "output", Unit: UnitBytes, Default: mib, Least: 1, LeastAsked: 1,
			integer: func(l *Limits) *int64 { return &l.Output },
		},
		{
			Name: "workspace", Unit: UnitBytes, Default: 256 * mib, Least: 1, LeastAsked: 64 * kib,
			integer: func(l *Limits) *int64 { return &l.Workspace },
		},
		{Name: "tmp", Unit: UnitBytes, Default: 64 * mib, Least: 1, integer: func(l *Limits) *int64 { return &l.Tmp }},
		{
			Name: "tail", Unit: UnitBytes, Default: 64 * kib, Least: 1,
			integer: func(l *Limits) *int64 { return &l.Tail },
		},
		{Name: "flood", Unit: UnitBytes, integer: func(l *Limits) *int64 { return &l.Flood }},
		{
			Name: "artifacts", Unit: UnitBytes, Default: 16 * mib, LeastAsked: 1,
			integer: func(l *Limits) *int64 { return &l.Artifacts },
		},
	}
}

// RequestableLimits returns the limits that a request may choose.
func RequestableLimits() []Limit {
	var chosen []Limit
	for _, l := range AllLimits() {
		if l.LeastAsked > 0 {
			chosen = append(chosen, l)
		}
	}
	return chosen
}

// Of returns the value of the limit in l: a float64 for a limit with fractions, else an int64.
func (f Limit) Of(l Limits) any {
	if f.decimal != nil {
		return *f.decimal(&l)
	}
	return *f.integer(&l)
}

// Value returns n in the limit's own type: a float64 for a limit with fractions, else an int64.
func (f Limit) Value(n float64) any {
	if f.decimal != nil {
		return n
	}
	return int64(n)
}

// Float returns the value of the limit in l, rounded to the nearest float64.
func (f Limit) Float(l Limits) float64 {
	if f.decimal != nil {
		return *f.decimal(&l)
	}
	return float64(*f.integer(&l))
}

// Set sets the limit in l to value. A limit without fractions drops the fraction of value.
func (f Limit) Set(l *Limits, value float64) {
	if f.decimal != nil {
		*f.decimal(l) = value
		return
	}
	*f.integer(l) = int64(value)
}

// Copy sets the limit in to to its value in from.
func (f Limit) Copy(to *Limits, from Limits) {
	if f.decimal != nil {
		*f.decimal(to) = *f.decimal(&from)
		return
	}
	*f.integer(to) = *f.integer(&from)
}

// Target returns a pointer to the limit's field in l: a *float64 for a limit with fractions, else an *int64.
func (f Limit) Target(l *Limits) any {
	if f.decimal != nil {
		return f.decimal(l)
	}
	return f.integer(l)
}

// DefaultLimits returns the limits of a language that sets none.
func DefaultLimits() Limits {
	var l Limits
	for _, f := range AllLimits() {
		f.Set(&l, f.Default)
	}
	return l
}

// Fill returns l with every requestable limit that is zero taken from other.
func (l Limits) Fill(other Limits) Limits {
	for _, f := range RequestableLimits() {
		if f.Float(l) == 0 {
			f.Copy(&l, other)
		}
	}
	return l
}

// Override returns l with every requestable limit that asked sets, but no more than most.
func (l Limits) Override(asked, most Limits) Limits {
	for _, f := range RequestableLimits() {
		if f.Float(asked) != 0 {
			f.Copy(&l, asked)
		}
		if f.Float(l) > f.Float(most) {
			f.Copy(&l, most)
		}
	}
	return l
}
