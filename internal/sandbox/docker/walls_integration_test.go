//go:build integration

package docker

import (
	"errors"
	"os"
	"testing"

	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
)

// run runs code in the image of a language; without the image it skips the test.
func (k *kit) run(t *testing.T, ref, code string, argv ...string) (stdout, stderr string, end journal.End) {
	t.Helper()
	d := k.open(t)
	if err := d.HasImage(t.Context(), ref); errors.Is(err, sandbox.ErrImageUnavailable) &&
		os.Getenv("REQUIRE_DOCKER") != "1" {
		t.Skipf("the image %s is not built", ref)
	}
	spec := k.spec()
	spec.Image = ref
	spec.Limits.Memory = 1 << 30
	spec.Limits.PIDs = 128
	spec.Limits.Files = 1024
	spec.Limits.Workspace = 512 << 20
	spec.Limits.Tmp = 256 << 20
	job := sandboxtest.Program{}.Job()
	job.Code, job.File, job.Argv = code, "main", argv
	job.Env = map[string]string{"HOME": "/workspace"}
	stdout, stderr, outcome := follow(t, prepare(t, d, spec), job)
	return stdout, stderr, *outcome.Stdout
}

func TestLanguagesRunUnderTheProfile(t *testing.T) {
	k := needKit(t)
	for name, c := range map[string]struct {
		image, code string
		argv        []string
	}{
		"python, with threads, processes and sockets": {
			image: "boomerang/python", argv: []string{"python3", "main"},
			code: `
import subprocess, socket, tempfile, threading, multiprocessing, asyncio
threading.Thread(target=lambda: None).start()
subprocess.run(["/bin/true"], check=True)
with multiprocessing.Pool(2) as pool: assert pool.map(abs, [-1]) == [1]
tempfile.TemporaryFile().write(b"x")
asyncio.run(asyncio.sleep(0))
a, b = socket.socketpair(); a.close(); b.close()
print("it runs")
`,
		},
		"javascript, with its JIT and workers": {
			image: "boomerang/javascript", argv: []string{"node", "main"},
			code: `
const { Worker } = require("worker_threads");
const { execFileSync } = require("child_process");
let n = 0; for (let i = 0; i < 1e7; i++) n += i;
execFileSync("/bin/true");
require("fs").promises.readFile("main").then(() =>
	new Worker("0", { eval: true }).on("exit", () => console.log("it runs")));
`,
		},
		"bash, with pipes and substitutions": {
			image: "boomerang/bash", argv: []string{"bash", "main"},
			code: `set -euo pipefail; cat <(echo "it runs") | sort`,
		},
		"go, from its source": {
			image: "boomerang/go", argv: []string{"sh", "-c", "mv main main.go && go run main.go"},
			code: "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"it runs\") }\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, end := k.run(t, c.image, c.code, c.argv...)
			if stdout != "it runs\n" || end.ExitCode != 0 {
				t.Errorf("exit code %d, stdout %q, stderr %q, want 0 and %q", end.ExitCode, stdout, stderr, "it runs\n")
			}
		})
	}
}
