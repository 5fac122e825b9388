package language

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
)

func TestPlanOfAFullRequest(t *testing.T) {
	limits := sandbox.Limits{
		Memory: 1, CPUs: 2, PIDs: 3, Files: 4, Workspace: 5, Tmp: 6, Output: 7, Tail: 8,
		Artifacts: 9 << 20,
	}
	spec, job := Plan(Language{
		Name: "go", Image: "golang:1.26", File: "main.go",
		Command: []string{"sh", "-c", "go build -o /tmp/main {file} && exec /tmp/main # {file}"},
		Env:     map[string]string{"A": "language", "B": "language", "LANG": "C"},
		Limits:  limits, Network: "none", Runtime: "runsc", Pull: sandbox.PullNever,
		Max: execution.Limits{Memory: 100, CPUs: 0, PIDs: 50},
	}, Request{
		Input: execution.Input{
			Args: []string{"-x", "{file}"}, Stdin: []byte("in"), Files: []execution.File{{
				Path: "a/b", Mode: 0o700,
				Content: []byte("c"),
			}},
		},
		// The catalogue now allows only 50 processes.
		Limits:    execution.Limits{Memory: 90, CPUs: 0.5, PIDs: 60, Output: 3, Artifacts: 8 << 20},
		Artifacts: []string{"a", "b/**"},
		Execution: "exec_1", Code: "package main", Env: map[string]string{
			"B": "request", "HOME": "/tmp",
			"LOGNAME": "request",
		},
		WorkingDir: "/workspace/a b", Timeout: time.Minute, Nonce: "0123",
	})
	if diff := cmp.Diff(sandbox.Spec{
		Execution: "exec_1", Language: "go", Image: "golang:1.26", Pull: "never",
		Limits: sandbox.Limits{
			Memory: 90, CPUs: 0.5, PIDs: 50, Files: 4, Workspace: 5, Tmp: 6, Output: 3, Tail: 8,
			Artifacts: 8 << 20,
		},
		Network: "none", Runtime: "runsc",
	}, spec); diff != "" {
		t.Errorf("spec: %s", diff)
	}
	if diff := cmp.Diff(journal.Job{
		Nonce: "0123", Code: "package main", File: "main.go",
		Argv:  []string{"sh", "-c", "go build -o /tmp/main main.go && exec /tmp/main # main.go", "-x", "{file}"},
		Stdin: []byte("in"), Files: []journal.File{{Path: "a/b", Mode: 0o700, Content: []byte("c")}},
		Env: map[string]string{
			"A": "language", "B": "request", "HOME": "/tmp", "LANG": "C", "LOGNAME": "request",
			"OMP_NUM_THREADS": "1", "USER": "sandbox",
		},
		Dir: "/workspace/a b", Timeout: time.Minute, Grace: 2 * time.Second, Head: 3, Tail: 8,
		Collect: []journal.Collect{{
			Name: "artifacts", Globs: []string{"a", "b/**"}, Files: 256, Bytes: 8 << 20,
			Timeout: 12 * time.Second,
		}},
	}, job); diff != "" {
		t.Errorf("job: %s", diff)
	}
}

func TestAPartOfACPUIsOneThread(t *testing.T) {
	for cpus, want := range map[float64]string{0.25: "1", 1: "1", 1.5: "2", 4: "4"} {
		_, job := Plan(Language{Limits: sandbox.Limits{CPUs: cpus}}, Request{})
		if got := job.Env["OMP_NUM_THREADS"]; got != want {
			t.Errorf("%v CPUs: OMP_NUM_THREADS is %q, want %q", cpus, got, want)
		}
	}
}

func TestPlanLeavesTheLanguageAsItIs(t *testing.T) {
	l := Language{Command: []string{"{file}"}, File: "a", Env: map[string]string{"A": "language"}}
	_, job := Plan(l, Request{Env: map[string]string{"A": "request"}})
	job.Argv[0], job.Env["B"] = "changed", "changed"
	if diff := cmp.Diff(Language{Command: []string{"{file}"}, File: "a", Env: map[string]string{"A": "language"}},
		l); diff != "" {
		t.Error(diff)
	}
}

func TestProgramsOnTheProxyNetworkGetItsURL(t *testing.T) {
	l := Language{
		Name: "python", Command: []string{"python3", "{file}"}, Network: "proxy",
		Proxy: "http://10.213.16.1:3128",
	}
	spec, job := Plan(l, Request{Env: map[string]string{"HTTPS_PROXY": "http://mine:1"}})
	if spec.Network != "proxy" {
		t.Errorf("network = %q, want proxy", spec.Network)
	}
	for name, want := range map[string]string{
		"HTTP_PROXY": l.Proxy, "http_proxy": l.Proxy, "https_proxy": l.Proxy, "no_proxy": "localhost,127.0.0.1,::1",
		"HTTPS_PROXY": "http://mine:1", // the program may have a proxy of its own
	} {
		if got := job.Env[name]; got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	for _, network := range []string{"none", "egress"} {
		l.Network = network
		if _, job := Plan(l, Request{}); job.Env["HTTP_PROXY"] != "" || job.Env["https_proxy"] != "" {
			t.Errorf("on %s a program is told of a proxy", network)
		}
	}
}

// The request was stored under an older catalogue.
func TestARequestOpensNoNetworkThatTheLanguageDoesNotHave(t *testing.T) {
	networks := []string{"none", "egress", "proxy"}
	for _, has := range networks {
		for _, asked := range append(networks, "", "host", "bridge") {
			l := Language{Name: "python", Command: []string{"python3"}, Network: has, Proxy: "http://10.213.16.1:3128"}
			want, allowed := "none", asked == "none"
			if asked == "" || asked == has {
				want, allowed = has, true
			}
			if on, ok := l.On(asked); on != want || ok != allowed {
				t.Errorf("a language on %s, asked for %q: got %s, %t, want %s, %t", has, asked, on, ok, want, allowed)
			}
			spec, job := Plan(l, Request{Network: asked})
			if proxied := job.Env["HTTP_PROXY"] != ""; spec.Network != want || proxied != (want == "proxy") {
				t.Errorf("a language on %s, asked for %q: planned %s, proxy %t; want %s", has, asked, spec.Network,
					proxied, want)
			}
		}
	}
}

func TestAnExecutionWithoutANetworkGetsNoProxyURL(t *testing.T) {
	l := Language{
		Name: "python", Command: []string{"python3", "{file}"}, Network: "proxy",
		Proxy: "http://10.213.16.1:3128",
	}
	spec, job := Plan(l, Request{Network: NoNetwork})
	if spec.Network != "none" || job.Env["HTTP_PROXY"] != "" {
		t.Errorf("network %q, HTTP_PROXY %q, want none of either", spec.Network, job.Env["HTTP_PROXY"])
	}
}
