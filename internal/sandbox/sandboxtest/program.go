package sandboxtest

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"boomerang/internal/journal"
)

// Program is a list of steps that a test runs. It travels as the code of a job. The fake plays it, and so does the
// command sandboxtest/program inside a container.
type Program []Step

// Step is one act of a program. Only one field is set, except for Times and Content. A program without further steps
// exits with 0.
type Step struct {
	Stdout     []byte        `json:"stdout,omitempty"`
	Stderr     []byte        `json:"stderr,omitempty"`
	Times      int           `json:"times,omitempty"` // number of writes of Stdout or Stderr; 0 means one
	Path       string        `json:"path,omitempty"`  // path of a new file with Content
	Content    []byte        `json:"content,omitempty"`
	Sleep      time.Duration `json:"sleep,omitempty"`
	IgnoreTerm bool          `json:"ignore_term,omitempty"` // ignore SIGTERM from here on
	Exit       int           `json:"exit,omitempty"`
	Die        int           `json:"die,omitempty"` // number of the signal
	Hang       bool          `json:"hang,omitempty"`
}

// Out writes text to stdout.
func Out(text string) Step { return Step{Stdout: []byte(text)} }

// Err writes text to stderr.
func Err(text string) Step { return Step{Stderr: []byte(text)} }

// Times repeats a step n times.
func Times(n int, s Step) Step {
	s.Times = n
	return s
}

// Leave writes a file below the working directory, in an existing directory.
func Leave(path, content string) Step { return Step{Path: path, Content: []byte(content)} }

// Sleep waits.
func Sleep(d time.Duration) Step { return Step{Sleep: d} }

// IgnoreTerm makes the program ignore SIGTERM.
func IgnoreTerm() Step { return Step{IgnoreTerm: true} }

// Exit ends the program.
func Exit(code int) Step { return Step{Exit: code} }

// Die makes the program send itself a signal that ends it.
func Die(signal int) Step { return Step{Die: signal} }

// Hang makes the program run for ever.
func Hang() Step { return Step{Hang: true} }

// Code returns the program as the code of an execution.
func (p Program) Code() string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // a struct of bytes and numbers always has a JSON form
	}
	return string(text)
}

// Read reads a program that Code wrote.
func Read(r io.Reader) (Program, error) {
	var p Program
	if err := json.NewDecoder(r).Decode(&p); err != nil {
		return nil, fmt.Errorf("read program: %w", err)
	}
	return p, nil
}

// The command that plays a program inside the image of the Docker tests, and a command that no image has.
const (
	Player  = "/program"
	Missing = "/no/such/program"
)

// Job returns a job that runs the program, with limits that no test reaches by accident.
func (p Program) Job() journal.Job {
	return journal.Job{
		Nonce:   journal.NewNonce(),
		Code:    p.Code(),
		File:    "program.json",
		Argv:    []string{Player, "program.json"},
		Dir:     "/workspace",
		Timeout: time.Minute,
		Grace:   time.Second,
		Head:    1 << 20,
		Tail:    64 << 10,
	}
}
