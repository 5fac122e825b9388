// Command program plays a sandboxtest.Program inside a container: the tests put it into an image of its own.
//
// It refuses to know that it is locked in.
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
	if err := play(os.Args[1]); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func play(path string) error {
	file, err := os.Open(path) //nolint:gosec // the job names it
	if err != nil {
		return err
	}
	program, err := sandboxtest.Read(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	for _, step := range program {
		if err := do(step); err != nil {
			return err
		}
	}
	return nil
}

func do(s sandboxtest.Step) error {
	switch {
	case len(s.Stdout) > 0:
		return write(os.Stdout, s.Stdout, s.Times)
	case len(s.Stderr) > 0:
		return write(os.Stderr, s.Stderr, s.Times)
	case s.Sleep > 0:
		<-time.After(s.Sleep)
	case s.IgnoreTerm:
		signal.Ignore(syscall.SIGTERM)
	case s.Exit > 0:
		os.Exit(s.Exit)
	case s.Die > 0:
		if err := syscall.Kill(os.Getpid(), syscall.Signal(s.Die)); err != nil {
			return err
		}
		<-time.After(time.Hour)
	case s.Hang:
		<-time.After(365 * 24 * time.Hour)
	}
	return nil
}

// write writes a few pieces one by one, so that a reader sees them come, but many of them by the block.
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
