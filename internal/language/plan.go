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

// Workspace is the working directory of an execution that asks for none, and the home of its program.
const Workspace = "/workspace"

// grace is how long a program that is told to end may take.
const grace = 2 * time.Second

// NoNetwork is the network of an execution that has none.
const NoNetwork = network.None

// Artifacts is the name of the collection of files that a request asks for.
const Artifacts = "artifacts"

// Tree is the name of the collection of what a program leaves in its workspace.
const Tree = "workspace"

// CollectTime is how long the collecting of so many bytes may take: far longer than an engine that is not overloaded needs.
func CollectTime(bytes int64) time.Duration {
	const aMoment, slow = 10 * time.Second, 4 << 20 // bytes a second
	return aMoment + time.Duration(bytes/slow)*time.Second
}

// Request is what one execution asks of its language.
type Request struct {
	Execution  string // the execution's id; empty plans a container that waits for one
	Code       string
	Input      execution.Input
	Env        map[string]string // over the language's own
	WorkingDir string            // absolute; empty = Workspace
	Timeout    time.Duration
	Nonce      string
	Limits     execution.Limits // as Bound takes them
	Artifacts  []string         // globs; what they choose is collected in the end
	// Workspace bounds what of /workspace is kept; nil: nothing is.
	Workspace *execution.WorkspaceLimits
	Network   string // "none" = none, whatever the language has; empty = the language's
}

// Waiting plans a container that waits, for any request that has no network or workspace size of its own. Limits bounds what
// workspaces keep.
func Waiting(l Language, limits execution.WorkspaceLimits) sandbox.Spec {
	most := l.Most()
	spec, _ := Plan(l, Request{Limits: execution.Limits{Output: most.Output, Artifacts: most.Artifacts}, Workspace: &limits})
	return spec
}

// threads is the variable by which OpenMP and those who learnt from it (OpenBLAS, PyTorch) are told how many threads to
// start. Left alone they see all CPUs of the machine and start one for each.
const threadsVariable = "OMP_NUM_THREADS"

// proxied is how programs are told of a proxy. There is no standard: most read one spelling or the other, curl the small
// one alone for http.
func proxyEnv(url string) map[string]string {
	const local = "localhost,127.0.0.1,::1"
	return map[string]string{
		"HTTP_PROXY": url, "HTTPS_PROXY": url, "NO_PROXY": local,
		"http_proxy": url, "https_proxy": url, "no_proxy": local,
	}
}

// Plan translates a request into the container that it needs and the job that its init gets. It has no effects.
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
	on := cmp.Or(r.Network, l.Network)
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
			Name: Artifacts, Globs: r.Artifacts, Files: sandbox.MaxArtifacts, Bytes: limits.Artifacts, Timeout: CollectTime(limits.Artifacts),
		})
	}
	if r.Workspace != nil {
		spec.Limits.Kept = min(r.Workspace.Size, limits.Workspace)
		spec.Limits.Entries = r.Workspace.Entries
		job.Collect = append(job.Collect, journal.Collect{
			Name: Tree, Dir: Workspace, Tree: true, Files: r.Workspace.Entries, Bytes: spec.Limits.Kept, Timeout: CollectTime(spec.Limits.Kept),
		})
	}
	for _, f := range r.Input.Files {
		job.Files = append(job.Files, journal.File(f))
	}
	return spec, job
}
