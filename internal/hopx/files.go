package hopx

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/gateway"
	"boomerang/internal/server"
	"boomerang/internal/wire"
	"boomerang/internal/workspace"
)

// HopX's clients know one tree of files. Here it is the subject's workspace "default", and its root is /workspace.

// fileRoutes answers requests for files.
type fileRoutes struct{ Deps }

// file has the fields that the clients read. Some values appear under an old and a new name.
type file struct {
	Name         string    `json:"name"`
	Path         string    `json:"path"`
	Size         int64     `json:"size"`
	IsDir        bool      `json:"is_dir"`
	IsDirectory  bool      `json:"is_directory"`
	Modified     time.Time `json:"modified"`
	ModifiedTime time.Time `json:"modified_time"`
	Permissions  string    `json:"permissions"`
}

func fileOf(e execution.Entry) file {
	f := file{
		Name: path.Base(e.Path), Path: workspace.Dir + "/" + e.Path, Size: e.Blob.Size,
		IsDir:    e.Kind == execution.EntryDir,
		Modified: wire.Time(e.ModifiedAt), Permissions: fmt.Sprintf("%04o", e.Mode),
	}
	f.IsDirectory, f.ModifiedTime = f.IsDir, f.Modified
	if f.IsDir {
		f.Permissions = "0700"
	}
	return f
}

// done is the answer to a change.
type done struct {
	Success   bool      `json:"success"`
	Path      string    `json:"path"`
	Size      int64     `json:"size"`
	Message   string    `json:"message"`
	Timestamp time.Time `json:"timestamp"`
}

func (h *fileRoutes) showDone(w http.ResponseWriter, at gateway.FileRef, size int64, message string) error {
	return server.Respond(w, http.StatusOK, done{
		true, path.Join(workspace.Dir, at.Path), size, message,
		wire.Time(h.Now()),
	})
}

// fileRefOf turns a path in a container into a path of the workspace. The root itself is "".
func fileRefOf(caller auth.Principal, name string) (at gateway.FileRef, err error) {
	at = gateway.FileRef{Subject: caller.Subject, Name: workspace.Default}
	if name == "" {
		return at, fault.New(fault.MissingParameter, "path is required.").Field("path")
	}
	inside := path.Clean(name)
	if path.IsAbs(inside) {
		rest, ok := strings.CutPrefix(inside+"/", workspace.Dir+"/")
		if !ok {
			return at, fault.New(fault.InvalidRequest, "path must lie in %s: nothing else is kept.", workspace.Dir).
				Field("path")
		}
		inside = strings.TrimSuffix(rest, "/")
	}
	if inside == "." || inside == "" {
		return at, nil
	}
	at.Path = inside
	return at, workspace.CheckPath("path", inside)
}

// queriedFile returns the file that the parameter path names.
func queriedFile(r *http.Request, caller auth.Principal) (gateway.FileRef, error) {
	q := server.QueryOf(r)
	name := q.Text("path")
	if q.Err() != nil {
		return gateway.FileRef{}, q.Err()
	}
	return fileRefOf(caller, name)
}

// handleReadFile answers with a file as text, or as base64 when it is none.
func (h *fileRoutes) handleReadFile(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	at, err := queriedFile(r, caller)
	if err != nil {
		return err
	}
	e, err := h.Files.Find(r.Context(), at)
	if err != nil {
		return unknownFile(err)
	}
	if e.Blob.Size > server.BodyLimit(r) {
		return fault.New(fault.PayloadTooLarge, "The file has %d bytes; what has more than %d is downloaded.",
			e.Blob.Size, server.BodyLimit(r))
	}
	content, err := io.ReadAll(h.Workspaces.Blob(r.Context(), e.Blob))
	if err != nil {
		return fmt.Errorf("read file: %w", err)
	}
	answer := struct {
		Content   string    `json:"content"`
		Encoding  string    `json:"encoding"`
		Path      string    `json:"path"`
		Size      int64     `json:"size"`
		Timestamp time.Time `json:"timestamp"`
	}{string(content), "utf-8", workspace.Dir + "/" + e.Path, e.Blob.Size, wire.Time(h.Now())}
	if !utf8.Valid(content) {
		answer.Content, answer.Encoding = base64.StdEncoding.EncodeToString(content), "base64"
	}
	return server.Respond(w, http.StatusOK, answer)
}

// unknownFile turns the error for a workspace that does not exist yet into that for a missing file.
func unknownFile(err error) error {
	if fault.Of(err).Code == fault.WorkspaceNotFound {
		return fault.New(fault.FileNotFound, "There is no such file.")
	}
	return err
}

func (h *fileRoutes) handleDownloadFile(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	at, err := queriedFile(r, caller)
	if err != nil {
		return err
	}
	e, err := h.Files.Find(r.Context(), at)
	if err != nil {
		return unknownFile(err)
	}
	return h.Files.Serve(w, r, e)
}

func (h *fileRoutes) handleFileExists(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	at, err := queriedFile(r, caller)
	if err != nil {
		return err
	}
	there := at.Path == ""
	if !there {
		_, err := h.Workspaces.Entry(r.Context(), at.Subject, at.Name, at.Path)
		there = err == nil
		if err = unknownFile(err); err != nil && fault.Of(err).Code != fault.FileNotFound {
			return err
		}
	}
	return server.Respond(w, http.StatusOK, map[string]any{"exists": there, "path": path.Join(workspace.Dir, at.Path)})
}

