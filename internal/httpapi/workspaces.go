package httpapi

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/wire"
	"boomerang/internal/workspace"
)

// Workspaces keeps files that outlive executions. Errors: faults WORKSPACE_NOT_FOUND, FILE_NOT_FOUND, CONFLICT while an
// execution has what is to be changed, PAYLOAD_TOO_LARGE, PRECONDITION_FAILED, SERVICE_UNAVAILABLE.
type Workspaces interface {
	Workspaces(ctx context.Context, subject, after string, limit int) ([]execution.Workspace, error)
	Workspace(ctx context.Context, subject, name string) (execution.Workspace, error)
	RemoveWorkspace(ctx context.Context, subject, name string) error
	// Entries lists by path; parents come before what is in them.
	Entries(ctx context.Context, subject, name, prefix, after string, limit int) ([]execution.Entry, error)
	Entry(ctx context.Context, subject, name, path string) (execution.Entry, error)
	// Put makes the workspace and the directories above the entry when they are not there.
	Put(ctx context.Context, subject, name string, e execution.Entry, only execution.Condition, limits execution.WorkspaceLimits) (
		replaced bool, err error)
	// Delete takes all that is below a directory along.
	Delete(ctx context.Context, subject, name, path string, only execution.Condition, at time.Time) error
	// NewBlob begins the content of a file.
	NewBlob(ctx context.Context) (BlobWriter, error)
	Blob(ctx context.Context, b execution.Blob) io.ReadSeeker
}

// BlobWriter takes content. Either Close ends it, or Abandon throws it away.
type BlobWriter interface {
	io.Writer
	Close() (execution.Blob, error)
	Abandon()
}

func workspaceViewOf(w execution.Workspace) wire.Workspace {
	p := wire.Workspace{
		Name: w.Name, Size: w.Size, Entries: w.Entries, CreatedAt: wire.Time(w.CreatedAt), UsedAt: wire.Time(w.UsedAt),
		Queued: w.Waiting, Readers: w.Readers,
	}
	if w.Writer != "" {
		p.Writer = &w.Writer
	}
	return p
}

func fileViewOf(e execution.Entry) wire.WorkspaceFile {
	i := wire.WorkspaceFile{Path: e.Path, Type: e.Kind, Size: e.Blob.Size, ModifiedAt: wire.Time(e.ModifiedAt)}
	switch e.Kind {
	case execution.EntryFile:
		i.Mode = new(fmt.Sprintf("%04o", e.Mode))
		i.SHA256 = new(hex.EncodeToString(e.Blob.Sum[:]))
	case execution.EntryLink:
		i.Target = &e.Target
	case execution.EntryDir:
	}
	return i
}

// fileRef is what a request to a workspace is about.
type fileRef struct {
	*query
	subject, name, path string
}

// fileRefOf reads the names in a request's path. A caller with the scope admin may name another subject.
func fileRefOf(r *http.Request, p auth.Principal) (fileRef, error) {
	s := fileRef{query: queryOf(r), subject: p.Subject, name: mux.Vars(r)["name"], path: mux.Vars(r)["path"]}
	if other := s.text(subjectParameter); p.Admin && other != "" {
		if err := auth.CheckSubject(other); err != nil {
			s.refuse(subjectParameter, "%s must be 1 to 255 bytes without control characters.", subjectParameter)
		}
		s.subject = other
	}
	if s.err != nil {
		return s, s.err
	}
	if _, named := mux.Vars(r)["name"]; named {
		if err := workspace.CheckName("name", s.name); err != nil {
			return s, err
		}
	}
	if _, named := mux.Vars(r)["path"]; named {
		return s, workspace.CheckPath("path", s.path)
	}
	return s, nil
}

