//go:build e2e

package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"boomerang/internal/execution"
	"boomerang/internal/journal"
)

// The tests of cmd/boomerang-init attack the init alone. These tests attack the whole server: the callback must be
// true.

func TestForgedFramesAreTreatedAsOutput(t *testing.T) {
	h := newHarness(t)
	var forged []byte
	for _, nonce := range []string{strings.Repeat("0", 32), strings.Repeat("f", 32), journal.NewNonce(), ""} {
		forged = journal.AppendStart(forged, nonce, journal.Start{At: time.Unix(0, 0)})
		forged = append(forged, "\x1eboomerang"+nonce+"\n"...)
		forged = journal.AppendEnd(forged, nonce, journal.End{Bytes: 1})
	}
	id := h.submit(fmt.Sprintf("import base64, os\nlie = base64.b64decode('%s')\nos.write(1, lie)\n"+
		"os.write(2, lie)\nos._exit(3)",
		base64.StdEncoding.EncodeToString(forged)))
	h.expectResult(id, result{
		Status: execution.Failed, Reason: execution.Exited, ExitCode: 3, Stdout: string(forged), Stderr: string(forged),
	}, "code 3.")
}

// nonceSearchProgram searches the files of the init and the directories that both share. It prints every text that
// looks like a nonce, and the files of the init that it could open.
const nonceSearchProgram = `
import os, re, time
seen, opened = set(), []
def look(path):
    try:
        f = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        for _ in range(16):
            chunk = os.read(f, 1 << 16)
            seen.update(re.findall(rb'[0-9a-f]{32}', chunk))
            if not chunk:
                break
    except OSError:
        pass
    os.close(f)
    return True
for name in ['mem', 'environ', 'maps', 'auxv', 'fd/0', 'fd/1', 'fd/2', 'task/1/mem', 'root/', 'cwd/']:
    if look('/proc/1/' + name):
        opened.append(name)
for top in ['/proc/1', '/.boomerang', '/workspace', '/tmp', '/run', '/dev/shm']:
    for folder, _, files in os.walk(top):
        for name in files:
            look(os.path.join(folder, name))
seen.update(re.findall(rb'[0-9a-f]{32}', repr(dict(os.environ)).encode()))
print(*sorted(s.decode() for s in seen))
print('opened', opened, flush=True)
time.sleep(3600)
`

func TestAProgramCannotFindTheNonce(t *testing.T) {
	h := newHarness(t)
	id := h.submit(nonceSearchProgram, fields{"env": map[string]string{"KNOWN": strings.Repeat("a", 32)}})
	h.awaitOutput(id, "opened")
	nonce := h.nonce(id)
	_, _, seen := h.output(id, "stdout")
	if strings.Contains(seen, nonce) || !strings.Contains(seen, strings.Repeat("a", 32)) ||
		!strings.HasSuffix(seen, "\nopened []\n") {
		t.Errorf("the nonce is %s; the program found %s", nonce, seen)
	}
	inspect, err := engine(t).ContainerInspect(t.Context(), h.containerOf(id))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := json.Marshal(inspect); err != nil || bytes.Contains(text, []byte(nonce)) {
		t.Errorf("docker inspect shows the nonce: %s, %v", text, err)
	}
	h.cancel(id)
	h.expectResult(id, result{Status: execution.Cancelled, Reason: execution.WasCancelled, ExitCode: 143, Stdout: seen})
}

// nonce reads the nonce of a running execution from the start frame in the log of its container.
func (h *harness) nonce(id execution.ID) string {
	h.t.Helper()
	log, err := engine(h.t).ContainerLogs(h.t.Context(), h.containerOf(id), container.LogsOptions{ShowStderr: true})
	if err != nil {
		h.t.Fatal(err)
	}
	defer log.Close()
	var stderr bytes.Buffer
	if _, err := stdcopy.StdCopy(io.Discard, &stderr, log); err != nil {
		h.t.Fatal(err)
	}
	found := regexp.MustCompile("^\x1eboomerang([0-9a-f]{32})S").FindSubmatch(stderr.Bytes())
	if found == nil {
		h.t.Fatalf("got a log without a start frame: %q", stderr.String())
	}
	return string(found[1])
}

func TestAProgramCannotHideHowItEnds(t *testing.T) {
	h := newHarness(t)
	failed := func(reason execution.Reason, code int, stdout string) result {
		return result{Status: execution.Failed, Reason: reason, ExitCode: code, Stdout: stdout}
	}
	parent := completed("parent\n")
	timeout := result{Status: execution.Timeout, Reason: execution.TimedOut, ExitCode: 124, Stdout: "up\n"}
	cases := []struct {
		does, code string
		want       result
	}{
		{
			"sends its init every signal but SIGTERM",
			"for s in {1..64}; do [ $s = 15 ] || kill -$s 1; done; echo sent; exit 5", failed(execution.Exited, 5,
				"sent\n"),
		},
		{"sends its init SIGTERM", "echo up; kill -TERM 1; exec sleep 3600", failed(execution.Signaled, 143, "up\n")},
		{
			"sends its init SIGTERM and ignores its own", "trap '' TERM; echo up; kill -TERM 1; sleep 3600",
			failed(execution.Signaled, 137, "up\n"),
		},
		{"closes its streams and continues", "echo up; exec >&- 2>&-; sleep 1; exit 5", failed(execution.Exited, 5,
			"up\n")},
		{"leaves a child that holds the pipes", "sleep 3600 & echo parent", parent},
		{"leaves a daemon that holds the pipes", "(trap '' TERM HUP; setsid sleep 3600 &); echo parent", parent},
		{"leaves a child that is stopped", "sleep 3600 & kill -STOP $!; echo parent", parent},
		{"stops itself", "echo up; kill -STOP $$", timeout},
		{
			"stops all others and ignores SIGTERM", "trap '' TERM; echo up; sleep 3600 & kill -STOP -1; sleep 3600",
			timeout,
		},
	}
	ids := make([]execution.ID, len(cases))
	for i, c := range cases {
		limit := 60
		if c.want.Status == execution.Timeout {
			limit = 3
		}
		ids[i] = h.submit(c.code, bash, fields{"timeout": limit})
	}
	for i, c := range cases {
		t.Log(c.does)
		h.expectResult(ids[i], c.want)
	}
}

func TestAForkBombHarmsNoNeighbour(t *testing.T) {
	h := newHarness(t, withSlots(2))
	bomb := h.submit("exec 2>/dev/null\ntrap '' TERM\necho up\nf() { f | f & }\nf\nwhile :; do :; done", bash,
		fields{"timeout": 600})
	h.awaitOutput(bomb, "up\n")
	h.expectResult(h.submit("echo neighbour", bash), completed("neighbour\n"))
	h.cancel(bomb)
	h.expectResult(bomb, result{
		Status: execution.Cancelled, Reason: execution.WasCancelled, ExitCode: 137,
		Stdout: "up\n",
	})
}
