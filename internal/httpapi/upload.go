package httpapi

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

const (
	upload       = 5 * time.Minute // how much longer than other requests the sending of a file may take
	maxUploads   = 4               // of one subject at a time: what comes is stored before it is known whether there is room
	ordinaryMode = 0o644
)

// putFile stores what comes as a file, whole or not at all.
func (a *api) putFile(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	s, err := fileRefOf(r, p)
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
	e := execution.Entry{Path: s.path, Kind: execution.EntryFile, Mode: s.mode("mode", ordinaryMode), ModifiedAt: a.stamp()}
	switch kind := execution.EntryKind(s.text("type")); kind {
	case "", execution.EntryFile:
	case execution.EntryDir:
		e.Kind, e.Mode = kind, 0
	case execution.EntryLink:
		fallthrough
	default:
		s.refuse("type", "type must be %s or %s.", execution.EntryFile, execution.EntryDir)
	}
	if s.err != nil {
		return s.err
	}
	replaced, err := a.store(w, r, s, &e, only, r.Body)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if replaced {
		status = http.StatusOK
	}
	if e.Kind == execution.EntryFile {
		w.Header().Set("ETag", etag(e))
	}
	return respond(w, status, fileViewOf(e))
}

// stamp is now, as the wire can show it.
func (a *api) stamp() time.Time { return a.Now().UTC().Truncate(time.Microsecond) }

// store reads the content of a file and puts it into the workspace. It sets the entry's blob.
func (a *api) store(
	w http.ResponseWriter, r *http.Request, s fileRef, e *execution.Entry, only execution.Condition, body io.ReadCloser,
) (replaced bool, err error) {
	blob := BlobWriter(nil)
	if e.Kind == execution.EntryFile {
		leave, err := a.enter(s.subject)
		if err != nil {
			return false, err
		}
		defer leave()
		if blob, err = a.receive(w, r, s, body); err != nil {
			return false, err
		}
		if e.Blob, err = blob.Close(); err != nil {
			blob.Abandon()
			return false, fmt.Errorf("keep content: %w", err)
		}
	}
	replaced, err = a.Workspaces.Put(r.Context(), s.subject, s.name, *e, only, a.Limits)
	if err != nil && blob != nil {
		blob.Abandon()
	}
	if err != nil {
		return false, fmt.Errorf("put file: %w", err)
	}
	return replaced, nil
}

// receive reads a body into a blob that is not closed yet.
func (a *api) receive(w http.ResponseWriter, r *http.Request, s fileRef, body io.ReadCloser) (_ BlobWriter, err error) {
	if r.ContentLength > a.Limits.Size {
		return nil, tooLong(a.Limits.Size)
	}
	if found, err := a.Workspaces.Workspace(r.Context(), s.subject, s.name); err == nil && found.Writer != "" { // before the body is read
		return nil, fault.New(fault.Conflict, "The execution %s changes this workspace; wait until it has ended, or cancel it.", found.Writer).
			Detail("execution_id", found.Writer)
	}
	if err := errors.Join(a.extend(w, upload), http.NewResponseController(w).SetReadDeadline(time.Now().Add(upload+a.config.Timeout))); err != nil {
		return nil, err
	}
	blob, err := a.Workspaces.NewBlob(r.Context())
	if err != nil {
		return nil, fmt.Errorf("keep content: %w", err)
	}
	_, err = io.Copy(blobSink{blob}, http.MaxBytesReader(w, body, a.Limits.Size))
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

// blobSink marks the errors of what is written to, so that they can be told from those of what is read from.
type blobSink struct{ w io.Writer }

type storeError struct{ error }

func (k blobSink) Write(p []byte) (int, error) {
	n, err := k.w.Write(p)
	if err != nil {
		err = &storeError{err}
	}
	return n, err
}

// uploads counts who is sending files.
type uploads struct {
	mu sync.Mutex // guards of
	of map[string]int
}

// enter takes one of the subject's turns to send a file, and returns how to give it back.
func (a *api) enter(subject string) (leave func(), err error) {
	u := &a.uploads
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.of[subject] >= maxUploads {
		return nil, fault.New(fault.RateLimitExceeded, "You are sending %d files at the same time, and no more are allowed.", maxUploads)
	}
	if u.of == nil {
		u.of = make(map[string]int)
	}
	u.of[subject]++
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.of[subject]--; u.of[subject] == 0 {
			delete(u.of, subject)
		}
	}, nil
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
			sum = make([]byte, 32) // one of somebody else's: nothing that we have
		}
		only.Sums = append(only.Sums, [32]byte(sum))
	}
	if only.Exists {
		only.Sums = nil
	}
	return only, nil
}

// mode returns permissions, or fallback.
func (q *query) mode(name string, fallback uint32) uint32 {
	text := q.text(name)
	if text == "" {
		return fallback
	}
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode > 0o777 {
		q.refuse(name, "%s must be permissions like 644, in octal digits.", name)
	}
	return uint32(mode)
}

// serveBytes answers with content, or with the range of it that is asked for.
func serveBytes(w http.ResponseWriter, r *http.Request, name string, at time.Time, content io.ReadSeeker, size int64) error {
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", attachment(path.Base(name))) // what a program wrote is no page
	if !strings.HasPrefix(r.Header.Get("Range"), "bytes=") {
		r.Header.Del("Range") // a unit that is not understood is ignored (RFC 9110, section 14.2)
	}
	for _, condition := range []string{"If-Match", "If-Unmodified-Since"} {
		r.Header.Del(condition) // they are for changes; the answer would have no body
	}
	ranged := &rangeWriter{ResponseWriter: w}
	http.ServeContent(ranged, r, "", at, content)
	if ranged.outside {
		for _, header := range []string{"Content-Disposition", "ETag", "Last-Modified"} {
			h.Del(header)
		}
		h.Set("Cache-Control", "no-store") // http.Error took it away
		return fault.New(fault.RangeNotSatisfiable, "There is nothing in that range: the file has %d bytes.", size).Detail("bytes", size)
	}
	return nil
}

// attachment names a file for who saves it (RFC 6266).
func attachment(name string) string {
	if text := mime.FormatMediaType("attachment", map[string]string{"filename": name}); text != "" {
		return text
	}
	return "attachment"
}
