package client

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"boomerang/internal/fault"
)

func TestFileNamesAreEscapedInTheURL(t *testing.T) {
	var got []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.Method+" "+r.URL.RequestURI()+" "+string(body)+" "+r.Header.Get("Authorization"))
		_, _ = w.Write([]byte("content"))
	})
	const name = "a b/?x=#\n%2F/ü"
	var content bytes.Buffer
	err := errors.Join(
		c.PutFile(t.Context(), "w", name, "755", strings.NewReader("sent")),
		c.GetFile(t.Context(), "w", name, &content),
		c.DeleteFile(t.Context(), "w", name), c.DeleteWorkspace(t.Context(), "w"))
	if err != nil || content.String() != "content" {
		t.Fatalf("got %q, %v", content.String(), err)
	}
	const file = "/below/workspaces/w/files/a%20b/%3Fx=%23%0A%252F/%C3%BC"
	want := []string{
		"PUT " + file + "?mode=755 sent Bearer token",
		"GET " + file + "  Bearer token",
		"DELETE " + file + "  Bearer token",
		"DELETE /below/workspaces/w  Bearer token",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q; want %q", got, want)
	}
}

func TestListsIncludeAllPages(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("cursor") {
		case "":
			_, _ = w.Write([]byte(`{"workspaces":[{"name":"a"}],"files":[{"path":"a"}],"next_cursor":"a"}`))
		case "a":
			_, _ = w.Write([]byte(`{"workspaces":[{"name":"b"}],"files":[{"path":"b"}],"next_cursor":null}`))
		}
	})
	list, err := c.Workspaces(t.Context())
	files, err2 := c.WorkspaceFiles(t.Context(), "w", "")
	if err != nil || err2 != nil || len(list) != 2 || list[1].Name != "b" || len(files) != 2 || files[1].Path != "b" {
		t.Errorf("got %v, %v, %v, %v", list, err, files, err2)
	}
}

func TestPutFileReturnsTheServersFault(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
		_, _ = w.Write([]byte(`{"message":"An execution has it.","code":"CONFLICT"}`))
	})
	err := c.PutFile(t.Context(), "w", "a", "644", strings.NewReader(""))
	if f := fault.Of(err); f.Code != fault.Conflict || f.Sentence != "An execution has it." {
		t.Errorf("got %v", err)
	}
}
