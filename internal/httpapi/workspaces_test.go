package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"boomerang/internal/execution"
)

func (h *house) put(path, token, body string, headers ...string) answer {
	h.t.Helper()
	return h.call(http.MethodPut, path, token, body, headers...)
}

// expect fails unless the answer has the status and, if there is one, the code.
func (a answer) expect(t *testing.T, status int, code string) answer {
	t.Helper()
	if a.status != status || code != "" && a.json(t)["code"] != code {
		t.Errorf("got %d %s; want %d %s", a.status, a.body, status, code)
	}
	return a
}

// writing makes an execution of ann's that changes the workspace w, and starts it.
func (h *house) writing() execution.ID {
	h.t.Helper()
	id := h.submit(h.ann, `{"code":"1","callback_url":"https://example.com/","workspace":"w"}`)
	h.start(id)
	return id
}

func TestAFileIsReadAsItWasPut(t *testing.T) {
	h := open(t)
	content := "line\r\n\x00\xff" + strings.Repeat("x", 300_000)
	const file = "/workspaces/w/files/a/b%20c/%C3%BC%0A.csv"
	a := h.put(file+"?mode=755", h.ann, content).expect(t, http.StatusCreated, "")
	sum := sha256.Sum256([]byte(content))
	tag := `"` + hex.EncodeToString(sum[:]) + `"`
	if got := a.json(t); got["path"] != "a/b c/ü\n.csv" || got["mode"] != "0755" || got["size"] != float64(len(content)) ||
		`"`+got["sha256"].(string)+`"` != tag || a.header.Get("ETag") != tag { //nolint:errcheck // a panic would be a failure too
		t.Errorf("got %v, ETag %s", got, a.header.Get("ETag"))
	}
	if got := h.get(file, h.ann).expect(t, http.StatusOK, ""); got.body != content || got.header.Get("ETag") != tag ||
		got.header.Get("Content-Disposition") == "" || got.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("got %d bytes with %v", len(got.body), got.header)
	}
	if got := h.get(file, h.ann, "Range: bytes=299999-300001").expect(t, http.StatusPartialContent, ""); got.body != content[299_999:300_002] {
		t.Errorf("the range is %q", got.body)
	}
	h.get(file, h.ann, "Range: bytes=400000-").expect(t, http.StatusRequestedRangeNotSatisfiable, "RANGE_NOT_SATISFIABLE")
	h.get(file, h.ann, "If-None-Match: "+tag).expect(t, http.StatusNotModified, "")
	if got := h.call(http.MethodHead, file, h.ann, "").expect(t, http.StatusOK, ""); got.header.Get("Content-Length") != strconv.Itoa(len(content)) {
		t.Errorf("HEAD says %s bytes", got.header.Get("Content-Length"))
	}
	h.put(file, h.ann, "").expect(t, http.StatusOK, "")
	if got := h.get(file, h.ann).expect(t, http.StatusOK, ""); got.body != "" {
		t.Errorf("got %q, want nothing", got.body)
	}
	h.get("/workspaces/w/files/a", h.ann).expect(t, http.StatusConflict, "CONFLICT")
	h.get("/workspaces/w/files/b", h.ann).expect(t, http.StatusNotFound, "FILE_NOT_FOUND")
	h.get("/workspaces/v/files/b", h.ann).expect(t, http.StatusNotFound, "WORKSPACE_NOT_FOUND")
}

