package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/journal"
)

// store keeps content as a blob.
func (h *house) keep(content string) execution.Blob {
	h.t.Helper()
	w, err := h.store.NewBlob(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		h.t.Fatal(err)
	}
	b, err := w.Close()
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

// leaving is an execution of ann's that has ended and left files.
func (h *house) leaving(leavings execution.Omissions, files ...execution.Artifact) execution.ID {
	h.t.Helper()
	id := h.submit(h.ann, `{"code":"x","callback_url":"https://example.com/hook","artifacts":["**"]}`)
	h.start(id)
	r := completed("", "")
	r.Artifacts = &execution.Artifacts{Files: files, Omissions: leavings}
	h.finish(id, r)
	return id
}

func sumOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func TestArtifactsAreListed(t *testing.T) {
	h := open(t)
	id := h.submit(h.ann, `{"code":"x","callback_url":"https://example.com/hook","artifacts":["**"]}`)
	empty := map[string]any{
		"execution_id": string(id), "status": "queued", "artifact_globs": []any{"**"},
		"artifacts": []any{}, "artifacts_omitted": []any{}, "artifacts_omitted_count": 0.0, "artifacts_cut": nil,
	}
	if diff := cmp.Diff(empty, h.get("/executions/"+string(id)+"/artifacts", h.ann).json(t)); diff != "" {
		t.Errorf("queued (-want +got)\n%s", diff)
	}
	id = h.leaving(execution.Omissions{Omitted: []execution.Omission{{Path: "x", Reason: journal.OmitSize}}, Count: 70, Cut: journal.CutTime},
		execution.Artifact{Path: "b/c", Mode: 0o755, Blob: h.keep("")}, execution.Artifact{Path: "a\n\"", Mode: 0o44, Blob: h.keep("hello")})
	want := map[string]any{
		"execution_id": string(id), "status": "completed", "artifact_globs": []any{"**"},
		"artifacts": []any{
			map[string]any{"path": "a\n\"", "size": 5.0, "sha256": sumOf("hello"), "mode": "044"},
			map[string]any{"path": "b/c", "size": 0.0, "sha256": sumOf(""), "mode": "755"},
		},
		"artifacts_omitted": []any{map[string]any{"path": "x", "reason": "size"}}, "artifacts_omitted_count": 70.0, "artifacts_cut": "time",
	}
	if diff := cmp.Diff(want, h.get("/executions/"+string(id)+"/artifacts", h.ann).json(t)); diff != "" {
		t.Errorf("completed (-want +got)\n%s", diff)
	}
}

func TestAnArtifactIsItsBytes(t *testing.T) {
	h := open(t)
	large := strings.Repeat("0123456789", 60_000)
	names := []string{"a.txt", "out/deep/b.bin", "with space & 100%.txt", "line\nbreak", `quote".txt`, "ü/ö", "...", "-rf", "a?b=c#d"}
	var files []execution.Artifact
	for _, name := range names {
		files = append(files, execution.Artifact{Path: name, Mode: 0o640, Blob: h.keep(name + large)})
	}
	id := h.leaving(execution.Omissions{}, files...)
	for _, name := range names {
		path := "/executions/" + string(id) + "/artifacts/" + strings.ReplaceAll(url.PathEscape(name), "%2F", "/")
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+h.ann)
		a := h.send(r)
		if a.status != http.StatusOK || a.body != name+large {
			t.Errorf("%q: got %d and %d bytes: %.100s", name, a.status, len(a.body), a.body)
			continue
		}
		for header, want := range map[string]string{
			"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff", "ETag": `"` + sumOf(name+large) + `"`,
			"Content-Length": strconv.Itoa(len(a.body)), "X-File-Mode": "640", "Cache-Control": "no-store",
		} {
			if got := a.header.Get(header); got != want {
				t.Errorf("%q: got %s: %q, want %q", name, header, got, want)
			}
		}
		if got := a.header.Get("Content-Disposition"); !strings.HasPrefix(got, "attachment; filename") {
			t.Errorf("%q: got Content-Disposition: %q, want a download", name, got)
		}
	}
	path := "/executions/" + string(id) + "/artifacts/a.txt"
	etag := `"` + sumOf("a.txt"+large) + `"`
	for name, test := range map[string]struct {
		headers []string
		status  int
		body    string
	}{
		"a range":                      {[]string{"Range: bytes=5-9"}, 206, "01234"},
		"over a piece's end":           {[]string{"Range: bytes=262143-262150"}, 206, ("a.txt" + large)[262143:262151]},
		"the last bytes":               {[]string{"Range: bytes=-3"}, 206, "789"},
		"a range of the same file":     {[]string{"Range: bytes=-3", "If-Range: " + etag}, 206, "789"},
		"a range of another":           {[]string{"Range: bytes=-3", `If-Range: "x"`}, 200, "a.txt" + large},
		"one that is here already":     {[]string{"If-None-Match: " + etag}, 304, ""},
		"a range that is outside":      {[]string{"Range: bytes=9999999-"}, 416, ""},
		"what is not understood of it": {[]string{"Range: lines=1-2"}, 200, "a.txt" + large},
	} {
		t.Run(name, func(t *testing.T) {
			a := h.get(path, h.ann, test.headers...)
			if a.status != test.status || a.status != 416 && a.body != test.body {
				t.Errorf("got %d and %d bytes: %.100q; want %d and %d", a.status, len(a.body), a.body, test.status, len(test.body))
			}
			if a.status == 416 && (a.json(t)["code"] != "RANGE_NOT_SATISFIABLE" || a.header.Get("Content-Disposition") != "") {
				t.Errorf("got %s", a.body)
			}
		})
	}
	if a := h.call(http.MethodHead, path, h.ann, ""); a.status != 200 || a.body != "" || a.header.Get("Content-Length") != strconv.Itoa(len(large)+5) {
		t.Errorf("HEAD: got %d, %v", a.status, a.header)
	}
}

