//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"boomerang/internal/journal"
)

// startProgram puts the code into its place and starts the program with the two pipes as its stdout and stderr.
// The error is a sentence for the client; then nothing runs.
func startProgram(job journal.Job, stdout, stderr *os.File, victim *victim) (pid int, err error) {
	if err := os.MkdirAll(job.Dir, 0o700); err != nil {
		return 0, fmt.Errorf("the working directory %s cannot be made: %w", job.Dir, cause(err))
	}
	if err := os.Chdir(job.Dir); err != nil {
		return 0, fmt.Errorf("the working directory %s cannot be entered: %w", job.Dir, cause(err))
	}
	if err := os.WriteFile(job.File, []byte(job.Code), 0o600); err != nil {
		return 0, fmt.Errorf("the code cannot be written to %s: %w", filepath.Join(job.Dir, job.File), cause(err))
	}
	stdin, err := openStdin(job.Stdin)
	if err != nil {
		return 0, fmt.Errorf("stdin cannot be prepared: %w", cause(err))
	}
	defer func() { _ = stdin.Close() }()
	env := environment(os.Environ(), job.Env)
	path, err := lookUp(job.Argv[0], env)
	if err != nil {
		return 0, fmt.Errorf("the program %s cannot be run: %w", job.Argv[0], cause(err))
	}
	victim.prefer()
	defer victim.restore()
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

// cause takes the path out of an error: the sentence has named it already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// openStdin returns what the program reads: the text in an unlinked file of the working directory, or /dev/null.
func openStdin(text string) (*os.File, error) {
	if text == "" {
		return os.Open(os.DevNull)
	}
	f, err := os.CreateTemp(".", ".stdin-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	defer func() { _ = os.Remove(f.Name()) }()
	if _, err := f.WriteString(text); err != nil {
		return nil, err
	}
	return os.Open(f.Name())
}

// environment lays the variables of over on those of base.
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

// lookUp finds the program as execvp does, from the present directory, but in the PATH of env.
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
		return cause(err)
	}
	if info.IsDir() {
		return syscall.EISDIR
	}
	return syscall.Access(path, 1) // X_OK
}
