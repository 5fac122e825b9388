package gateway

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/quota"
	"boomerang/internal/server"
)

const (
	upload = 5 * time.Minute // beyond Config.Timeout, for a file that a client sends
	// The number maxUploads is for one subject: content is stored before its workspace is known to have space.
	maxUploads = 4

	// Download is the time beyond Config.Timeout for a file that a client receives.
	Download = 5 * time.Minute
	// OrdinaryMode are the permissions of a file whose client names none.
	OrdinaryMode = 0o644
)

// Workspaces keeps files that outlive executions. Errors: faults WORKSPACE_NOT_FOUND, FILE_NOT_FOUND, CONFLICT while an
// execution may change the workspace, PAYLOAD_TOO_LARGE, PRECONDITION_FAILED, SERVICE_UNAVAILABLE.
type Workspaces interface {
	Workspace(ctx context.Context, subject, name string) (execution.Workspace, error)
	Entry(ctx context.Context, subject, name, path string) (execution.Entry, error)
	// Put makes the workspace and the directories above the entry if they do not exist.
	Put(ctx context.Context, subject, name string, e execution.Entry, only execution.Condition,
		limits execution.WorkspaceLimits) (
		replaced bool, err error)
	Blobs
}

// Blobs keeps the content of files.
type Blobs interface {
	// NewBlob begins the content of a file.
	NewBlob(ctx context.Context) (BlobWriter, error)
	// Blob reads content, a piece at a time.
	Blob(ctx context.Context, b execution.Blob) io.ReadSeeker
}

// BlobWriter takes content. Either Close ends it, or Abandon discards it.
type BlobWriter interface {
	io.Writer
	Close() (execution.Blob, error)
	Abandon()
}

// Files reads and writes the files of workspaces.
type Files struct {
	Workspaces Workspaces
	Limits     execution.WorkspaceLimits
	now        func() time.Time
	uploads    *quota.Counter
}

// NewFiles makes the Files of a server.
func NewFiles(w Workspaces, limits execution.WorkspaceLimits, now func() time.Time) *Files {
	return &Files{Workspaces: w, Limits: limits, now: now, uploads: quota.NewCounter()}
}

// FileRef names a file of a workspace. The path "" is the root of the workspace.
type FileRef struct{ Subject, Name, Path string }

// Find returns the entry of a file. Errors: those of Workspaces, and fault CONFLICT for a directory or a link.
func (f *Files) Find(ctx context.Context, at FileRef) (execution.Entry, error) {
	e, err := f.Workspaces.Entry(ctx, at.Subject, at.Name, at.Path)
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

// ETag returns the entity tag of content, its checksum.
func ETag(b execution.Blob) string { return `"` + hex.EncodeToString(b.Sum[:]) + `"` }

// Serve answers with the content of a file, or with the range of it that the request asks for.
func (f *Files) Serve(w http.ResponseWriter, r *http.Request, e execution.Entry) error {
	if err := server.ExtendWrite(w, r, Download); err != nil {
		return err
	}
	h := w.Header()
	h.Set("ETag", ETag(e.Blob))
	h.Set("Content-Type", "application/octet-stream")
	// Keeps a browser from showing a page that a program wrote
	h.Set("Content-Disposition", attachment(path.Base(e.Path)))
	for _, condition := range []string{"If-Match", "If-Unmodified-Since"} {
		r.Header.Del(condition) // they are for changes; the answer would have no body
	}
	if !server.ServeRange(w, r, e.ModifiedAt, f.Workspaces.Blob(r.Context(), e.Blob)) {
		for _, header := range []string{"Content-Disposition", "ETag", "Last-Modified"} {
			h.Del(header)
		}
		return fault.New(fault.RangeNotSatisfiable, "There is nothing in that range: the file has %d bytes.",
			e.Blob.Size).
			Detail("bytes", e.Blob.Size)
	}
	return nil
}

// Put stores an entry, of a file with the content that it reads from body, or stores nothing. It sets the time and the
// blob of the entry. Errors: those of Workspaces, and faults RATE_LIMIT_EXCEEDED, INVALID_REQUEST for a body that
// breaks off.
func (f *Files) Put(
	w http.ResponseWriter, r *http.Request, at FileRef, e *execution.Entry, only execution.Condition,
	body io.ReadCloser,
) (replaced bool, err error) {
	e.ModifiedAt = f.now().UTC().Truncate(time.Microsecond) // the precision of the wire
	var blob BlobWriter
	if e.Kind == execution.EntryFile {
		release, _, ok := f.uploads.Acquire(at.Subject, 1, maxUploads)
		if !ok {
			return false, fault.New(
				fault.RateLimitExceeded, "You are sending %d files at the same time, and no more are allowed.",
				maxUploads,
			)
		}
		defer release()
		if blob, err = f.receive(w, r, at, body); err != nil {
			return false, err
		}
		if e.Blob, err = blob.Close(); err != nil {
			blob.Abandon()
			return false, fmt.Errorf("keep content: %w", err)
		}
	}
	replaced, err = f.Workspaces.Put(r.Context(), at.Subject, at.Name, *e, only, f.Limits)
	if err != nil && blob != nil {
		blob.Abandon()
	}
	if err != nil {
		return false, fmt.Errorf("put file: %w", err)
	}
	return replaced, nil
}

// receive reads a body into a blob that is still open.
func (f *Files) receive(
	w http.ResponseWriter, r *http.Request, at FileRef, body io.ReadCloser,
) (_ BlobWriter, err error) {
	if r.ContentLength > f.Limits.Size {
		return nil, tooLong(f.Limits.Size)
	}
	// Before the body is read
	if found, err := f.Workspaces.Workspace(r.Context(), at.Subject, at.Name); err == nil && found.Writer != "" {
		return nil, fault.New(fault.Conflict,
			"The execution %s changes this workspace; wait until it has ended, or cancel it.", found.Writer).
			Detail("execution_id", found.Writer)
	}
	if err := errors.Join(server.ExtendWrite(w, r, upload), server.ExtendRead(w, r, upload)); err != nil {
		return nil, err
	}
	blob, err := f.Workspaces.NewBlob(r.Context())
	if err != nil {
		return nil, fmt.Errorf("keep content: %w", err)
	}
	_, err = io.Copy(blobSink{blob}, http.MaxBytesReader(w, body, f.Limits.Size))
	if err == nil {
		return blob, nil
	}
	blob.Abandon()
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLong(tooLarge.Limit)
	}
	if broken, ok := errors.AsType[*storeError](err); ok {
		return nil, fmt.Errorf("keep content: %w", broken.error)
	}
	return nil, fault.New(fault.InvalidRequest, "The body ended too early or came too slowly.").Because(err)
}

func tooLong(most int64) error {
	return fault.New(fault.PayloadTooLarge, "A file must have at most %d bytes.", most).Detail("max", most)
}

// blobSink marks the errors of a blob, which io.Copy returns alike with those of the body.
type blobSink struct{ w io.Writer }

type storeError struct{ error }

func (k blobSink) Write(p []byte) (int, error) {
	n, err := k.w.Write(p)
	if err != nil {
		err = &storeError{err}
	}
	return n, err
}

// attachment returns a Content-Disposition with the name of a file (RFC 6266).
func attachment(name string) string {
	if text := mime.FormatMediaType("attachment", map[string]string{"filename": name}); text != "" {
		return text
	}
	return "attachment"
}
