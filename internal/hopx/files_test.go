package hopx_test

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"boomerang/internal/httpapi/apitest"
)

func TestTheClientsKnowOneTreeOfFiles(t *testing.T) {
	h := apitest.Open(t)
	post := func(path, body string) apitest.Answer {
		return h.Call(http.MethodPost, path, h.Ann, body, apitest.AsJSON)
	}
	if got := h.Get("/files/list?path=/workspace", h.Ann).Expect(t, http.StatusOK, "").JSON(t); got["count"] != 0.0 {
		t.Errorf("got %v", got)
	}
	h.Get("/files/read?path=/workspace/a", h.Ann).Expect(t, http.StatusNotFound, "FILE_NOT_FOUND")
	post("/files/write", `{"path":"/workspace/d/a.txt","content":"grüße","overwrite":true}`).
		Expect(t, http.StatusOK, "")
	post("/files/write", `{"path":"b.bin","content":"AP8=","encoding":"base64","mode":"0755"}`).
		Expect(t, http.StatusOK, "")
	post("/files/mkdir", `{"path":"/workspace/d/e/"}`).Expect(t, http.StatusOK, "")
	if got := h.Get("/files/read?path=/workspace/d/a.txt", h.Ann).Expect(t, http.StatusOK, "").
		JSON(t); got["content"] != "grüße" {
		t.Errorf("got %v", got)
	}
	if got := h.Get("/files/read?path=b.bin", h.Ann).JSON(t); got["content"] != "AP8=" || got["encoding"] != "base64" {
		t.Errorf("got %v", got)
	}
	if got := h.Get("/files/download?path=/workspace/b.bin", h.Ann).
		Expect(t, http.StatusOK, ""); got.Body != "\x00\xff" {
		t.Errorf("got %q", got.Body)
	}
	list := fmt.Sprint(h.Get("/files/list?path=/workspace/d", h.Ann).JSON(t)["files"])
	if strings.Count(list, "name:") != 2 || !strings.Contains(list, "path:/workspace/d/a.txt") ||
		!strings.Contains(list, "name:e") {
		t.Errorf("got %s", list)
	}
	if got := h.Get("/files/list?path=/workspace/", h.Ann).JSON(t); got["count"] != 2.0 {
		t.Errorf("got %v", got)
	}
	h.Get("/files/list?path=b.bin", h.Ann).Expect(t, http.StatusConflict, "CONFLICT")
	for path, want := range map[string]bool{"/workspace": true, "/workspace/d/e": true, "/workspace/d/x": false} {
		if got := h.Get("/files/exists?path="+path, h.Ann).JSON(t)["exists"]; got != want {
			t.Errorf("%s exists: %v", path, got)
		}
	}
	for _, path := range []string{"/etc/passwd", "/workspace/../etc/passwd", "../x", "/workspaces/x"} {
		h.Get("/files/read?path="+path, h.Ann).Expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	}
	h.Get("/files/read", h.Ann).Expect(t, http.StatusBadRequest, "MISSING_PARAMETER")
	post("/files/write", `{"path":"b.bin","content":"x","overwrite":false}`).
		Expect(t, http.StatusPreconditionFailed, "PRECONDITION_FAILED")
	for _, no := range []string{`"false"`, "0"} { // such a client does not want to overwrite
		post("/files/write", `{"path":"b.bin","content":"x","overwrite":`+no+`}`).
			Expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	}
	post("/files/write", `{"path":"b.bin","content":"?","encoding":"base64"}`).
		Expect(t, http.StatusBadRequest, "INVALID_REQUEST")
	post("/files/write", `{"path":"/workspace","content":"x"}`).Expect(t, http.StatusConflict, "CONFLICT")

	var form bytes.Buffer
	fields := multipart.NewWriter(&form)
	_ = fields.WriteField("path", "/workspace/up.csv")
	part, _ := fields.CreateFormFile("file", "local.csv")
	_, _ = part.Write([]byte("1,2\n"))
	_ = fields.Close()
	h.Call(http.MethodPost, "/files/upload", h.Ann, form.String(), "Content-Type: "+fields.FormDataContentType()).
		Expect(t, http.StatusOK, "")
	if got := h.Get("/workspaces/default/files/up.csv", h.Ann).Expect(t, http.StatusOK, ""); got.Body != "1,2\n" {
		t.Errorf("got %q", got.Body)
	}
	h.Call(http.MethodDelete, "/files/remove?path=/workspace/d", h.Ann, "").Expect(t, http.StatusOK, "")
	h.Call(http.MethodDelete, "/files/remove?path=/workspace/d", h.Ann, "").
		Expect(t, http.StatusNotFound, "FILE_NOT_FOUND")
	h.Call(http.MethodDelete, "/files/remove?path=/workspace", h.Ann, "").
		Expect(t, http.StatusBadRequest, "INVALID_REQUEST")
}
