package httpapi

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
	"boomerang/internal/wire"
	"boomerang/internal/workspace"
)

// The calls in this file are those of HopX's clients. They know one tree of files: here it is the subject's workspace
// "default", and its root is /workspace.

// sdkFile is a file as the clients read it. They have had two names for some of its fields.
type sdkFile struct {
	Name         string    `json:"name"`
	Path         string    `json:"path"`
	Size         int64     `json:"size"`
	IsDir        bool      `json:"is_dir"`
	IsDirectory  bool      `json:"is_directory"`
	Modified     time.Time `json:"modified"`
	ModifiedTime time.Time `json:"modified_time"`
	Permissions  string    `json:"permissions"`
}

func sdkFileOf(e execution.Entry) sdkFile {
	f := sdkFile{
		Name: path.Base(e.Path), Path: workspace.Dir + "/" + e.Path, Size: e.Blob.Size, IsDir: e.Kind == execution.EntryDir,
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

func (a *api) done(w http.ResponseWriter, s spot, size int64, message string) error {
	return respond(w, http.StatusOK, done{true, path.Join(workspace.Dir, s.path), size, message, wire.Time(a.Now())})
}

// sdkSpot turns a path in a container into one of the workspace. The root itself is "".
func sdkSpot(p auth.Principal, name string) (spot, error) {
	s := spot{subject: p.Subject, name: workspace.Default}
	if name == "" {
		return s, fault.New(fault.MissingParameter, "path is required.").Field("path")
	}
	inside := path.Clean(name)
	if path.IsAbs(inside) {
		rest, ok := strings.CutPrefix(inside+"/", workspace.Dir+"/")
		if !ok {
			return s, fault.New(fault.InvalidRequest, "path must lie in %s: nothing else is kept.", workspace.Dir).Field("path")
		}
		inside = strings.TrimSuffix(rest, "/")
	}
	if inside == "." || inside == "" {
		return s, nil
	}
	s.path = inside
	return s, workspace.CheckPath("path", inside)
}

// sdkQuery is sdkSpot of the path that the query names.
func sdkQuery(r *http.Request, p auth.Principal) (spot, error) {
	q := queryOf(r)
	name := q.text("path")
	if q.err != nil {
		return spot{}, q.err
	}
	return sdkSpot(p, name)
}

// sdkRead answers with a file as text, or as base64 when it is none.
func (a *api) sdkRead(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	s, err := sdkQuery(r, p)
	if err != nil {
		return err
	}
	e, err := a.readable(r.Context(), s)
	if err != nil {
		return unknownFile(err)
	}
	if e.Blob.Size > int64(a.config.Body) {
		return fault.New(fault.PayloadTooLarge, "The file has %d bytes; what has more than %d is downloaded.", e.Blob.Size, int64(a.config.Body))
	}
	content, err := io.ReadAll(a.Workspaces.Blob(r.Context(), e.Blob))
	if err != nil {
		return fmt.Errorf("read file: %w", err)
	}
	answer := struct {
		Content   string    `json:"content"`
		Encoding  string    `json:"encoding"`
		Path      string    `json:"path"`
		Size      int64     `json:"size"`
		Timestamp time.Time `json:"timestamp"`
	}{string(content), "utf-8", workspace.Dir + "/" + e.Path, e.Blob.Size, wire.Time(a.Now())}
	if !utf8.Valid(content) {
		answer.Content, answer.Encoding = base64.StdEncoding.EncodeToString(content), "base64"
	}
	return respond(w, http.StatusOK, answer)
}

// unknownFile tells who has no workspace yet that the file is not there.
func unknownFile(err error) error {
	if fault.Of(err).Code == fault.WorkspaceNotFound {
		return fault.New(fault.FileNotFound, "There is no such file.")
	}
	return err
}

func (a *api) sdkDownload(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	s, err := sdkQuery(r, p)
	if err != nil {
		return err
	}
	e, err := a.readable(r.Context(), s)
	if err != nil {
		return unknownFile(err)
	}
	return a.serveFile(w, r, e)
}

func (a *api) sdkExists(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	s, err := sdkQuery(r, p)
	if err != nil {
		return err
	}
	there := s.path == ""
	if !there {
		_, err := a.Workspaces.Entry(r.Context(), s.subject, s.name, s.path)
		there = err == nil
		if err = unknownFile(err); err != nil && fault.Of(err).Code != fault.FileNotFound {
			return err
		}
	}
	return respond(w, http.StatusOK, map[string]any{"exists": there, "path": path.Join(workspace.Dir, s.path)})
}

// sdkList shows what is in a directory, not what is below that.
func (a *api) sdkList(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	s, err := sdkQuery(r, p)
	if err != nil {
		return err
	}
	prefix := ""
	if s.path != "" {
		e, err := a.Workspaces.Entry(r.Context(), s.subject, s.name, s.path)
		if err != nil {
			return unknownFile(err)
		}
		if e.Kind != execution.EntryDir {
			return fault.New(fault.Contradiction, "That is no directory.")
		}
		prefix = s.path + "/"
	}
	files := []sdkFile{}
	entries, err := a.Workspaces.Entries(r.Context(), s.subject, s.name, prefix, "", a.Limits.Entries)
	if err != nil && fault.Of(err).Code != fault.WorkspaceNotFound {
		return fmt.Errorf("list files: %w", err)
	}
	for _, e := range entries {
		if !strings.Contains(e.Path[len(prefix):], "/") {
			files = append(files, sdkFileOf(e))
		}
	}
	return respond(w, http.StatusOK, map[string]any{
		"path": path.Join(workspace.Dir, s.path), "files": files, "count": len(files), "timestamp": wire.Time(a.Now()),
	})
}

// sdkBody reads the JSON of a change.
func (a *api) sdkBody(w http.ResponseWriter, r *http.Request, p auth.Principal) (o object, s spot, err error) {
	body, err := a.readObject(w, r)
	if err != nil {
		return o, s, err
	}
	o = *body
	name := o.text("path")
	if o.err != nil {
		return o, s, o.err
	}
	s, err = sdkSpot(p, name)
	return o, s, err
}

func (a *api) sdkWrite(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	o, s, err := a.sdkBody(w, r, p)
	if err != nil {
		return err
	}
	e := execution.Entry{Path: s.path, Kind: execution.EntryFile, Mode: ordinaryMode, ModifiedAt: a.stamp()}
	content := o.text("content")
	switch encoding := o.text("encoding"); encoding {
	case "", "utf-8", "utf8", "text":
	case "base64":
		raw, err := base64.StdEncoding.DecodeString(content)
		if err != nil {
			o.refuse("content", "must be base64, as encoding says.")
		}
		content = string(raw)
	default:
		o.refuse("encoding", "must be utf-8 or base64.")
	}
	if o.count("mode") > 0 {
		e.Mode = o.mode("mode")
	}
	overwrite := o.truth("overwrite", true)
	switch {
	case o.err != nil:
		return o.err
	case s.path == "":
		return fault.New(fault.Contradiction, "That is a directory.")
	}
	r.ContentLength = int64(len(content))
	only := execution.Condition{Absent: !overwrite}
	if _, err := a.store(w, r, s, &e, only, io.NopCloser(strings.NewReader(content))); err != nil {
		return err
	}
	return a.done(w, s, e.Blob.Size, "File written.")
}

func (a *api) sdkMkdir(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	_, s, err := a.sdkBody(w, r, p)
	if err != nil {
		return err
	}
	if s.path != "" {
		e := execution.Entry{Path: s.path, Kind: execution.EntryDir, ModifiedAt: a.stamp()}
		if _, err := a.store(w, r, s, &e, execution.Condition{}, nil); err != nil {
			return err
		}
	}
	return a.done(w, s, 0, "Directory made.")
}

func (a *api) sdkRemove(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	s, err := sdkQuery(r, p)
	if err != nil {
		return err
	}
	if s.path == "" {
		return fault.New(fault.InvalidRequest, "%s itself cannot be removed.", workspace.Dir).Field("path")
	}
	if err := a.Workspaces.Delete(r.Context(), s.subject, s.name, s.path, execution.Condition{}, a.Now()); err != nil {
		return unknownFile(fmt.Errorf("delete file: %w", err))
	}
	return a.done(w, s, 0, "Removed.")
}

// maxField is how long the path in a form may be.
const maxField = 4 << 10

// sdkUpload takes a form with the fields "path" and "file", in this order: what comes is stored while it comes.
func (a *api) sdkUpload(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	form, err := r.MultipartReader()
	if err != nil {
		return fault.New(fault.UnsupportedMediaType, "The request must have the header Content-Type: multipart/form-data.").Because(err)
	}
	q := queryOf(r)
	name := q.text("path")
	if q.err != nil {
		return q.err
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
			return a.sdkUploaded(w, r, p, name, part)
		}
	}
}

func (a *api) sdkUploaded(w http.ResponseWriter, r *http.Request, p auth.Principal, name string, part *multipart.Part) error {
	s, err := sdkSpot(p, name)
	switch {
	case err != nil:
		return err
	case s.path == "":
		return fault.New(fault.Contradiction, "That is a directory.")
	}
	r.ContentLength = -1 // it is the form's
	e := execution.Entry{Path: s.path, Kind: execution.EntryFile, Mode: ordinaryMode, ModifiedAt: a.stamp()}
	if _, err := a.store(w, r, s, &e, execution.Condition{}, part); err != nil {
		return err
	}
	return a.done(w, s, e.Blob.Size, "File uploaded.")
}
