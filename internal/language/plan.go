package language

import (
	"cmp"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/network"
	"boomerang/internal/sandbox"
)

// Workspace is the default working directory, and the home directory of every program.
const Workspace = "/workspace"

// grace is how long a program may run after SIGTERM.
const grace = 2 * time.Second

// NoNetwork is the name of the network of an execution without network access.
const NoNetwork = network.None

// Artifacts is the name of the collection of files that a request asks for.
const Artifacts = "artifacts"

// Tree is the name of the collection of a program's whole workspace.
const Tree = "workspace"

// CollectTime returns the time limit for collecting that many bytes: far longer than an engine without overload needs.
func CollectTime(bytes int64) time.Duration {
	const aMoment, slow = 10 * time.Second, 4 << 20 // slow is in bytes per second
	return aMoment + time.Duration(bytes/slow)*time.Second
}

// Request holds the parameters of one execution.
type Request struct {
	Execution  string // id of the execution; empty plans a waiting container
	Code       string
	Input      execution.Input
	Env        map[string]string // overrides the language's environment
	WorkingDir string            // absolute; empty means Workspace
	Timeout    time.Duration
	Nonce      string
	Limits     execution.Limits // as for Bound
	Artifacts  []string         // globs of the files to collect at the end
	// Workspace bounds the part of /workspace that is kept; nil if nothing is kept.
	Workspace *execution.WorkspaceLimits
	Network   string // as for On
}

// Waiting plans a waiting container for any request without a network or workspace size of its own. The limits bound
// the kept part of workspaces.
func Waiting(l Language, limits execution.WorkspaceLimits) sandbox.Spec {
	most := l.Most()
	spec, _ := Plan(l, Request{
		Limits:    execution.Limits{Output: most.Output, Artifacts: most.Artifacts},
		Workspace: &limits,
	})
	return spec
}

// threadsVariable tells OpenMP and its followers (OpenBLAS, PyTorch) how many threads to start. Without it they start
// one thread for each CPU of the machine.
const threadsVariable = "OMP_NUM_THREADS"

// proxyEnv returns the variables that point programs to a proxy. There is no standard: most programs read one spelling
// or the other, and curl reads only the lower-case one for http.
func proxyEnv(url string) map[string]string {
	const local = "localhost,127.0.0.1,::1"
	return map[string]string{
		"HTTP_PROXY": url, "HTTPS_PROXY": url, "NO_PROXY": local,
		"http_proxy": url, "https_proxy": url, "no_proxy": local,
	}
}

// On returns the network of an execution: the language's, or none. An empty request means the language's network. On
// returns false if the request names a network that the language does not have, for example because the catalogue
// changed after the submission.
func (l Language) On(asked string) (on string, ok bool) {
	switch asked {
	case "", l.Network:
		return l.Network, true
	case network.None:
		return network.None, true
	}
	return network.None, false
}

// Plan translates a request into the spec of its container and the job for its init. It has no side effects.
func Plan(l Language, r Request) (sandbox.Spec, journal.Job) {
	argv := make([]string, 0, len(l.Command)+len(r.Input.Args))
	for _, arg := range l.Command {
		argv = append(argv, strings.ReplaceAll(arg, placeholder, l.File))
	}
	argv = append(argv, r.Input.Args...)
	limits := l.Bound(r.Limits)
	env := map[string]string{
		"HOME":          Workspace,
		"USER":          sandbox.Name,
		"LOGNAME":       sandbox.Name,
		"LANG":          "C.UTF-8",
		threadsVariable: strconv.Itoa(int(math.Ceil(limits.CPUs))),
	}
	on, _ := l.On(r.Network)
	if on == network.Proxy {
		maps.Copy(env, proxyEnv(l.Proxy))
	}
	maps.Copy(env, l.Env)
	maps.Copy(env, r.Env)
	spec := sandbox.Spec{
		Execution: r.Execution,
		Language:  l.Name,
		Image:     l.Image,
		Pull:      l.Pull,
		Limits:    limits,
		Network:   on,
		Runtime:   l.Runtime,
		Rehearsal: l.Rehearsal,
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
	if len(r.Artifacts) > 0 {
		job.Collect = append(job.Collect, journal.Collect{
			Name: Artifacts, Globs: r.Artifacts, Files: sandbox.MaxArtifacts, Bytes: limits.Artifacts,
			Timeout: CollectTime(limits.Artifacts),
		})
	}
	if r.Workspace != nil {
		spec.Limits.Kept = min(r.Workspace.Size, limits.Workspace)
		spec.Limits.Entries = r.Workspace.Entries
		job.Collect = append(job.Collect, journal.Collect{
			Name: Tree, Dir: Workspace, Tree: true, Files: r.Workspace.Entries, Bytes: spec.Limits.Kept,
			Timeout: CollectTime(spec.Limits.Kept),
		})
	}
	for _, f := range r.Input.Files {
		job.Files = append(job.Files, journal.File(f))
	}
	return spec, job
}