// handleListFiles lists the entries of a directory, without the entries of its subdirectories.
func (h *fileRoutes) handleListFiles(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	at, err := queriedFile(r, caller)
	if err != nil {
		return err
	}
	prefix := ""
	if at.Path != "" {
		e, err := h.Workspaces.Entry(r.Context(), at.Subject, at.Name, at.Path)
		if err != nil {
			return unknownFile(err)
		}
		if e.Kind != execution.EntryDir {
			return fault.New(fault.Conflict, "That is no directory.")
		}
		prefix = at.Path + "/"
	}
	files := []file{}
	entries, err := h.Workspaces.Entries(r.Context(), at.Subject, at.Name, prefix, "", h.Files.Limits.Entries)
	if err != nil && fault.Of(err).Code != fault.WorkspaceNotFound {
		return fmt.Errorf("list files: %w", err)
	}
	for _, e := range entries {
		if !strings.Contains(e.Path[len(prefix):], "/") {
			files = append(files, fileOf(e))
		}
	}
	return server.Respond(w, http.StatusOK, map[string]any{
		"path": path.Join(workspace.Dir, at.Path), "files": files, "count": len(files), "timestamp": wire.Time(h.Now()),
	})
}

// readChange reads the JSON body of a change.
func (h *fileRoutes) readChange(
	w http.ResponseWriter, r *http.Request, caller auth.Principal,
) (o *server.Object, at gateway.FileRef, err error) {
	if o, err = server.ReadObject(w, r); err != nil {
		return o, at, err
	}
	name := o.Text("path")
	if o.Err() != nil {
		return o, at, o.Err()
	}
	at, err = fileRefOf(caller, name)
	return o, at, err
}

func (h *fileRoutes) handleWriteFile(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	o, at, err := h.readChange(w, r, caller)
	if err != nil {
		return err
	}
	e := execution.Entry{Path: at.Path, Kind: execution.EntryFile, Mode: gateway.OrdinaryMode}
	content := o.Text("content")
	switch encoding := o.Text("encoding"); encoding {
	case "", "utf-8", "utf8", "text":
	case "base64":
		raw, err := base64.StdEncoding.DecodeString(content)
		if err != nil {
			o.Refuse("content", "must be base64, as encoding says.")
		}
		content = string(raw)
	default:
		o.Refuse("encoding", "must be utf-8 or base64.")
	}
	if o.Count("mode") > 0 {
		e.Mode = o.Mode("mode")
	}
	overwrite := o.Bool("overwrite", true)
	switch {
	case o.Err() != nil:
		return o.Err()
	case at.Path == "":
		return fault.New(fault.Conflict, "That is a directory.")
	}
	r.ContentLength = int64(len(content))
	only := execution.Condition{Absent: !overwrite}
	if _, err := h.Files.Put(w, r, at, &e, only, io.NopCloser(strings.NewReader(content))); err != nil {
		return err
	}
	return h.showDone(w, at, e.Blob.Size, "File written.")
}

func (h *fileRoutes) handleMakeDirectory(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	_, at, err := h.readChange(w, r, caller)
	if err != nil {
		return err
	}
	if at.Path != "" {
		e := execution.Entry{Path: at.Path, Kind: execution.EntryDir}
		if _, err := h.Files.Put(w, r, at, &e, execution.Condition{}, nil); err != nil {
			return err
		}
	}
	return h.showDone(w, at, 0, "Directory made.")
}

func (h *fileRoutes) handleRemoveFile(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	at, err := queriedFile(r, caller)
	if err != nil {
		return err
	}
	if at.Path == "" {
		return fault.New(fault.InvalidRequest, "%s itself cannot be removed.", workspace.Dir).Field("path")
	}
	if err := h.Workspaces.Delete(r.Context(), at.Subject, at.Name, at.Path, execution.Condition{},
		h.Now()); err != nil {
		return unknownFile(fmt.Errorf("delete file: %w", err))
	}
	return h.showDone(w, at, 0, "Removed.")
}

// maxField is the longest path in a form, in bytes.
const maxField = 4 << 10

// handleUploadFile takes a form with the fields "path" and "file", in this order, because the file is stored while it
// arrives.
func (h *fileRoutes) handleUploadFile(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	form, err := r.MultipartReader()
	if err != nil {
		return fault.New(fault.UnsupportedMediaType,
			"The request must have the header Content-Type: multipart/form-data.").Because(err)
	}
	q := server.QueryOf(r)
	name := q.Text("path")
	if q.Err() != nil {
		return q.Err()
	}
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return fault.New(fault.MissingParameter, "file is required.").Field("file")
		}
		if err != nil {
			return fault.New(fault.InvalidRequest, "The form ended too early or cannot be read.").Because(err)
		}
		switch part.FormName() {
		case "path":
			text, err := io.ReadAll(io.LimitReader(part, maxField))
			if err != nil {
				return fault.New(fault.InvalidRequest, "The form ended too early or cannot be read.").Because(err)
			}
			name = string(text)
		case "file":
			return h.storeUpload(w, r, caller, name, part)
		}
	}
}

func (h *fileRoutes) storeUpload(
	w http.ResponseWriter, r *http.Request, caller auth.Principal, name string, part *multipart.Part,
) error {
	at, err := fileRefOf(caller, name)
	switch {
	case err != nil:
		return err
	case at.Path == "":
		return fault.New(fault.Conflict, "That is a directory.")
	}
	r.ContentLength = -1 // that of the form is not that of the file
	e := execution.Entry{Path: at.Path, Kind: execution.EntryFile, Mode: gateway.OrdinaryMode}
	if _, err := h.Files.Put(w, r, at, &e, execution.Condition{}, part); err != nil {
		return err
	}
	return h.showDone(w, at, e.Blob.Size, "File uploaded.")
}
