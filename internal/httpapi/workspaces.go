package httpapi

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/gateway"
	"boomerang/internal/server"
	"boomerang/internal/wire"
	"boomerang/internal/workspace"
)

// workspaceRoutes answers requests for workspaces and their files.
type workspaceRoutes struct{ Deps }

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

// fileRefOf reads the names in the path of a request. A caller with the scope admin may name another subject. If it
// returns no error, the query has none.
func fileRefOf(r *http.Request, caller auth.Principal) (at gateway.FileRef, q *server.Query, err error) {
	q = server.QueryOf(r)
	at = gateway.FileRef{Subject: caller.Subject, Name: r.PathValue("name"), Path: r.PathValue("path")}
	if other := q.Text(server.SubjectParameter); caller.Admin && other != "" {
		if err := auth.CheckSubject(other); err != nil {
			q.Refuse(server.SubjectParameter, "%s must be 1 to 255 bytes without control characters.",
				server.SubjectParameter)
		}
		at.Subject = other
	}
	if q.Err() != nil {
		return at, q, q.Err()
	}
	if at.Name != "" {
		if err := workspace.CheckName("name", at.Name); err != nil {
			return at, q, err
		}
	}
	if at.Path != "" {
		return at, q, workspace.CheckPath("path", at.Path)
	}
	return at, q, nil
}

func (a *workspaceRoutes) handleWorkspaces(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	at, q, err := fileRefOf(r, caller)
	if err != nil {
		return err
	}
	after, limit := q.Text("cursor"), q.Number("limit", standardPage, 1, maxPage)
	if q.Err() != nil {
		return q.Err()
	}
	list, err := a.Workspaces.Workspaces(r.Context(), at.Subject, after, limit)
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
	return server.Respond(w, http.StatusOK, answer)
}

func (a *workspaceRoutes) handleWorkspace(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	at, _, err := fileRefOf(r, caller)
	if err != nil {
		return err
	}
	found, err := a.Files.Workspaces.Workspace(r.Context(), at.Subject, at.Name)
	if err != nil {
		return fmt.Errorf("read workspace: %w", err)
	}
	return server.Respond(w, http.StatusOK, workspaceViewOf(found))
}

func (a *workspaceRoutes) handleRemoveWorkspace(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	at, _, err := fileRefOf(r, caller)
	if err != nil {
		return err
	}
	if err := a.Workspaces.RemoveWorkspace(r.Context(), at.Subject, at.Name); err != nil {
		return fmt.Errorf("remove workspace: %w", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// maxFiles is the longest page of files.
const maxFiles = 1000

func (a *workspaceRoutes) handleFiles(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	at, q, err := fileRefOf(r, caller)
	if err != nil {
		return err
	}
	prefix, after, limit := q.Text("prefix"), q.Text("cursor"), q.Number("limit", maxPage, 1, maxFiles)
	if q.Err() != nil {
		return q.Err()
	}
	list, err := a.Workspaces.Entries(r.Context(), at.Subject, at.Name, prefix, after, limit)
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
	return server.Respond(w, http.StatusOK, answer)
}

// handleFile answers with the bytes of a file, or with the range that the request asks for.
func (a *workspaceRoutes) handleFile(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	at, _, err := fileRefOf(r, caller)
	if err != nil {
		return err
	}
	e, err := a.Files.Find(r.Context(), at)
	if err != nil {
		return err
	}
	return a.Files.Serve(w, r, e)
}

// handlePutFile stores a file completely or not at all.
func (a *workspaceRoutes) handlePutFile(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	at, q, err := fileRefOf(r, caller)
	if err != nil {
		return err
	}
	only, err := conditionOf(r)
	if err != nil {
		return err
	}
	if r.Header.Get("Content-Encoding") != "" {
		return fault.New(fault.UnsupportedMediaType, "The file must be sent without a Content-Encoding.")
	}
	e := execution.Entry{Path: at.Path, Kind: execution.EntryFile, Mode: q.Mode("mode", gateway.OrdinaryMode)}
	switch kind := execution.EntryKind(q.Text("type")); kind {
	case "", execution.EntryFile:
	case execution.EntryDir:
		e.Kind, e.Mode = kind, 0
	case execution.EntryLink:
		fallthrough
	default:
		q.Refuse("type", "type must be %s or %s.", execution.EntryFile, execution.EntryDir)
	}
	if q.Err() != nil {
		return q.Err()
	}
	replaced, err := a.Files.Put(w, r, at, &e, only, r.Body)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if replaced {
		status = http.StatusOK
	}
	if e.Kind == execution.EntryFile {
		w.Header().Set("ETag", gateway.ETag(e.Blob))
	}
	return server.Respond(w, status, fileViewOf(e))
}

func (a *workspaceRoutes) handleDeleteFile(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	at, _, err := fileRefOf(r, caller)
	if err != nil {
		return err
	}
	only, err := conditionOf(r)
	if err != nil {
		return err
	}
	if err := a.Workspaces.Delete(r.Context(), at.Subject, at.Name, at.Path, only, a.Now()); err != nil {
		return fmt.Errorf("delete file: %w", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// conditionOf reads If-Match and If-None-Match (RFC 9110, section 13.1).
func conditionOf(r *http.Request) (only execution.Condition, err error) {
	if none := r.Header.Get("If-None-Match"); none != "" {
		if none != "*" {
			return only, fault.New(fault.InvalidRequest, "If-None-Match must be * here.").Field("If-None-Match")
		}
		only.Absent = true
	}
	match := strings.Join(r.Header.Values("If-Match"), ",")
	if match == "" {
		return only, nil
	}
	for tag := range strings.SplitSeq(match, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" {
			only.Exists = true
			continue
		}
		sum, err := hex.DecodeString(strings.Trim(tag, `"`))
		if err != nil || len(sum) != 32 {
			sum = make([]byte, 32) // a foreign tag, which matches no file
		}
		only.Sums = append(only.Sums, [32]byte(sum))
	}
	if only.Exists {
		only.Sums = nil
	}
	return only, nil
}
