package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

const (
	maxJob  = 64 << 20 // bytes of JSON, in which three bytes of stdin or files take four
	maxTail = 16 << 20 // bytes; the init keeps them in memory
)

// ErrTooLarge says that a job is larger than an init accepts, so sending it again would not help.
var ErrTooLarge = errors.New("the job is too large")

// WriteJob sends a job: the length of its JSON in four bytes, big-endian, and the JSON in one write, followed by the
// entries of its workspace. It does not send an invalid job, or one that is too large (ErrTooLarge).
func WriteJob(w io.Writer, j Job) error {
	if err := j.Validate(); err != nil {
		return fmt.Errorf("write job: %w", err)
	}
	var b bytes.Buffer
	b.Write(make([]byte, 4))
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(j); err != nil {
		return fmt.Errorf("write job: %w", err)
	}
	size := b.Len() - 4
	if size > maxJob {
		return fmt.Errorf("write job: %w: %d bytes are more than %d", ErrTooLarge, size, maxJob)
	}
	binary.BigEndian.PutUint32(b.Bytes(), uint32(size)) //nolint:gosec // bounded by maxJob
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write job: %w", err)
	}
	if j.Workspace == "" {
		return nil
	}
	if err := writeWorkspace(w, j.WorkspaceSnapshot); err != nil {
		return fmt.Errorf("write job: %w", err)
	}
	return nil
}

// ReadJob reads the JSON that WriteJob sent and leaves the workspace to ReadWorkspace. It returns io.EOF if the sender
// closed the connection without sending anything, and an error that wraps io.ErrUnexpectedEOF if the sender stopped
// half way. After any error there is no job.
func ReadJob(r io.Reader) (Job, error) {
	var prefix [4]byte
	if _, err := io.ReadFull(r, prefix[:]); errors.Is(err, io.EOF) {
		return Job{}, io.EOF
	} else if err != nil {
		return Job{}, fmt.Errorf("read job: %w", err)
	}
	size := binary.BigEndian.Uint32(prefix[:])
	if size > maxJob {
		return Job{}, fmt.Errorf("read job: %d bytes are more than %d", size, maxJob)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); errors.Is(err, io.EOF) {
		return Job{}, fmt.Errorf("read job: %w", io.ErrUnexpectedEOF)
	} else if err != nil {
		return Job{}, fmt.Errorf("read job: %w", err)
	}
	var j Job
	if err := json.Unmarshal(body, &j); err != nil {
		return Job{}, fmt.Errorf("read job: %w", err)
	}
	if err := j.Validate(); err != nil {
		return Job{}, fmt.Errorf("read job: %w", err)
	}
	return j, nil
}

// Validate reports whether the init can work with the job. It does not check whether the program can be started.
func (j Job) Validate() error {
	switch raw, err := hex.DecodeString(j.Nonce); {
	case err != nil || len(raw) != nonceSize:
		return fmt.Errorf("nonce: want %d hexadecimal digits", 2*nonceSize)
	case len(j.Argv) == 0 || j.Argv[0] == "":
		return errors.New("argv: no program is named")
	case j.File == "" || j.File == "." || j.File == ".." || strings.ContainsRune(j.File, '/'):
		return fmt.Errorf("file: %q is not a plain file name", j.File)
	case j.Workspace != "" && !path.IsAbs(j.Workspace):
		return fmt.Errorf("workspace: %q is not absolute", j.Workspace)
	case !path.IsAbs(j.Dir):
		return fmt.Errorf("dir: %q is not absolute", j.Dir)
	case j.Timeout <= 0:
		return fmt.Errorf("timeout: %v is not positive", j.Timeout)
	case j.Grace < 0:
		return fmt.Errorf("grace: %v is negative", j.Grace)
	case j.Limit < 0:
		return fmt.Errorf("limit: %d is negative", j.Limit)
	case j.Head < 0:
		return fmt.Errorf("head: %d is negative", j.Head)
	case j.Tail < 0 || j.Tail > maxTail:
		return fmt.Errorf("tail: %d is not within 0 and %d", j.Tail, maxTail)
	}
	for name := range j.Env {
		if name == "" || strings.ContainsRune(name, '=') {
			return fmt.Errorf("env: %q is not a name", name)
		}
	}
	if err := j.checkFiles(); err != nil {
		return err
	}
	for _, c := range j.Collect {
		if err := c.check(); err != nil {
			return fmt.Errorf("collect: %w", err)
		}
	}
	return j.refuseNUL()
}

func (c Collect) check() error {
	switch {
	case c.Name == "" || len(c.Name) > 32 || strings.Trim(c.Name, "abcdefghijklmnopqrstuvwxyz") != "":
		return fmt.Errorf("%q is not a name", c.Name)
	case c.Dir != "" && !path.IsAbs(c.Dir):
		return fmt.Errorf("dir: %q is not absolute", c.Dir)
	case strings.ContainsRune(c.Dir, 0):
		return errors.New("dir: a NUL byte")
	case c.Files < 0 || c.Bytes < 0:
		return errors.New("files or bytes: negative")
	case c.Timeout <= 0:
		return fmt.Errorf("timeout: %v is not positive", c.Timeout)
	}
	for _, glob := range c.Globs {
		if _, err := ParseGlob(glob); err != nil {
			return fmt.Errorf("glob %q %w", glob, err)
		}
	}
	return nil
}

func (j Job) checkFiles() error {
	for _, f := range j.Files {
		switch {
		case !fs.ValidPath(f.Path) || f.Path == ".":
			return fmt.Errorf("files: %q is not in the working directory", f.Path)
		case f.Mode > 0o777:
			return fmt.Errorf("files: %o is not a permission mode", f.Mode)
		}
	}
	return nil
}

// refuseNUL returns an error if the kernel would cut off a field at a NUL byte.
func (j Job) refuseNUL() error {
	fields := append([]string{j.File, j.Dir, j.Workspace}, j.Argv...)
	for name, value := range j.Env {
		fields = append(fields, name, value)
	}
	for _, f := range j.Files {
		fields = append(fields, f.Path)
	}
	for _, f := range fields {
		if strings.ContainsRune(f, 0) {
			return errors.New("file, dir, argv, env or files: a NUL byte")
		}
	}
	return nil
}
