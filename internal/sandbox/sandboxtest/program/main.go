// Command program plays a sandboxtest.Program inside a container; the tests put it into an image of its own.
//
// The command does not know that it runs in a container.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"boomerang/internal/sandbox/sandboxtest"
)

func main() {
	code, err := play(os.Args[1])
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code) //nolint:forbidigo // this is a main
}

// play runs each step of the program at path and returns its exit code.
func play(path string) (code int, err error) {
	file, err := os.Open(path) //nolint:gosec // the job names it
	if err != nil {
		return 0, err
	}
	program, err := sandboxtest.Read(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return 0, err
	}
	for _, step := range program {
		if step.Exit > 0 {
			return step.Exit, nil
		}
		if err := do(step); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func do(s sandboxtest.Step) error {
	switch {
	case len(s.Stdout) > 0:
		return write(os.Stdout, s.Stdout, s.Times)
	case len(s.Stderr) > 0:
		return write(os.Stderr, s.Stderr, s.Times)
	case s.Path != "":
		return os.WriteFile(s.Path, s.Content, 0o600)
	case s.Sleep > 0:
		<-time.After(s.Sleep)
	case s.IgnoreTerm:
		signal.Ignore(syscall.SIGTERM)
	case s.Die > 0:
		return errors.Join(syscall.Kill(os.Getpid(), syscall.Signal(s.Die)), do(sandboxtest.Hang()))
	case s.Hang:
		<-time.After(365 * 24 * time.Hour)
	}
	return nil
}

// write writes a few pieces one by one, so that a reader sees them arrive, but many pieces in blocks.
func write(w io.Writer, text []byte, times int) error {
	const few, block = 100, 64 << 10
	perWrite := 1
	if times > few {
		perWrite = max(1, block/len(text))
	}
	for left := max(times, 1); left > 0; left -= perWrite {
		if _, err := w.Write(bytes.Repeat(text, min(left, perWrite))); err != nil {
			return err
		}
	}
	return nil
}
