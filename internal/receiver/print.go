package receiver

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"boomerang/internal/callback"
	"boomerang/internal/wire"
)

// The colours of a terminal (ECMA-48 SGR).
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

// PrettyPrint writes a callback for a person at a terminal, in one call of Write. Control characters appear as
// pictures, so that the output of a program cannot steer the terminal. The error is that of w.
func PrettyPrint(w io.Writer, c Callback, color bool) error {
	p := page{color: color}
	p.headline(c)
	p.signatures(c)
	switch {
	case c.Malformed != nil:
		p.field("body", p.paint(red, "not a callback: "+clean(c.Malformed.Error())))
	case c.Batch != nil:
		p.batch(*c.Batch)
	default:
		p.payload(c.Payload)
	}
	answered := strconv.Itoa(c.Status)
	if c.Attempt > 0 {
		answered += " after attempt " + strconv.Itoa(c.Attempt)
	}
	p.field("answered", answered)
	p.text.WriteByte('\n')
	_, err := w.Write(p.text.Bytes())
	return err
}

// page collects the lines of one callback.
type page struct {
	text  bytes.Buffer
	color bool
}

func (p *page) headline(c Callback) {
	hue := green
	if !c.Payload.Success || c.Status >= 300 {
		hue = red
	}
	status, id := clean(string(c.Payload.Status)), clean(string(c.Payload.ExecutionID))
	switch {
	case c.Malformed != nil:
		status = "unreadable"
	case c.Batch != nil:
		status, id = "batch", clean(string(c.Batch.BatchID))
	}
	fmt.Fprintf(&p.text, "%s %s  %s\n", p.paint(hue, "●"), p.paint(bold, status), id)
}

func (p *page) signatures(c Callback) {
	if !c.Checked {
		p.field("signatures", p.paint(dim, "not checked: no secret was given"))
		return
	}
	p.field("signatures", p.signature(callback.HeaderSignature, c.Signature))
	p.field("", p.signature(callback.HeaderStandardSignature, c.Standard))
}

func (p *page) signature(header string, err error) string {
	if err != nil {
		return p.paint(red, "✗ "+header+": "+err.Error())
	}
	return p.paint(green, "✓ "+header)
}

// payload writes the fields of HopX, and those additional fields that help to understand them.
func (p *page) payload(c wire.Result) {
	p.field("success", strconv.FormatBool(c.Success))
	exit := p.paint(dim, "null")
	if c.ExitCode != nil {
		exit = strconv.Itoa(*c.ExitCode)
	}
	p.field("exit_code", exit)
	p.field("reason", clean(string(c.Reason)))
	if c.Error != nil {
		p.field("error", p.paint(red, clean(*c.Error)))
	}
	p.field("execution_time", time.Duration(c.ExecutionTime).String())
	started := p.paint(dim, "null")
	if c.StartedAt != nil {
		started = c.StartedAt.Format(time.RFC3339Nano)
	}
	p.field("started_at", started)
	p.field("completed_at", c.CompletedAt.Format(time.RFC3339Nano))
	p.output("stdout", c.Stdout, c.StdoutBytes, c.StdoutTruncated)
	p.output("stderr", c.Stderr, c.StderrBytes, c.StderrTruncated)
	if !c.OutputComplete {
		p.field("", p.paint(red, "the output may be incomplete"))
	}
}

// batch writes one line per execution, in the order of submission.
func (p *page) batch(b wire.BatchResult) {
	p.field("success", strconv.FormatBool(b.Success))
	p.field("count", strconv.Itoa(b.Count))
	p.field("completed_at", b.CompletedAt.Format(time.RFC3339Nano))
	for _, m := range b.Executions {
		hue := green
		if !m.Success {
			hue = red
		}
		line := []string{clean(string(m.ExecutionID)), p.paint(hue, clean(string(m.Status)))}
		if m.Error != nil {
			line = append(line, clean(*m.Error))
		}
		if m.Name != "" {
			line = append(line, p.paint(dim, clean(m.Name)))
		}
		fmt.Fprintf(&p.text, "    %s %s\n", p.paint(dim, "│"), strings.Join(line, "  "))
	}
}

func (p *page) output(name, text string, written int64, truncated bool) {
	size := fmt.Sprintf("%d bytes", written)
	if truncated {
		size += ", truncated"
	}
	p.field(name, p.paint(dim, size))
	for line := range strings.Lines(text) {
		fmt.Fprintf(&p.text, "    %s %s\n", p.paint(dim, "│"), clean(strings.TrimSuffix(line, "\n")))
	}
}

func (p *page) field(name, value string) {
	fmt.Fprintf(&p.text, "  %s %s\n", p.paint(dim, fmt.Sprintf("%-14s", name)), value)
}

func (p *page) paint(hue, text string) string {
	if !p.color {
		return text
	}
	return "\x1b[" + hue + "m" + text + "\x1b[0m"
}

// clean replaces C0 control characters, except tab, by their pictures (U+2400…), and C1 control characters by U+FFFD.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return r
		case r < ' ':
			return '\u2400' + r
		case r == 0x7f:
			return '\u2421'
		case r >= 0x80 && r < 0xa0:
			return '\ufffd'
		}
		return r
	}, text)
}