func TestAPathIsRightOrRefused(t *testing.T) {
	h := open(t)
	for _, path := range []string{
		"../x", "a/../b", "a//b", "a/", "./a", "a%2F..%2F..%2Fb", "%00", "%FF", strings.Repeat("a", 256), "%2Fetc/passwd", "..",
	} {
		h.put("/workspaces/w/files/"+path, h.ann, "x").expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	}
	for _, name := range []string{"W", ".w", strings.Repeat("w", 64)} {
		h.put("/workspaces/"+name+"/files/a", h.ann, "x").expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	}
	h.put("/workspaces/w/files/a?mode=999", h.ann, "x").expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	h.put("/workspaces/w/files/a?mode=4755", h.ann, "x").expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	h.put("/workspaces/w/files/a?type=link", h.ann, "x").expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	h.put("/workspaces/w/files/a", h.ann, "x", "Content-Encoding: gzip").expect(t, http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE")
	h.get("/workspaces/w", h.ann).expect(t, http.StatusNotFound, "WORKSPACE_NOT_FOUND")
}

func TestWorkspacesAreListedAndDeleted(t *testing.T) {
	h := open(t)
	for _, name := range []string{"b", "a", "c"} {
		h.put("/workspaces/"+name+"/files/d/f", h.ann, name).expect(t, http.StatusCreated, "")
	}
	h.put("/workspaces/b/files/d/e?type=directory", h.ann, "").expect(t, http.StatusCreated, "")
	first := h.get("/workspaces?limit=2", h.ann).expect(t, http.StatusOK, "").json(t)
	second := h.get("/workspaces?limit=2&cursor="+fmt.Sprint(first["next_cursor"]), h.ann).json(t)
	if first["count"] != 2.0 || first["next_cursor"] != "b" || second["count"] != 1.0 || second["next_cursor"] != nil {
		t.Errorf("got %v and %v", first, second)
	}
	if got := h.get("/workspaces/b", h.ann).json(t); got["size"] != 1.0 || got["entries"] != 3.0 || got["writer"] != nil {
		t.Errorf("got %v", got)
	}
	var paths []string
	for cursor := ""; ; {
		page := h.get("/workspaces/b/files?limit=2&prefix=d&cursor="+url.QueryEscape(cursor), h.ann).expect(t, http.StatusOK, "").json(t)
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
	h.call(http.MethodDelete, "/workspaces/b/files/d", h.ann, "").expect(t, http.StatusNoContent, "")
	h.get("/workspaces/b/files/d/f", h.ann).expect(t, http.StatusNotFound, "FILE_NOT_FOUND")
	h.call(http.MethodDelete, "/workspaces/b", h.ann, "").expect(t, http.StatusNoContent, "")
	h.call(http.MethodDelete, "/workspaces/b", h.ann, "").expect(t, http.StatusNotFound, "WORKSPACE_NOT_FOUND")
}

func TestWorkspacesOfOthersDoNotExist(t *testing.T) {
	h := open(t)
	h.put("/workspaces/w/files/f", h.ann, "ann's").expect(t, http.StatusCreated, "")
	for _, path := range []string{"/workspaces/w", "/workspaces/w/files", "/workspaces/w/files/f"} {
		h.get(path, h.bob).expect(t, http.StatusNotFound, "WORKSPACE_NOT_FOUND")
		h.get(path, "").expect(t, http.StatusUnauthorized, "AUTHENTICATION_REQUIRED")
	}
	if got := h.get("/workspaces", h.bob).json(t); got["count"] != 0.0 {
		t.Errorf("bob sees %v", got)
	}
	if got := h.get("/workspaces/w/files/f?subject=ann", h.admin).expect(t, http.StatusOK, ""); got.body != "ann's" {
		t.Errorf("got %q", got.body)
	}
}

func TestAWorkspaceHasItsLimits(t *testing.T) {
	h := open(t)
	half := strings.Repeat("x", 1<<19)
	h.put("/workspaces/w/files/a", h.ann, half+half).expect(t, http.StatusCreated, "")
	h.put("/workspaces/w/files/b", h.ann, "x").expect(t, http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE")
	h.put("/workspaces/v/files/a", h.ann, half).expect(t, http.StatusCreated, "")
	h.put("/workspaces/v/files/b", h.ann, "x").expect(t, http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE")
	h.put("/workspaces/u/files/b", h.ann, half+half+"x").expect(t, http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE")
	h.put("/workspaces/u/files/b", h.ann, "").expect(t, http.StatusCreated, "")
	h.put("/workspaces/t/files/b", h.ann, "").expect(t, http.StatusConflict, "CONFLICT")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, h.url+"/workspaces/w/files/b", io.MultiReader(strings.NewReader(half+half+"x"))) // no length is told
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+h.ann)
	h.send(r).expect(t, http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE")
	if removed, err := h.store.Sweep(t.Context(), time.Now().Add(time.Hour), 100); err != nil || removed != 0 {
		t.Errorf("%d blobs of files that were refused are left, %v", removed, err)
	}
	if size, err := h.store.Size(t.Context()); err != nil || size > 4<<20 {
		t.Errorf("the database has %d bytes, %v", size, err)
	}
}

func TestAPutMayHaveACondition(t *testing.T) {
	h := open(t)
	const file = "/workspaces/w/files/f"
	tag := h.put(file, h.ann, "1", "If-None-Match: *").expect(t, http.StatusCreated, "").header.Get("ETag")
	h.put(file, h.ann, "2", "If-None-Match: *").expect(t, http.StatusPreconditionFailed, "PRECONDITION_FAILED")
	h.put(file, h.ann, "2", "If-None-Match: "+tag).expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	h.put(file, h.ann, "2", `If-Match: "other"`).expect(t, http.StatusPreconditionFailed, "PRECONDITION_FAILED")
	h.put(file, h.ann, "2", `If-Match: W/`+tag).expect(t, http.StatusPreconditionFailed, "PRECONDITION_FAILED")
	h.call(http.MethodDelete, file, h.ann, "", `If-Match: "other"`).expect(t, http.StatusPreconditionFailed, "PRECONDITION_FAILED")
	h.put("/workspaces/w/files/g", h.ann, "2", `If-Match: *`).expect(t, http.StatusPreconditionFailed, "PRECONDITION_FAILED")
	h.put(file, h.ann, "2", `If-Match: "other", `+tag).expect(t, http.StatusOK, "")
	h.put(file, h.ann, "3", `If-Match: *`).expect(t, http.StatusOK, "")
	if got := h.get(file, h.ann).body; got != "3" {
		t.Errorf("got %q", got)
	}
}

func TestWhileAnExecutionChangesAWorkspaceNobodyElseDoes(t *testing.T) {
	h := open(t)
	h.put("/workspaces/w/files/f", h.ann, "before").expect(t, http.StatusCreated, "")
	id := h.writing()
	for _, a := range []answer{
		h.put("/workspaces/w/files/f", h.ann, "x"), h.call(http.MethodDelete, "/workspaces/w/files/f", h.ann, ""),
		h.call(http.MethodDelete, "/workspaces/w", h.ann, ""),
	} {
		a.expect(t, http.StatusConflict, "CONFLICT")
		if details := a.json(t)["details"].(map[string]any); details["execution_id"] != string(id) { //nolint:errcheck // a panic would be a failure too
			t.Errorf("got %v, want the execution named", details)
		}
	}
	if got := h.get("/workspaces/w/files/f", h.ann).expect(t, http.StatusOK, ""); got.body != "before" {
		t.Errorf("got %q", got.body)
	}
	if got := h.get("/workspaces/w", h.ann).json(t); got["writer"] != string(id) {
		t.Errorf("got %v", got)
	}
	if got := h.get("/executions/"+string(id), h.ann).json(t)["workspace"]; fmt.Sprint(got) != "map[name:w read_only:false]" {
		t.Errorf("the record's workspace is %v", got)
	}
	h.finish(id, completed("", ""))
	h.put("/workspaces/w/files/f", h.ann, "x").expect(t, http.StatusOK, "")
}

func TestASubmissionNamesItsWorkspace(t *testing.T) {
	h := open(t)
	for workspace, want := range map[string]int{
		`"w"`: 200, `null`: 200, `{"name":"w"}`: 200, `{"name":"w","read_only":true}`: 200, `{"name":"w","read_only":null,"x":1}`: 200,
		`"W"`: 400, `1`: 400, `[]`: 400, `{}`: 400, `{"name":1}`: 400, `{"name":"w","read_only":"yes"}`: 400, `{"name":"missing","read_only":true}`: 400,
	} {
		h.put("/workspaces/w/files/f", h.ann, "")
		a := h.call(http.MethodPost, "/execute/async", h.ann, `{"code":"1","callback_url":"https://example.com/","workspace":`+workspace+`}`, asJSON)
		if a.status != want {
			t.Errorf("%s: got %d %s; want %d", workspace, a.status, a.body, want)
		}
	}
}

func TestFewFilesAreSentAtATime(t *testing.T) {
	h := open(t)
	begun, end := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	for i := range maxUploads {
		body, pipe := io.Pipe()
		all.Go(func() {
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, fmt.Sprintf("%s/workspaces/w/files/%d", h.url, i), body)
			r.Header.Set("Authorization", "Bearer "+h.ann)
			response, err := http.DefaultTransport.RoundTrip(r)
			if err != nil || response.StatusCode != http.StatusCreated {
				t.Errorf("got %v, %v", response, err)
				return
			}
			_ = response.Body.Close()
		})
		all.Go(func() {
			_, _ = pipe.Write([]byte("x")) // somebody reads it
			begun <- struct{}{}
			<-end
			_ = pipe.Close()
		})
	}
	for range maxUploads {
		<-begun
	}
	for h.api.uploads.count("ann") < maxUploads {
		runtime.Gosched() // until the server has them all
	}
	h.put("/workspaces/w/files/more", h.ann, "x").expect(t, http.StatusTooManyRequests, "RATE_LIMIT_EXCEEDED")
	h.put("/workspaces/w/files/more", h.bob, "x").expect(t, http.StatusCreated, "")
	close(end)
	all.Wait()
	h.put("/workspaces/w/files/more", h.ann, "x").expect(t, http.StatusCreated, "")
}

func TestTheClientsKnowOneTreeOfFiles(t *testing.T) {
	h := open(t)
	post := func(path, body string) answer { return h.call(http.MethodPost, path, h.ann, body, asJSON) }
	if got := h.get("/files/list?path=/workspace", h.ann).expect(t, http.StatusOK, "").json(t); got["count"] != 0.0 {
		t.Errorf("got %v", got)
	}
	h.get("/files/read?path=/workspace/a", h.ann).expect(t, http.StatusNotFound, "FILE_NOT_FOUND")
	post("/files/write", `{"path":"/workspace/d/a.txt","content":"grüße","overwrite":true}`).expect(t, http.StatusOK, "")
	post("/files/write", `{"path":"b.bin","content":"AP8=","encoding":"base64","mode":"0755"}`).expect(t, http.StatusOK, "")
	post("/files/mkdir", `{"path":"/workspace/d/e/"}`).expect(t, http.StatusOK, "")
	if got := h.get("/files/read?path=/workspace/d/a.txt", h.ann).expect(t, http.StatusOK, "").json(t); got["content"] != "grüße" {
		t.Errorf("got %v", got)
	}
	if got := h.get("/files/read?path=b.bin", h.ann).json(t); got["content"] != "AP8=" || got["encoding"] != "base64" {
		t.Errorf("got %v", got)
	}
	if got := h.get("/files/download?path=/workspace/b.bin", h.ann).expect(t, http.StatusOK, ""); got.body != "\x00\xff" {
		t.Errorf("got %q", got.body)
	}
	list := fmt.Sprint(h.get("/files/list?path=/workspace/d", h.ann).json(t)["files"])
	if strings.Count(list, "name:") != 2 || !strings.Contains(list, "path:/workspace/d/a.txt") || !strings.Contains(list, "name:e") {
		t.Errorf("got %s", list)
	}
	if got := h.get("/files/list?path=/workspace/", h.ann).json(t); got["count"] != 2.0 {
		t.Errorf("got %v", got)
	}
	h.get("/files/list?path=b.bin", h.ann).expect(t, http.StatusConflict, "CONFLICT")
	for path, want := range map[string]bool{"/workspace": true, "/workspace/d/e": true, "/workspace/d/x": false} {
		if got := h.get("/files/exists?path="+path, h.ann).json(t)["exists"]; got != want {
			t.Errorf("%s exists: %v", path, got)
		}
	}
	for _, path := range []string{"/etc/passwd", "/workspace/../etc/passwd", "../x", "/workspaces/x"} {
		h.get("/files/read?path="+path, h.ann).expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	}
	h.get("/files/read", h.ann).expect(t, http.StatusBadRequest, "MISSING_PARAMETER")
	post("/files/write", `{"path":"b.bin","content":"x","overwrite":false}`).expect(t, http.StatusPreconditionFailed, "PRECONDITION_FAILED")
	for _, no := range []string{`"false"`, "0"} { // who sends that does not want to overwrite
		post("/files/write", `{"path":"b.bin","content":"x","overwrite":`+no+`}`).expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	}
	post("/files/write", `{"path":"b.bin","content":"?","encoding":"base64"}`).expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	post("/files/write", `{"path":"/workspace","content":"x"}`).expect(t, http.StatusConflict, "CONFLICT")

	var form bytes.Buffer
	fields := multipart.NewWriter(&form)
	_ = fields.WriteField("path", "/workspace/up.csv")
	part, _ := fields.CreateFormFile("file", "local.csv")
	_, _ = part.Write([]byte("1,2\n"))
	_ = fields.Close()
	h.call(http.MethodPost, "/files/upload", h.ann, form.String(), "Content-Type: "+fields.FormDataContentType()).expect(t, http.StatusOK, "")
	if got := h.get("/workspaces/default/files/up.csv", h.ann).expect(t, http.StatusOK, ""); got.body != "1,2\n" {
		t.Errorf("got %q", got.body)
	}
	h.call(http.MethodDelete, "/files/remove?path=/workspace/d", h.ann, "").expect(t, http.StatusOK, "")
	h.call(http.MethodDelete, "/files/remove?path=/workspace/d", h.ann, "").expect(t, http.StatusNotFound, "FILE_NOT_FOUND")
	h.call(http.MethodDelete, "/files/remove?path=/workspace", h.ann, "").expect(t, http.StatusBadRequest, "INVALID_REQUEST")
}

func (u *uploads) count(subject string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.of[subject]
}
