package language

import (
	"cmp"
	"maps"
	"strings"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
)

// Workspace is the working directory of an execution that asks for none, and the home of its program.
const Workspace = "/workspace"

// grace is how long a program that is told to end may take.
const grace = 2 * time.Second

// NoNetwork is the network of an execution that has none.
const NoNetwork = "none"

// Request is what one execution asks of its language.
type Request struct {
	Execution  string // the execution's id; empty plans a berth that waits for one
	Code       string
	Input      execution.Input
	Env        map[string]string // over the language's own
	WorkingDir string            // absolute; empty = Workspace
	Timeout    time.Duration
	Nonce      string
	Slot       int
	Limits     execution.Limits // as Bound takes them
	Network    string           // "none" = none, whatever the language has; empty = the language's
}

// Plan translates a request into the berth that it needs and the job that its init gets. It has no effects.
func Plan(l Language, r Request) (sandbox.Spec, journal.Job) {
	argv := make([]string, 0, len(l.Command)+len(r.Input.Args))
	for _, arg := range l.Command {
		argv = append(argv, strings.ReplaceAll(arg, placeholder, l.File))
	}
	argv = append(argv, r.Input.Args...)
	env := map[string]string{"HOME": Workspace, "LANG": "C.UTF-8"} // an arbitrary UID has no home in /etc/passwd
	maps.Copy(env, l.Env)
	maps.Copy(env, r.Env)
	limits := l.Bound(r.Limits)
	spec := sandbox.Spec{
		Execution: r.Execution,
		Language:  l.Name,
		Image:     l.Image,
		Pull:      l.Pull,
		Limits:    limits,
		Slot:      r.Slot,
		Network:   cmp.Or(r.Network, l.Network),
		Runtime:   l.Runtime,
	}
	job := journal.Job{
		Nonce:   r.Nonce,
		Code:    r.Code,
		File:    l.File,
		Argv:    argv,
		Env:     env,
		Dir:     cmp.Or(r.WorkingDir, Workspace),
		Timeout: r.Timeout,
		Grace:   grace,
		Stdin:   r.Input.Stdin,
		Head:    limits.Output,
		Tail:    limits.Tail,
		Limit:   limits.Flood,
	}
	for _, f := range r.Input.Files {
		job.Files = append(job.Files, journal.File(f))
	}
	return spec, job
}
