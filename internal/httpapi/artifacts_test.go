package httpapi_test

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
	"boomerang/internal/httpapi"
	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/journal"
	"boomerang/internal/server"
)

func sumOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func TestArtifactsAreListed(t *testing.T) {
	h := apitest.Open(t)
	id := h.Submit(h.Ann, `{"code":"x","callback_url":"https://example.com/hook","artifacts":["**"]}`)
	empty := map[string]any{
		"execution_id": string(id), "status": "queued", "artifact_globs": []any{"**"},
		"artifacts": []any{}, "artifacts_omitted": []any{}, "artifacts_omitted_count": 0.0, "artifacts_cut": nil,
	}
	if diff := cmp.Diff(empty, h.Get("/executions/"+string(id)+"/artifacts", h.Ann).JSON(t)); diff != "" {
		t.Errorf("queued (-want +got)\n%s", diff)
	}
	id = h.Leave(execution.Omissions{
		Omitted: []execution.Omission{{Path: "x", Reason: journal.OmitSize}}, Count: 70,
		Cut: journal.CutTime,
	},
		execution.Artifact{Path: "b/c", Mode: 0o755, Blob: h.Keep("")},
		execution.Artifact{Path: "a\n\"", Mode: 0o44, Blob: h.Keep("hello")})
	want := map[string]any{
		"execution_id": string(id), "status": "completed", "artifact_globs": []any{"**"},
		"artifacts": []any{
			map[string]any{"path": "a\n\"", "size": 5.0, "sha256": sumOf("hello"), "mode": "044"},
			map[string]any{"path": "b/c", "size": 0.0, "sha256": sumOf(""), "mode": "755"},
		},
		"artifacts_omitted": []any{map[string]any{"path": "x", "reason": "size"}}, "artifacts_omitted_count": 70.0,
		"artifacts_cut": "time",
	}
	if diff := cmp.Diff(want, h.Get("/executions/"+string(id)+"/artifacts", h.Ann).JSON(t)); diff != "" {
		t.Errorf("completed (-want +got)\n%s", diff)
	}
}

func TestAnArtifactIsItsBytes(t *testing.T) {
	h := apitest.Open(t)
	large := strings.Repeat("0123456789", 60_000)
	names := []string{
		"a.txt", "out/deep/b.bin", "with space & 100%.txt", "line\nbreak", `quote".txt`, "ü/ö", "...",
		"-rf", "a?b=c#d",
	}
	var files []execution.Artifact
	for _, name := range names {
		files = append(files, execution.Artifact{Path: name, Mode: 0o640, Blob: h.Keep(name + large)})
	}
	id := h.Leave(execution.Omissions{}, files...)
	for _, name := range names {
		path := "/executions/" + string(id) + "/artifacts/" + strings.ReplaceAll(url.PathEscape(name), "%2F", "/")
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+h.Ann)
		a := h.Send(r)
		if a.Status != http.StatusOK || a.Body != name+large {
			t.Errorf("%q: got %d and %d bytes: %.100s", name, a.Status, len(a.Body), a.Body)
			continue
		}
		for header, want := range map[string]string{
			"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff", "ETag": `"` +
				sumOf(name+large) + `"`,
			"Content-Length": strconv.Itoa(len(a.Body)), "X-File-Mode": "640", "Cache-Control": "no-store",
		} {
			if got := a.Header.Get(header); got != want {
				t.Errorf("%q: got %s: %q, want %q", name, header, got, want)
			}
		}
		if got := a.Header.Get("Content-Disposition"); !strings.HasPrefix(got, "attachment; filename") {
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
			a := h.Get(path, h.Ann, test.headers...)
			if a.Status != test.status || a.Status != 416 && a.Body != test.body {
				t.Errorf("got %d and %d bytes: %.100q; want %d and %d", a.Status, len(a.Body), a.Body, test.status,
					len(test.body))
			}
			if a.Status == 416 && (a.JSON(t)["code"] != "RANGE_NOT_SATISFIABLE" ||
				a.Header.Get("Content-Disposition") != "") {
				t.Errorf("got %s", a.Body)
			}
		})
	}
	if a := h.Call(http.MethodHead, path, h.Ann, ""); a.Status != 200 || a.Body != "" ||
		a.Header.Get("Content-Length") != strconv.Itoa(len(large)+5) {
		t.Errorf("HEAD: got %d, %v", a.Status, a.Header)
	}
}

func TestArtifactsBelongToTheirSubject(t *testing.T) {
	h := apitest.Open(t)
	id := string(h.Leave(execution.Omissions{}, execution.Artifact{Path: "a", Blob: h.Keep("x")}))
	for path, want := range map[string]fault.Code{
		"/artifacts":   fault.ExecutionNotFound,
		"/artifacts/a": fault.ExecutionNotFound,
	} {
		if got := h.Get("/executions/"+id+path, h.Bob).JSON(t)["code"]; got != string(want) {
			t.Errorf("%s: got %v, want %s", path, got, want)
		}
		if a := h.Get("/executions/"+id+path, h.Admin); a.Status != http.StatusOK {
			t.Errorf("%s: an admin got %d", path, a.Status)
		}
		if a := h.Get("/executions/"+id+path, ""); a.Status != http.StatusUnauthorized {
			t.Errorf("%s: without a token: got %d", path, a.Status)
		}
	}
	for _, other := range []string{"b", "%2e%2e", "..", "a%00", "%ff"} {
		if got := h.Get("/executions/"+id+"/artifacts/"+other, h.Ann).
			JSON(t)["code"]; got != string(fault.FileNotFound) {
			t.Errorf("%s: got %v, want %s", other, got, fault.FileNotFound)
		}
	}
}

// unreadable are artifacts whose content fails half way.
type unreadable struct{ httpapi.ArtifactStore }

func (u unreadable) Blob(ctx context.Context, b execution.Blob) io.ReadSeeker {
	return struct {
		io.Reader
		io.Seeker
	}{
		io.MultiReader(io.LimitReader(u.ArtifactStore.Blob(ctx, b), 10), strings.NewReader("")),
		u.ArtifactStore.Blob(ctx, b),
	}
}

func TestAnArtifactThatBreaksOffIsSeenToBeIncomplete(t *testing.T) {
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) { d.Artifacts = unreadable{d.Artifacts} })
	id := h.Leave(execution.Omissions{}, execution.Artifact{Path: "a", Blob: h.Keep(strings.Repeat("x", 100_000))})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		h.URL+"/executions/"+string(id)+"/artifacts/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+h.Ann)
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it is read
	if text, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("got %d bytes and no error", len(text))
	}
}