func TestArtifactsBelongToTheirSubject(t *testing.T) {
	h := open(t)
	id := string(h.leaving(execution.Omissions{}, execution.Artifact{Path: "a", Blob: h.keep("x")}))
	for path, want := range map[string]fault.Code{"/artifacts": fault.ExecutionNotFound, "/artifacts/a": fault.ExecutionNotFound} {
		if got := h.get("/executions/"+id+path, h.bob).json(t)["code"]; got != string(want) {
			t.Errorf("%s: got %v, want %s", path, got, want)
		}
		if a := h.get("/executions/"+id+path, h.admin); a.status != http.StatusOK {
			t.Errorf("%s: an admin got %d", path, a.status)
		}
		if a := h.get("/executions/"+id+path, ""); a.status != http.StatusUnauthorized {
			t.Errorf("%s: nobody got %d", path, a.status)
		}
	}
	for _, other := range []string{"b", "%2e%2e", "..", "a%00", "%ff"} {
		if got := h.get("/executions/"+id+"/artifacts/"+other, h.ann).json(t)["code"]; got != string(fault.FileNotFound) {
			t.Errorf("%s: got %v, want %s", other, got, fault.FileNotFound)
		}
	}
}

// unreadable are artifacts whose content is lost half way.
type unreadable struct{ ArtifactStore }

func (u unreadable) Blob(ctx context.Context, b execution.Blob) io.ReadSeeker {
	return struct {
		io.Reader
		io.Seeker
	}{io.MultiReader(io.LimitReader(u.ArtifactStore.Blob(ctx, b), 10), strings.NewReader("")), u.ArtifactStore.Blob(ctx, b)}
}

func TestAnArtifactThatBreaksOffIsNotTakenForWhole(t *testing.T) {
	h := open(t, func(_ *Config, d *Deps) { d.Artifacts = unreadable{d.Artifacts} })
	id := h.leaving(execution.Omissions{}, execution.Artifact{Path: "a", Blob: h.keep(strings.Repeat("x", 100_000))})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+"/executions/"+string(id)+"/artifacts/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+h.ann)
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it is read
	if text, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("got %d bytes and no error", len(text))
	}
}
