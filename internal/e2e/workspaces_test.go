//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/units"

	"boomerang/internal/config"
	"boomerang/internal/execution"
)

// sent sends bytes and returns what comes back.
func (h *house) sent(method, path, body string) (status int, answer string) {
	h.t.Helper()
	status, text := h.raw(method, path, body)
	return status, string(text)
}

// put lays a file into a workspace.
func (h *house) put(name, path, content string) {
	h.t.Helper()
	if status, answer := h.sent(http.MethodPut, "/workspaces/"+name+"/files/"+path, content); status != http.StatusCreated && status != http.StatusOK {
		h.t.Fatalf("put %s: %d %s", path, status, answer)
	}
}

// tree lists a workspace: the size of files, "/" for a directory, "->" for a link.
func (h *house) tree(name string) map[string]string {
	h.t.Helper()
	_, text := h.sent(http.MethodGet, "/workspaces/"+name+"/files?limit=1000", "")
	var page struct {
		Files []struct {
			Path, Type, Mode, Target string
			Size                     int64
		}
	}
	if err := json.Unmarshal([]byte(text), &page); err != nil {
		h.t.Fatalf("%v: %s", err, text)
	}
	tree := map[string]string{}
	for _, f := range page.Files {
		tree[f.Path] = map[string]string{"directory": "/", "link": "->" + f.Target, "file": strconv.FormatInt(f.Size, 10)}[f.Type]
	}
	return tree
}

// same fails unless the workspace w has exactly these.
func (h *house) same(want map[string]string) {
	h.t.Helper()
	if got := h.tree("w"); fmt.Sprint(got) != fmt.Sprint(want) {
		h.t.Errorf("the workspace has %v, want %v", got, want)
	}
}

func (h *house) kept(id execution.ID) any { h.t.Helper(); return h.record(id)["workspace_result"] }

// What executions ask for that use the workspace w.
var (
	writing = fields{"workspace": "w"}
	reading = fields{"workspace": fields{"name": "w", "read_only": true}}
)

func TestExecutionsSeeWhatOthersLeft(t *testing.T) {
	h := enter(t)
	h.put("w", "data/in.csv", "1\n2\n")
	h.put("w", "tool%0A?mode=755", "#!/bin/sh\necho the tool ran\n")
	h.put("w", "main.sh", "mine") // where the code is laid
	first := h.submit(`cat data/in.csv; $'./tool\n'; echo 3 >> data/in.csv; mkdir empty; ln -s data/in.csv link; ln -s /etc/passwd passwd
		ln -s ../../etc/passwd above; mkfifo fifo; head -c 3000000 /dev/urandom > big; cp big twin; sha256sum big > sum; exit 3`, bash, writing)
	if got := h.callback(first).Payload; got.Stdout != "1\n2\nthe tool ran\n" || got.Reason != execution.Exited {
		t.Fatalf("got %s, %q, %q", got.Reason, got.Stdout, got.Stderr)
	}
	want := map[string]string{
		"data": "/", "data/in.csv": "6", "tool\n": "28", "empty": "/", "link": "->data/in.csv", "big": "3000000", "twin": "3000000", "sum": "70",
	}
	code := "main.sh"
	if _, there := h.tree("w")[code]; there {
		want[code] = "4"
	}
	h.same(want)
	second := h.submit(`sha256sum -c sum; cat link; cmp big twin; ls -A; rm -r data big; echo "$(<sum)" > sum; mv twin moved`, bash, writing)
	got := h.callback(second).Payload
	if !strings.HasPrefix(got.Stdout, "big: OK\n1\n2\n3\n") {
		t.Errorf("got %q, %q", got.Stdout, got.Stderr)
	}
	delete(want, "data")
	delete(want, "data/in.csv")
	delete(want, "big")
	delete(want, "twin")
	want["moved"] = "3000000"
	want["link"] = "->data/in.csv"
	h.same(want)
	if status, text := h.sent(http.MethodGet, "/workspaces/w/files/passwd", ""); status != http.StatusNotFound {
		t.Errorf("got %d %s", status, text)
	}
}

func TestOneChangesAWorkspaceAndOthersGoOn(t *testing.T) {
	h := enter(t)
	h.put("w", "f", "before")
	writer := h.submit("cat f; echo after > f; echo ready; read -t 60 < <(sleep 60)", bash, writing)
	h.running(writer, "beforeready\n")
	next := h.submit("cat f", bash, writing)
	other := h.submit("echo other", bash)
	reader := h.submit("cat f; echo x > f", bash, reading)
	if got := h.callback(other).Payload.Stdout; got != "other\n" {
		t.Errorf("got %q", got)
	}
	if got := h.callback(reader).Payload.Stdout; got != "before" {
		t.Errorf("the reader got %q", got)
	}
	if _, record := h.call(http.MethodGet, "/executions/"+string(next), nil); record["status"] != "queued" {
		t.Errorf("the next one is %v while another has the workspace", record["status"])
	}
	if status, text := h.sent(http.MethodPut, "/workspaces/w/files/f", "x"); status != http.StatusConflict || !strings.Contains(text, string(writer)) {
		t.Errorf("got %d %s", status, text)
	}
	h.cancel(writer)
	if got := h.callback(writer).Payload; got.Status != execution.Cancelled {
		t.Errorf("got %+v", got)
	}
	if got := h.callback(next).Payload.Stdout; got != "after\n" {
		t.Errorf("the next one got %q", got)
	}
}

func TestWhatIsTooMuchLeavesAWorkspaceAsItWas(t *testing.T) {
	h := enter(t, func(c *config.Config) {
		c.Workspaces.Size, c.Workspaces.Entries, c.Workspaces.PerSubject.Size = units.MiB, 50, units.MiB+units.KiB
	})
	h.put("w", "f", "before")
	h.put("v", "f", "1")
	want := map[string]string{"f": "6"}
	for name, code := range map[string]string{
		"size": "echo x > f; head -c 1100000 /dev/zero > big", "count": "rm f; for i in {1..60}; do echo > $i; done",
		"hole": "echo x > f; truncate -s 200T hole || truncate -s 4T hole", "tmpfs": "head -c 300M /dev/zero > big",
		"inodes": "for i in {1..20000}; do : > $i || break; done",
	} {
		id := h.submit(code, bash, writing)
		got := h.callback(id).Payload
		h.same(want)
		if name == "tmpfs" && !strings.Contains(got.Stderr, "No space left") {
			t.Errorf("%s: got %q", name, got.Stderr)
		}
		if kept := fmt.Sprint(h.kept(id)); !strings.Contains(kept, "saved:false") {
			t.Errorf("%s: the record says %s", name, kept)
		}
	}
	lost := h.submit("echo x > f; echo ready; read -t 60 < <(sleep 60)", bash, writing)
	h.running(lost, "ready\n")
	if err := engine(t).ContainerKill(t.Context(), h.container(lost), "KILL"); err != nil {
		t.Fatal(err)
	}
	if got := h.callback(lost).Payload; got.Reason != execution.Lost {
		t.Errorf("got %s", got.Reason)
	}
	h.same(want)
	if timeout := h.callback(h.submit("echo late > f; read -t 60 < <(sleep 60)", bash, writing, fields{"timeout": 1})).Payload; timeout.Status != execution.Timeout {
		t.Errorf("got %s", timeout.Status)
	}
	h.same(map[string]string{"f": "5"})
}
