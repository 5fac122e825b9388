package httpapi_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/gateway"
	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/server"
)

// writing starts an execution of ann that may change the workspace w.
func writing(h *apitest.Fixture) execution.ID {
	h.T.Helper()
	id := h.Submit(h.Ann, `{"code":"1","callback_url":"https://example.com/","workspace":"w"}`)
	h.Start(id)
	return id
}

func TestAFileIsReadAsItWasPut(t *testing.T) {
	h := apitest.Open(t)
	content := "line\r\n\x00\xff" + strings.Repeat("x", 300_000)
	const file = "/workspaces/w/files/a/b%20c/%C3%BC%0A.csv"
	a := h.Put(file+"?mode=755", h.Ann, content).Expect(t, http.StatusCreated, "")
	sum := sha256.Sum256([]byte(content))
	tag := `"` + hex.EncodeToString(sum[:]) + `"`
	if got := a.JSON(t); got["path"] != "a/b c/ü\n.csv" || got["mode"] != "0755" ||
		got["size"] != float64(len(content)) ||
		got["sha256"] != hex.EncodeToString(sum[:]) || a.Header.Get("ETag") != tag {
		t.Errorf("got %v, ETag %s", got, a.Header.Get("ETag"))
	}
	if got := h.Get(file, h.Ann).Expect(t, http.StatusOK, ""); got.Body != content || got.Header.Get("ETag") != tag ||
		got.Header.Get("Content-Disposition") == "" || got.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("got %d bytes with %v", len(got.Body), got.Header)
	}
	if got := h.Get(file, h.Ann, "Range: bytes=299999-300001").
		Expect(t, http.StatusPartialContent, ""); got.Body != content[299_999:300_002] {
		t.Errorf("the range is %q", got.Body)
	}
	h.Get(file, h.Ann, "Range: bytes=400000-").
		Expect(t, http.StatusRequestedRangeNotSatisfiable, "RANGE_NOT_SATISFIABLE")
	h.Get(file, h.Ann, "If-None-Match: "+tag).Expect(t, http.StatusNotModified, "")
	if got := h.Call(http.MethodHead, file, h.Ann, "").
		Expect(t, http.StatusOK, ""); got.Header.Get("Content-Length") != strconv.Itoa(len(content)) {
		t.Errorf("HEAD says %s bytes", got.Header.Get("Content-Length"))
	}
	h.Put(file, h.Ann, "").Expect(t, http.StatusOK, "")
	if got := h.Get(file, h.Ann).Expect(t, http.StatusOK, ""); got.Body != "" {
		t.Errorf("got %q, want nothing", got.Body)
	}
	h.Get("/workspaces/w/files/a", h.Ann).Expect(t, http.StatusConflict, "CONFLICT")
	h.Get("/workspaces/w/files/b", h.Ann).Expect(t, http.StatusNotFound, "FILE_NOT_FOUND")
	h.Get("/workspaces/v/files/b", h.Ann).Expect(t, http.StatusNotFound, "WORKSPACE_NOT_FOUND")
}

