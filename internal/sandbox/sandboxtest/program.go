package sandboxtest

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"boomerang/internal/journal"
)

// Program is what a test wants to be run, step by step. It travels as the code of a job: the fake plays it, and so
// does the command sandboxtest/program inside a container.
type Program []Step

// Step is one thing that a program does. Only one of its fields is set, but for Times and Content. A program that comes to its
// end exits with 0.
type Step struct {
	Stdout     []byte        `json:"stdout,omitempty"`
	Stderr     []byte        `json:"stderr,omitempty"`
	Times      int           `json:"times,omitempty"` // how often it writes that, one write each; 0 = once
	Path       string        `json:"path,omitempty"`  // where it leaves a file with these contents
	Content    []byte        `json:"content,omitempty"`
	Sleep      time.Duration `json:"sleep,omitempty"`
	IgnoreTerm bool          `json:"ignore_term,omitempty"` // from here on SIGTERM does nothing
	Exit       int           `json:"exit,omitempty"`
	Die        int           `json:"die,omitempty"` // by this signal
	Hang       bool          `json:"hang,omitempty"`
}

// Out writes text to stdout.
func Out(text string) Step { return Step{Stdout: []byte(text)} }

// Err writes text to stderr.
func Err(text string) Step { return Step{Stderr: []byte(text)} }

// Times does a step n times.
func Times(n int, s Step) Step {
	s.Times = n
	return s
}

// Leave writes a file below the working directory, in a directory that is there.
func Leave(path, content string) Step { return Step{Path: path, Content: []byte(content)} }

// Sleep waits.
func Sleep(d time.Duration) Step { return Step{Sleep: d} }

// IgnoreTerm makes the program deaf to SIGTERM.
func IgnoreTerm() Step { return Step{IgnoreTerm: true} }

// Exit ends the program.
func Exit(code int) Step { return Step{Exit: code} }

// Die ends the program by a signal to itself.
func Die(signal int) Step { return Step{Die: signal} }

// Hang goes on for ever.
func Hang() Step { return Step{Hang: true} }

// Code is the program as the code of an execution.
func (p Program) Code() string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // a struct of bytes and numbers always has a JSON form
	}
	return string(text)
}

// Read reads what Code wrote.
func Read(r io.Reader) (Program, error) {
	var p Program
	if err := json.NewDecoder(r).Decode(&p); err != nil {
		return nil, fmt.Errorf("read program: %w", err)
	}
	return p, nil
}

// The command that plays a program inside the image of the Docker tests, and one that is in no image.
const (
	Player  = "/program"
	Missing = "/no/such/program"
)

// Job wraps the program into a job with limits that no test runs into by chance.
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
