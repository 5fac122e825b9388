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

// send sends a request and returns the status and the text of the answer.
func (h *harness) send(method, path, body string) (status int, answer string) {
	h.t.Helper()
	status, text := h.raw(method, path, body)
	return status, string(text)
}

// putFile writes a file into a workspace.
func (h *harness) putFile(name, path, content string) {
	h.t.Helper()
	if status, answer := h.send(http.MethodPut, "/workspaces/"+name+"/files/"+path,
		content); status != http.StatusCreated && status != http.StatusOK {
		h.t.Fatalf("put %s: %d %s", path, status, answer)
	}
}

// tree lists a workspace by path: the size of a file, "/" for a directory, "->" and the target of a link.
func (h *harness) tree(name string) map[string]string {
	h.t.Helper()
	_, text := h.send(http.MethodGet, "/workspaces/"+name+"/files?limit=1000", "")
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
		tree[f.Path] = map[string]string{"directory": "/", "link": "->" + f.Target, "file": strconv.FormatInt(f.Size,
			10)}[f.Type]
	}
	return tree
}

// checkWorkspace compares the content of the workspace w with want.
func (h *harness) checkWorkspace(want map[string]string) {
	h.t.Helper()
	if got := h.tree("w"); fmt.Sprint(got) != fmt.Sprint(want) {
		h.t.Errorf("the workspace has %v, want %v", got, want)
	}
}

// workspaceResult returns workspace_result of the record, which tells whether the workspace was saved.
func (h *harness) workspaceResult(id execution.ID) any {
	h.t.Helper()
	return h.awaitRecord(id)["workspace_result"]
}

// Requests that use the workspace w.
var (
	writing = fields{"workspace": "w"}
	reading = fields{"workspace": fields{"name": "w", "read_only": true}}
)

func TestAnExecutionSeesTheFilesOfEarlierOnes(t *testing.T) {
	h := newHarness(t)
	h.putFile("w", "data/in.csv", "1\n2\n")
	h.putFile("w", "tool%0A?mode=755", "#!/bin/sh\necho the tool ran\n")
	h.putFile("w", "main.sh", "mine") // the path of the code
	first := h.submit(`cat data/in.csv; $'./tool\n'; echo 3 >> data/in.csv; mkdir empty; ln -s data/in.csv link
		ln -s /etc/passwd passwd; ln -s ../../etc/passwd above; mkfifo fifo
		head -c 3000000 /dev/urandom > big; cp big twin; sha256sum big > sum; exit 3`, bash, writing)
	if got := h.awaitCallback(first).Payload; got.Stdout != "1\n2\nthe tool ran\n" || got.Reason != execution.Exited {
		t.Fatalf("got %s, %q, %q", got.Reason, got.Stdout, got.Stderr)
	}
	want := map[string]string{
		"data": "/", "data/in.csv": "6", "tool\n": "28", "empty": "/", "link": "->data/in.csv", "big": "3000000",
		"twin": "3000000", "sum": "70",
	}
	code := "main.sh"
	if _, there := h.tree("w")[code]; there {
		want[code] = "4"
	}
	h.checkWorkspace(want)
	second := h.submit(`sha256sum -c sum; cat link; cmp big twin; ls -A; rm -r data big; echo "$(<sum)" > sum; mv `+
		`twin moved`, bash, writing)
	got := h.awaitCallback(second).Payload
	if !strings.HasPrefix(got.Stdout, "big: OK\n1\n2\n3\n") {
		t.Errorf("got %q, %q", got.Stdout, got.Stderr)
	}
	delete(want, "data")
	delete(want, "data/in.csv")
	delete(want, "big")
	delete(want, "twin")
	want["moved"] = "3000000"
	want["link"] = "->data/in.csv"
	h.checkWorkspace(want)
	if status, text := h.send(http.MethodGet, "/workspaces/w/files/passwd", ""); status != http.StatusNotFound {
		t.Errorf("got %d %s", status, text)
	}
}

func TestAWriterLocksOnlyItsWorkspace(t *testing.T) {
	h := newHarness(t)
	h.putFile("w", "f", "before")
	writer := h.submit("cat f; echo after > f; echo ready; read -t 60 < <(sleep 60)", bash, writing)
	h.awaitOutput(writer, "beforeready\n")
	next := h.submit("cat f", bash, writing)
	other := h.submit("echo other", bash)
	reader := h.submit("cat f; echo x > f", bash, reading)
	if got := h.awaitCallback(other).Payload.Stdout; got != "other\n" {
		t.Errorf("got %q", got)
	}
	if got := h.awaitCallback(reader).Payload.Stdout; got != "before" {
		t.Errorf("the reader printed %q, want the old content", got)
	}
	if _, record := h.call(http.MethodGet, "/executions/"+string(next), nil); record["status"] != "queued" {
		t.Errorf("the second writer is %v while the first has the workspace, want queued", record["status"])
	}
	if status, text := h.send(http.MethodPut, "/workspaces/w/files/f", "x"); status != http.StatusConflict ||
		!strings.Contains(text, string(writer)) {
		t.Errorf("got %d %s", status, text)
	}
	h.cancel(writer)
	if got := h.awaitCallback(writer).Payload; got.Status != execution.Cancelled {
		t.Errorf("got %+v", got)
	}
	if got := h.awaitCallback(next).Payload.Stdout; got != "after\n" {
		t.Errorf("the second writer printed %q", got)
	}
}

func TestExceedingALimitLeavesAWorkspaceUnchanged(t *testing.T) {
	h := newHarness(t, func(c *config.Config) {
		c.Workspaces.Size, c.Workspaces.Entries, c.Workspaces.PerSubject.Size = units.MiB, 50, units.MiB+units.KiB
	})
	h.putFile("w", "f", "before")
	h.putFile("v", "f", "1")
	want := map[string]string{"f": "6"}
	for name, code := range map[string]string{
		"size": "echo x > f; head -c 1100000 /dev/zero > big", "count": "rm f; for i in {1..60}; do echo > $i; done",
		"hole": "echo x > f; truncate -s 200T hole || truncate -s 4T hole", "tmpfs": "head -c 300M /dev/zero > big",
		"inodes": "for i in {1..20000}; do : > $i || break; done",
	} {
		id := h.submit(code, bash, writing)
		got := h.awaitCallback(id).Payload
		h.checkWorkspace(want)
		if name == "tmpfs" && !strings.Contains(got.Stderr, "No space left") {
			t.Errorf("%s: got %q", name, got.Stderr)
		}
		if kept := fmt.Sprint(h.workspaceResult(id)); !strings.Contains(kept, "saved:false") {
			t.Errorf("%s: the record has %s, want saved:false", name, kept)
		}
	}
	lost := h.submit("echo x > f; echo ready; read -t 60 < <(sleep 60)", bash, writing)
	h.awaitOutput(lost, "ready\n")
	if err := engine(t).ContainerKill(t.Context(), h.containerOf(lost), "KILL"); err != nil {
		t.Fatal(err)
	}
	if got := h.awaitCallback(lost).Payload; got.Reason != execution.Lost {
		t.Errorf("got %s", got.Reason)
	}
	h.checkWorkspace(want)
	if timeout := h.awaitCallback(h.submit("echo late > f; read -t 60 < <(sleep 60)", bash, writing,
		fields{"timeout": 1})).Payload; timeout.Status != execution.Timeout {
		t.Errorf("got %s", timeout.Status)
	}
	h.checkWorkspace(map[string]string{"f": "5"})
}