func TestAPathIsRightOrRefused(t *testing.T) {
	h := apitest.Open(t)
	for _, path := range []string{
		"../x", "a/../b", "a//b", "a/", "./a", "a%2F..%2F..%2Fb", "%00", "%FF", strings.Repeat("a", 256),
		"%2Fetc/passwd", "..",
	} {
		h.Put("/workspaces/w/files/"+path, h.Ann, "x").Expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	}
	for _, name := range []string{"W", ".w", strings.Repeat("w", 64)} {
		h.Put("/workspaces/"+name+"/files/a", h.Ann, "x").Expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	}
	h.Put("/workspaces/w/files/a?mode=999", h.Ann, "x").Expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	h.Put("/workspaces/w/files/a?mode=4755", h.Ann, "x").Expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	h.Put("/workspaces/w/files/a?type=link", h.Ann, "x").Expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	h.Put("/workspaces/w/files/a", h.Ann, "x", "Content-Encoding: gzip").
		Expect(t, http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE")
	h.Get("/workspaces/w", h.Ann).Expect(t, http.StatusNotFound, "WORKSPACE_NOT_FOUND")
}

func TestWorkspacesAreListedAndDeleted(t *testing.T) {
	h := apitest.Open(t)
	for _, name := range []string{"b", "a", "c"} {
		h.Put("/workspaces/"+name+"/files/d/f", h.Ann, name).Expect(t, http.StatusCreated, "")
	}
	h.Put("/workspaces/b/files/d/e?type=directory", h.Ann, "").Expect(t, http.StatusCreated, "")
	first := h.Get("/workspaces?limit=2", h.Ann).Expect(t, http.StatusOK, "").JSON(t)
	second := h.Get("/workspaces?limit=2&cursor="+fmt.Sprint(first["next_cursor"]), h.Ann).JSON(t)
	if first["count"] != 2.0 || first["next_cursor"] != "b" || second["count"] != 1.0 || second["next_cursor"] != nil {
		t.Errorf("got %v and %v", first, second)
	}
	if got := h.Get("/workspaces/b", h.Ann).JSON(t); got["size"] != 1.0 || got["entries"] != 3.0 ||
		got["writer"] != nil {
		t.Errorf("got %v", got)
	}
	var paths []string
	for cursor := ""; ; {
		page := h.Get("/workspaces/b/files?limit=2&prefix=d&cursor="+url.QueryEscape(cursor), h.Ann).
			Expect(t, http.StatusOK, "").JSON(t)
		for _, f := range page["files"].([]any) { //nolint:errcheck // a panic would be a failure too
			paths = append(paths, fmt.Sprint(f.(map[string]any)["path"])) //nolint:errcheck // the same
		}
		if page["next_cursor"] == nil {
			break
		}
		cursor = fmt.Sprint(page["next_cursor"])
	}
	if want := []string{"d", "d/e", "d/f"}; !slices.Equal(paths, want) {
		t.Errorf("got %v, want %v", paths, want)
	}
	h.Call(http.MethodDelete, "/workspaces/b/files/d", h.Ann, "").Expect(t, http.StatusNoContent, "")
	h.Get("/workspaces/b/files/d/f", h.Ann).Expect(t, http.StatusNotFound, "FILE_NOT_FOUND")
	h.Call(http.MethodDelete, "/workspaces/b", h.Ann, "").Expect(t, http.StatusNoContent, "")
	h.Call(http.MethodDelete, "/workspaces/b", h.Ann, "").Expect(t, http.StatusNotFound, "WORKSPACE_NOT_FOUND")
}

func TestWorkspacesOfOthersDoNotExist(t *testing.T) {
	h := apitest.Open(t)
	h.Put("/workspaces/w/files/f", h.Ann, "ann's").Expect(t, http.StatusCreated, "")
	for _, path := range []string{"/workspaces/w", "/workspaces/w/files", "/workspaces/w/files/f"} {
		h.Get(path, h.Bob).Expect(t, http.StatusNotFound, "WORKSPACE_NOT_FOUND")
		h.Get(path, "").Expect(t, http.StatusUnauthorized, "AUTHENTICATION_REQUIRED")
	}
	if got := h.Get("/workspaces", h.Bob).JSON(t); got["count"] != 0.0 {
		t.Errorf("bob sees %v", got)
	}
	if got := h.Get("/workspaces/w/files/f?subject=ann", h.Admin).Expect(t, http.StatusOK, ""); got.Body != "ann's" {
		t.Errorf("got %q", got.Body)
	}
}

func TestAWorkspaceHasItsLimits(t *testing.T) {
	h := apitest.Open(t)
	half := strings.Repeat("x", 1<<19)
	h.Put("/workspaces/w/files/a", h.Ann, half+half).Expect(t, http.StatusCreated, "")
	h.Put("/workspaces/w/files/b", h.Ann, "x").Expect(t, http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE")
	h.Put("/workspaces/v/files/a", h.Ann, half).Expect(t, http.StatusCreated, "")
	h.Put("/workspaces/v/files/b", h.Ann, "x").Expect(t, http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE")
	h.Put("/workspaces/u/files/b", h.Ann, half+half+"x").
		Expect(t, http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE")
	h.Put("/workspaces/u/files/b", h.Ann, "").Expect(t, http.StatusCreated, "")
	h.Put("/workspaces/t/files/b", h.Ann, "").Expect(t, http.StatusConflict, "CONFLICT")
	// No length is told
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, h.URL+"/workspaces/w/files/b",
		io.MultiReader(strings.NewReader(half+half+"x")))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+h.Ann)
	h.Send(r).Expect(t, http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE")
	if removed, err := h.Store.Sweep(t.Context(), time.Now().Add(time.Hour), 100); err != nil || removed != 0 {
		t.Errorf("%d blobs of files that were refused are left, %v", removed, err)
	}
}

func TestAPutMayHaveACondition(t *testing.T) {
	h := apitest.Open(t)
	const file = "/workspaces/w/files/f"
	tag := h.Put(file, h.Ann, "1", "If-None-Match: *").Expect(t, http.StatusCreated, "").Header.Get("ETag")
	h.Put(file, h.Ann, "2", "If-None-Match: *").Expect(t, http.StatusPreconditionFailed, "PRECONDITION_FAILED")
	h.Put(file, h.Ann, "2", "If-None-Match: "+tag).Expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	h.Put(file, h.Ann, "2", `If-Match: "other"`).Expect(t, http.StatusPreconditionFailed, "PRECONDITION_FAILED")
	h.Put(file, h.Ann, "2", `If-Match: W/`+tag).Expect(t, http.StatusPreconditionFailed, "PRECONDITION_FAILED")
	h.Call(http.MethodDelete, file, h.Ann, "", `If-Match: "other"`).
		Expect(t, http.StatusPreconditionFailed, "PRECONDITION_FAILED")
	h.Put("/workspaces/w/files/g", h.Ann, "2", `If-Match: *`).
		Expect(t, http.StatusPreconditionFailed, "PRECONDITION_FAILED")
	h.Put(file, h.Ann, "2", `If-Match: "other", `+tag).Expect(t, http.StatusOK, "")
	h.Put(file, h.Ann, "3", `If-Match: *`).Expect(t, http.StatusOK, "")
	if got := h.Get(file, h.Ann).Body; got != "3" {
		t.Errorf("got %q", got)
	}
}

func TestWhileAnExecutionChangesAWorkspaceOtherChangesAreRefused(t *testing.T) {
	h := apitest.Open(t)
	h.Put("/workspaces/w/files/f", h.Ann, "before").Expect(t, http.StatusCreated, "")
	id := writing(h)
	for _, a := range []apitest.Answer{
		h.Put("/workspaces/w/files/f", h.Ann, "x"), h.Call(http.MethodDelete, "/workspaces/w/files/f", h.Ann, ""),
		h.Call(http.MethodDelete, "/workspaces/w", h.Ann, ""),
	} {
		a.Expect(t, http.StatusConflict, "CONFLICT")
		if details, _ := a.JSON(t)["details"].(map[string]any); details["execution_id"] != string(id) {
			t.Errorf("got %v, want the execution named", details)
		}
	}
	if got := h.Get("/workspaces/w/files/f", h.Ann).Expect(t, http.StatusOK, ""); got.Body != "before" {
		t.Errorf("got %q", got.Body)
	}
	if got := h.Get("/workspaces/w", h.Ann).JSON(t); got["writer"] != string(id) {
		t.Errorf("got %v", got)
	}
	if got := h.Get("/executions/"+string(id), h.Ann).
		JSON(t)["workspace"]; fmt.Sprint(got) != "map[name:w read_only:false]" {
		t.Errorf("the record's workspace is %v", got)
	}
	h.Finish(id, apitest.Completed("", ""))
	h.Put("/workspaces/w/files/f", h.Ann, "x").Expect(t, http.StatusOK, "")
}

func TestASubmissionNamesItsWorkspace(t *testing.T) {
	h := apitest.Open(t)
	for workspace, want := range map[string]int{
		`"w"`: 200, `null`: 200, `{"name":"w"}`: 200, `{"name":"w","read_only":true}`: 200,
		`{"name":"w","read_only":null,"x":1}`: 200,
		`"W"`:                                 400, `1`: 400, `[]`: 400, `{}`: 400, `{"name":1}`: 400,
		`{"name":"w","read_only":"yes"}`:      400,
		`{"name":"missing","read_only":true}`: 400,
	} {
		h.Put("/workspaces/w/files/f", h.Ann, "")
		a := h.Call(http.MethodPost, "/execute/async", h.Ann,
			`{"code":"1","callback_url":"https://example.com/","workspace":`+workspace+`}`, apitest.AsJSON)
		if a.Status != want {
			t.Errorf("%s: got %d %s; want %d", workspace, a.Status, a.Body, want)
		}
	}
}

// receiving reports each file that the server begins to receive.
type receiving struct {
	gateway.Workspaces
	begun chan struct{}
}

func (w receiving) NewBlob(ctx context.Context) (gateway.BlobWriter, error) {
	w.begun <- struct{}{}
	return w.Workspaces.NewBlob(ctx)
}

func TestFewFilesAreSentAtATime(t *testing.T) {
	const uploads = 4
	begun, end := make(chan struct{}, 9), make(chan struct{})
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) { d.Contents = receiving{d.Contents, begun} })
	var all sync.WaitGroup
	for i := range uploads {
		body, pipe := io.Pipe()
		all.Go(func() {
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodPut,
				fmt.Sprintf("%s/workspaces/w/files/%d", h.URL, i), body)
			r.Header.Set("Authorization", "Bearer "+h.Ann)
			response, err := http.DefaultTransport.RoundTrip(r)
			if err != nil || response.StatusCode != http.StatusCreated {
				t.Errorf("got %v, %v", response, err)
				return
			}
			_ = response.Body.Close()
		})
		all.Go(func() {
			_, _ = pipe.Write([]byte("x")) // the transport reads it
			<-end
			_ = pipe.Close()
		})
	}
	for range uploads {
		<-begun
	}
	h.Put("/workspaces/w/files/more", h.Ann, "x").Expect(t, http.StatusTooManyRequests, "RATE_LIMIT_EXCEEDED")
	h.Put("/workspaces/w/files/more", h.Bob, "x").Expect(t, http.StatusCreated, "")
	close(end)
	all.Wait()
	h.Put("/workspaces/w/files/more", h.Ann, "x").Expect(t, http.StatusCreated, "")
}
