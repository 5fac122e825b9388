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

// screen shows one execution: the program's output unchanged, and on stderr lines about the execution, each behind a
// dot.
type screen struct {
	id             execution.ID
	stdout, stderr io.Writer
	quiet          bool
	terminal       bool                      // stderr is a terminal, on which a line can be overwritten
	open           bool                      // the last line about the execution has no line break yet
	midline        map[execution.Stream]bool // the program's last line has no line break yet
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
			s.progress("queued")
		case s.terminal:
			s.progress(fmt.Sprintf("queued, %d ahead", e.Ahead))
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

// print writes output of the program.
func (s *screen) print(stream execution.Stream, text []byte) error {
	s.endLine()
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

// showEnd shows the end of the execution.
func (s *screen) showEnd(r client.Record) {
	if s.terminal && (s.midline[execution.Stdout] || s.midline[execution.Stderr]) && !s.quiet {
		_, _ = fmt.Fprintln(s.stderr) // the program's output and our lines share the terminal
	}
	s.say("%s after %.3f s%s", r.Status, time.Duration(r.ExecutionTime).Seconds(), reasonClause(r.Error))
}

// reasonClause returns the reason behind a colon, or "" if there is no reason.
func reasonClause(reason *string) string {
	if reason == nil {
		return ""
	}
	return ": " + *reason
}

// say prints a line about the execution.
func (s *screen) say(format string, args ...any) {
	if s.quiet {
		return
	}
	s.clearLine()
	_, _ = fmt.Fprintf(s.stderr, "· %s %s\n", s.id, fmt.Sprintf(format, args...))
	s.open = false
}

// progress prints a line about the execution that the next one overwrites, if stderr is a terminal.
func (s *screen) progress(text string) {
	if !s.terminal {
		s.say("%s", text)
	} else if !s.quiet {
		s.clearLine()
		_, _ = fmt.Fprintf(s.stderr, "· %s %s", s.id, text)
		s.open = true
	}
}

// clearLine clears an open line and returns to its beginning.
func (s *screen) clearLine() {
	if s.open {
		_, _ = fmt.Fprint(s.stderr, "\r\x1b[K")
	}
}

// endLine ends an open line.
func (s *screen) endLine() {
	if s.open {
		_, _ = fmt.Fprintln(s.stderr)
		s.open = false
	}
}
