package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"boomerang/internal/client"
	"boomerang/internal/execution"
)

// screen shows one execution: what it prints as it is, and on stderr, line by line behind a dot, what happens to it.
type screen struct {
	id             execution.ID
	stdout, stderr io.Writer
	quiet          bool
	terminal       bool                      // stderr is one: there a line can be written over
	open           bool                      // the last line of ours is not ended yet
	midline        map[execution.Stream]bool // the program's last line is not ended yet
}

func newScreen(id execution.ID, quiet bool) *screen {
	return &screen{
		id: id, stdout: os.Stdout, stderr: os.Stderr, quiet: quiet, terminal: term.IsTerminal(int(os.Stderr.Fd())),
		midline: map[execution.Stream]bool{},
	}
}

// show shows one event.
func (s *screen) show(e client.Event) error {
	switch e.Kind {
	case client.EventStatus:
		switch {
		case e.Status == execution.Running:
			s.say("running")
		case s.terminal && e.Ahead == 0:
			s.waits("queued")
		case s.terminal:
			s.waits(fmt.Sprintf("queued, %d ahead", e.Ahead))
		}
	case client.EventOutput:
		return s.print(e.Stream, e.Data)
	case client.EventGap:
		line := fmt.Sprintf("[... %d bytes left out ...]\n", e.LeftOut)
		if s.midline[e.Stream] {
			line = "\n" + line
		}
		return s.print(e.Stream, []byte(line))
	}
	return nil
}

func (s *screen) print(stream execution.Stream, text []byte) error {
	s.settle()
	to := s.stdout
	if stream == execution.Stderr {
		to = s.stderr
	}
	s.midline[stream] = text[len(text)-1] != '\n'
	if _, err := to.Write(text); err != nil {
		return fmt.Errorf("print output: %w", err)
	}
	return nil
}

// ended says how it ended.
func (s *screen) ended(r client.Record) {
	if s.terminal && (s.midline[execution.Stdout] || s.midline[execution.Stderr]) && !s.quiet {
		_, _ = fmt.Fprintln(s.stderr) // what is printed and what we say share the terminal
	}
	s.say("%s after %.3f s%s", r.Status, time.Duration(r.ExecutionTime).Seconds(), because(r.Error))
}

// because puts a reason, if there is one, behind a sentence.
func because(reason *string) string {
	if reason == nil {
		return ""
	}
	return ": " + *reason
}

// say tells what happens to the execution.
func (s *screen) say(format string, args ...any) {
	if s.quiet {
		return
	}
	s.over()
	_, _ = fmt.Fprintf(s.stderr, "· %s %s\n", s.id, fmt.Sprintf(format, args...))
	s.open = false
}

// waits says the same of what lasts: on a terminal the next line is written over this one.
func (s *screen) waits(what string) {
	if !s.terminal {
		s.say("%s", what)
	} else if !s.quiet {
		s.over()
		_, _ = fmt.Fprintf(s.stderr, "· %s %s", s.id, what)
		s.open = true
	}
}

// over goes back to the beginning of a line of ours that is not ended.
func (s *screen) over() {
	if s.open {
		_, _ = fmt.Fprint(s.stderr, "\r\x1b[K")
	}
}

// settle ends the line.
func (s *screen) settle() {
	if s.open {
		_, _ = fmt.Fprintln(s.stderr)
		s.open = false
	}
}
