//go:build e2e

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/execution"
)

// artifactsProgram leaves files, and beside them links, pipes and files that a hostile program would like to be
// collected.
const artifactsProgram = `
import os
os.makedirs("out/deep")
open("out/big.bin", "wb").write(bytes(range(256)) * 32768)
open("out/deep/model.pt", "w").write("weights\n")
open("out/line\nbreak", "w").write("n")
open("out/...", "w").write("dots")
open(b"out/bad\xff", "w").close()
os.symlink("/etc/passwd", "out/passwd")
os.symlink("/proc/1/environ", "out/environ")
os.symlink("/proc/1", "out/init")
os.symlink("/etc", "out/etc")
os.symlink("/dev/zero", "out/zero")
os.mkfifo("out/fifo")
try:
    os.mknod("out/device", 0o20666, os.makedev(1, 5))
    print("a device was made")
except OSError:
    pass
open("out/sparse", "wb").truncate(1 << 40)
open("out/unreadable", "w").close()
os.chmod("out/unreadable", 0)
open("out/vast", "wb").write(b"x" * (9 << 20))
os.makedirs("zmany")
try:
    for i in range(1000000):
        open(f"zmany/{i:07}", "w").close()
except OSError as e:
    print(i > 10000, e.errno)
raise SystemExit(3)
`

// artifacts returns the list of an execution's artifacts, with the files that were omitted.
func (h *harness) artifacts(id execution.ID) (left artifactList) {
	h.t.Helper()
	status, text := h.raw(http.MethodGet, "/executions/"+string(id)+"/artifacts", nil)
	if err := json.Unmarshal(text, &left); err != nil || status != http.StatusOK {
		h.t.Fatalf("%d %s: %v", status, text, err)
	}
	return left
}

// artifactList is the list of artifacts as the API and the callback show it.
type artifactList struct {
	Artifacts []struct {
		Path, SHA256, Mode string
		Size               int
	}
	Omitted []execution.Omission `json:"artifacts_omitted"`
	Count   int                  `json:"artifacts_omitted_count"`
	Cut     *string              `json:"artifacts_cut"`
}

func (l artifactList) paths() (paths []string) {
	for _, a := range l.Artifacts {
		paths = append(paths, a.Path)
	}
	return paths
}

// download returns the content of one artifact.
func (h *harness) download(id execution.ID, path string, header ...string) (int, []byte) {
	h.t.Helper()
	return h.raw(http.MethodGet, "/executions/"+string(id)+"/artifacts/"+strings.ReplaceAll(url.PathEscape(path),
		"%2F", "/"), nil, header...)
}

func TestOnlyRegularFilesBecomeArtifacts(t *testing.T) {
	h := newHarness(t)
	hostile := h.submit(artifactsProgram, fields{"artifacts": []string{
		"out/**", "zmany/*", "out/etc/passwd",
		"out/init/environ",
	}})
	late := h.submit(`echo half >model; exec sleep 60`, bash, fields{
		"timeout": 1, "artifacts": []string{"model"},
		"working_dir": "/tmp/job",
	})
	gone := h.submit(`echo x >model`, bash, fields{
		"artifacts": []string{"other"},
		"limits":    fields{"artifacts": "1MiB"},
	})
	plain := h.submit(`echo x >model`, bash)

	c := h.awaitCallback(hostile)
	if c.Payload.Reason != execution.Exited || *c.Payload.ExitCode != 3 || c.Payload.Stdout != "True 28\n" {
		t.Errorf("got %s and %q, want exit code 3 when the inodes are used up", c.Payload.Reason, c.Payload.Stdout)
	}
	var called artifactList
	if err := json.Unmarshal(c.Body, &called); err != nil {
		t.Fatal(err)
	}
	listed := h.artifacts(hostile)
	if diff := cmp.Diff(called, listed); diff != "" {
		t.Errorf("artifacts in the API differ from those of the callback (-callback +API):\n%s", diff)
	}
	paths := listed.paths()
	if want := []string{"out/...", "out/big.bin", "out/deep/model.pt", "out/line\nbreak"}; len(paths) != 256 ||
		!slices.Equal(paths[:4], want) || paths[255] != "zmany/0000251" {
		t.Errorf("got %d files, %q…; want 256, %q…", len(paths), paths[:min(8, len(paths))], want)
	}
	omitted := make(map[string]string)
	for _, o := range listed.Omitted {
		omitted[strings.TrimPrefix(o.Path, "out/")] = o.Reason
	}
	for name, reason := range map[string]string{
		"bad\uFFFD": "name", "passwd": "symlink", "environ": "symlink", "init": "symlink", "etc": "symlink",
		"zero": "symlink", "fifo": "not_regular",
		"sparse": "size", "vast": "size", "unreadable": "unreadable", "zmany/0000252": "count",
	} {
		if omitted[name] != reason {
			t.Errorf("%s: omitted because of %q, want %q", name, omitted[name], reason)
		}
	}
	if len(listed.Omitted) != 64 || listed.Count < 10_000 || listed.Cut != nil {
		t.Errorf("listed %d omissions of %d, cut %v; want 64 of more than 10 000", len(listed.Omitted), listed.Count,
			listed.Cut)
	}
	big := make([]byte, 8<<20)
	for i := range big {
		big[i] = byte(i)
	}
	sum := sha256.Sum256(big)
	if status, got := h.download(hostile, "out/big.bin"); status != http.StatusOK || !bytes.Equal(got, big) ||
		listed.Artifacts[1].SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("out/big.bin: got %d, %d bytes and the sum %s; want the written bytes", status, len(got),
			listed.Artifacts[1].SHA256)
	}
	for path, want := range map[string]string{
		"out/deep/model.pt": "weights\n", "out/line\nbreak": "n",
		"out/...": "dots",
	} {
		if status, got := h.download(hostile, path); status != http.StatusOK || string(got) != want {
			t.Errorf("%q: got %d %.100q, want %q", path, status, got, want)
		}
	}
	if status, got := h.download(hostile, "out/big.bin", "Range",
		"bytes=8000000-8000003"); status != http.StatusPartialContent || !bytes.Equal(got, big[8000000:8000004]) {
		t.Errorf("out/big.bin, out/big.bin, a range: got %d %q", status, got)
	}
	if status, _ := h.download(hostile, "out/passwd"); status != http.StatusNotFound {
		t.Errorf("out/passwd: got %d, want 404", status)
	}

	if c := h.awaitCallback(late).Payload; c.Reason != execution.TimedOut {
		t.Errorf("got %s, want a timeout", c.Reason)
	}
	if status, got := h.download(late, "model"); status != http.StatusOK || string(got) != "half\n" {
		t.Errorf("artifact of the execution that timed out: got %d %q", status, got)
	}
	h.awaitCallback(gone)
	if left := h.artifacts(gone); len(left.Artifacts) != 0 || left.Count != 0 || left.Cut != nil {
		t.Errorf("nothing was chosen: got %+v", left)
	}
	if body := string(h.awaitCallback(plain).Body); strings.Contains(body, "artifact") {
		t.Errorf("nothing was asked for: got %s", body)
	}
	if fmt.Sprint(h.awaitRecord(gone)["artifact_globs"],
		h.awaitRecord(gone)["limits"]) != "[other] map[artifacts:1.048576e+06]" {
		t.Errorf("got %v", h.awaitRecord(gone))
	}
}
