//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"boomerang/internal/journal"
)

// startProgram writes the code and the files and starts the program with the two pipes as its stdout and stderr. The
// error is a sentence for the client and means that nothing runs. Afterwards the job has no code, stdin or files.
func startProgram(job *journal.Job, stdout, stderr *os.File, score *oomScore, files *collector) (pid int, err error) {
	if err := os.MkdirAll(job.Dir, 0o700); err != nil {
		return 0, fmt.Errorf("the working directory %s cannot be made: %w", job.Dir, withoutPath(err))
	}
	if err := os.Chdir(job.Dir); err != nil {
		return 0, fmt.Errorf("the working directory %s cannot be entered: %w", job.Dir, withoutPath(err))
	}
	if err := writeFiles(job); err != nil {
		return 0, err
	}
	stdin, err := openStdin(job.Stdin)
	if err != nil {
		return 0, fmt.Errorf("stdin cannot be prepared: %w", withoutPath(err))
	}
	defer func() { _ = stdin.Close() }()
	releaseJob(job)
	files.open()
	env := environment(os.Environ(), job.Env)
	path, err := lookUp(job.Argv[0], env)
	if err != nil {
		return 0, fmt.Errorf("the program %s cannot be run: %w", job.Argv[0], withoutPath(err))
	}
	preallocateMemory()
	score.raise()
	defer score.restore()
	pid, err = syscall.ForkExec(path, job.Argv, &syscall.ProcAttr{ //nolint:gosec // running it is the point
		Env:   env,
		Files: []uintptr{stdin.Fd(), stdout.Fd(), stderr.Fd()},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("the program %s cannot be run: %w", job.Argv[0], err)
	}
	return pid, nil
}

// writeFiles writes the program's files into the working directory, the code last. An existing link or pipe cannot
// redirect or block a file.
func writeFiles(job *journal.Job) error {
	root, err := os.OpenRoot(".")
	if err != nil {
		return fmt.Errorf("the working directory %s cannot be entered: %w", job.Dir, withoutPath(err))
	}
	defer func() { _ = root.Close() }()
	for _, f := range job.Files {
		if err := writeFile(root, f.Path, fs.FileMode(f.Mode), f.Content); err != nil {
			return fmt.Errorf("the file %s cannot be written: %w", filepath.Join(job.Dir, f.Path), withoutPath(err))
		}
	}
	if err := writeFile(root, job.File, 0o600, []byte(job.Code)); err != nil {
		return fmt.Errorf("the code cannot be written to %s: %w", filepath.Join(job.Dir, job.File), withoutPath(err))
	}
	return nil
}

// writeFile makes a new file and its parent directories. It replaces an existing entry.
func writeFile(root *os.Root, name string, mode fs.FileMode, content []byte) (err error) {
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	const fresh = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	f, err := root.OpenFile(name, fresh, 0o600)
	if errors.Is(err, fs.ErrExist) {
		if err := root.Remove(name); err != nil {
			return err
		}
		f, err = root.OpenFile(name, fresh, 0o600)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Chmod(mode) // not subject to the umask
}

// large is the size of a job in bytes from which a garbage collection, 1 ms and more, is worthwhile for the program.
const large = 1 << 20

// releaseJob drops the written parts of the job and returns their memory. It must run before the program can use up all
// PIDs, because a collection may need a thread.
func releaseJob(job *journal.Job) {
	size := len(job.Code) + len(job.Stdin)
	for _, f := range job.Files {
		size += len(f.Content)
	}
	job.Code, job.Stdin, job.Files = "", nil, nil
	if size >= large {
		debug.FreeOSMemory()
	}
}

// withoutPath removes the path from an error, because the sentence names it already.
func withoutPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// openStdin returns the program's stdin: an unlinked file with the text in the working directory, or /dev/null.
func openStdin(text []byte) (*os.File, error) {
	if len(text) == 0 {
		return os.Open(os.DevNull)
	}
	f, err := os.CreateTemp(".", ".stdin-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	defer func() { _ = os.Remove(f.Name()) }()
	if _, err := f.Write(text); err != nil {
		return nil, err
	}
	return os.Open(f.Name())
}

// environment returns base with the variables of over added or replaced.
func environment(base []string, over map[string]string) []string {
	env := make([]string, 0, len(base)+len(over))
	for _, entry := range base {
		name, _, _ := strings.Cut(entry, "=")
		if _, replaced := over[name]; !replaced {
			env = append(env, entry)
		}
	}
	for name, value := range over {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}

var errNotInPath = errors.New("it is not in PATH")

// lookUp finds the program like execvp, from the current directory, but in the PATH of env.
func lookUp(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, executable(name)
	}
	var path string
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			path = value
		}
	}
	reason := errNotInPath
	for _, dir := range filepath.SplitList(path) {
		if dir == "" {
			dir = "."
		}
		candidate := dir + "/" + name
		switch err := executable(candidate); {
		case err == nil:
			return candidate, nil
		case errors.Is(err, syscall.EACCES):
			reason = err
		}
	}
	return "", reason
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return withoutPath(err)
	}
	if info.IsDir() {
		return syscall.EISDIR
	}
	return syscall.Access(path, 1) // X_OK
}
