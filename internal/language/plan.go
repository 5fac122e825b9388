package language

import (
	"cmp"
	"maps"
	"strings"
	"time"

	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
)

// Workspace is the working directory of an execution that asks for none, and the home of its program.
const Workspace = "/workspace"

// grace is how long a program that is told to end may take.
const grace = 2 * time.Second

// Request is what one execution asks of its language.
type Request struct {
	Execution  string // the execution's id; empty plans a berth that waits for one
	Code       string
	Env        map[string]string // over the language's own
	WorkingDir string            // absolute; empty = Workspace
	Timeout    time.Duration
	Nonce      string
	Slot       int
}

// Plan translates a request into the berth that it needs and the job that its init gets. It has no effects.
func Plan(l Language, r Request) (sandbox.Spec, journal.Job) {
	argv := make([]string, len(l.Command))
	for i, arg := range l.Command {
		argv[i] = strings.ReplaceAll(arg, placeholder, l.File)
	}
	env := map[string]string{"HOME": Workspace, "LANG": "C.UTF-8"} // an arbitrary UID has no home in /etc/passwd
	maps.Copy(env, l.Env)
	maps.Copy(env, r.Env)
	spec := sandbox.Spec{
		Execution: r.Execution,
		Language:  l.Name,
		Image:     l.Image,
		Pull:      l.Pull,
		Limits:    l.Limits,
		Slot:      r.Slot,
		Network:   l.Network,
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
		Head:    l.Limits.Output,
		Tail:    l.Limits.Tail,
		Limit:   l.Limits.Flood,
	}
	return spec, job
}