func (a *api) workspaces(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	s, err := fileRefOf(r, p)
	if err != nil {
		return err
	}
	after, limit := s.text("cursor"), s.number("limit", standardPage, 1, maxPage)
	if s.err != nil {
		return s.err
	}
	list, err := a.Workspaces.Workspaces(r.Context(), s.subject, after, limit)
	if err != nil {
		return fmt.Errorf("list workspaces: %w", err)
	}
	answer := struct {
		Workspaces []wire.Workspace `json:"workspaces"`
		Count      int              `json:"count"`
		NextCursor *string          `json:"next_cursor"`
	}{make([]wire.Workspace, 0, len(list)), len(list), nil}
	for _, w := range list {
		answer.Workspaces = append(answer.Workspaces, workspaceViewOf(w))
	}
	if len(list) == limit {
		answer.NextCursor = &list[limit-1].Name
	}
	return respond(w, http.StatusOK, answer)
}

func (a *api) workspace(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	s, err := fileRefOf(r, p)
	if err != nil {
		return err
	}
	found, err := a.Workspaces.Workspace(r.Context(), s.subject, s.name)
	if err != nil {
		return fmt.Errorf("read workspace: %w", err)
	}
	return respond(w, http.StatusOK, workspaceViewOf(found))
}

func (a *api) removeWorkspace(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	s, err := fileRefOf(r, p)
	if err != nil {
		return err
	}
	if err := a.Workspaces.RemoveWorkspace(r.Context(), s.subject, s.name); err != nil {
		return fmt.Errorf("remove workspace: %w", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// maxFiles is the longest page of files.
const maxFiles = 1000

func (a *api) files(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	s, err := fileRefOf(r, p)
	if err != nil {
		return err
	}
	prefix, after, limit := s.text("prefix"), s.text("cursor"), s.number("limit", maxPage, 1, maxFiles)
	if s.err != nil {
		return s.err
	}
	list, err := a.Workspaces.Entries(r.Context(), s.subject, s.name, prefix, after, limit)
	if err != nil {
		return fmt.Errorf("list files: %w", err)
	}
	answer := struct {
		Files      []wire.WorkspaceFile `json:"files"`
		Count      int                  `json:"count"`
		NextCursor *string              `json:"next_cursor"`
	}{make([]wire.WorkspaceFile, 0, len(list)), len(list), nil}
	for _, e := range list {
		answer.Files = append(answer.Files, fileViewOf(e))
	}
	if len(list) == limit {
		answer.NextCursor = &list[limit-1].Path
	}
	return respond(w, http.StatusOK, answer)
}

// file answers with the bytes of a file, or with the range of them that is asked for.
func (a *api) file(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	s, err := fileRefOf(r, p)
	if err != nil {
		return err
	}
	e, err := a.readable(r.Context(), s)
	if err != nil {
		return err
	}
	return a.serveFile(w, r, e)
}

// readable finds an entry that has bytes.
func (a *api) readable(ctx context.Context, s fileRef) (execution.Entry, error) {
	e, err := a.Workspaces.Entry(ctx, s.subject, s.name, s.path)
	if err != nil {
		return e, fmt.Errorf("find file: %w", err)
	}
	switch e.Kind {
	case execution.EntryDir:
		return e, fault.New(fault.Conflict, "That is a directory. ?prefix= of the list shows what is in it.")
	case execution.EntryLink:
		return e, fault.New(fault.Conflict, "That is a link, which is not followed here.").Detail("target", e.Target)
	case execution.EntryFile:
	}
	return e, nil
}

func etag(e execution.Entry) string { return `"` + hex.EncodeToString(e.Blob.Sum[:]) + `"` }

func (a *api) serveFile(w http.ResponseWriter, r *http.Request, e execution.Entry) error {
	if err := a.extend(w, download); err != nil {
		return err
	}
	h := w.Header()
	h.Set("ETag", etag(e))
	return serveBytes(w, r, e.Path, e.ModifiedAt, a.Workspaces.Blob(r.Context(), e.Blob), e.Blob.Size)
}

func (a *api) deleteFile(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	s, err := fileRefOf(r, p)
	if err != nil {
		return err
	}
	only, err := conditionOf(r)
	if err != nil {
		return err
	}
	if err := a.Workspaces.Delete(r.Context(), s.subject, s.name, s.path, only, a.Now()); err != nil {
		return fmt.Errorf("delete file: %w", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
