package callback

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"boomerang/internal/execution"
)

// Payload is the body of a callback: nine fields that every receiver knows, and then ours.
type Payload struct {
	ExecutionID   execution.ID    `json:"execution_id"`
	Status        execution.State `json:"status"`
	Success       bool            `json:"success"` // status is completed
	Stdout        string          `json:"stdout"`
	Stderr        string          `json:"stderr"`
	ExitCode      *int            `json:"exit_code"` // null: the program never ran, or how it ended is not known
	ExecutionTime Seconds         `json:"execution_time"`
	StartedAt     *time.Time      `json:"started_at"` // null: the program never ran
	CompletedAt   time.Time       `json:"completed_at"`

	Timestamp       time.Time        `json:"timestamp"` // the same instant as CompletedAt
	Error           *string          `json:"error"`     // null when completed
	Reason          execution.Reason `json:"reason"`
	Language        string           `json:"language"`
	StdoutTruncated bool             `json:"stdout_truncated"`
	StderrTruncated bool             `json:"stderr_truncated"`
	StdoutBytes     int64            `json:"stdout_bytes"`
	StderrBytes     int64            `json:"stderr_bytes"`
	OutputComplete  bool             `json:"output_complete"`
	Usage           Usage            `json:"usage"`

	// What the caller gave to it comes back, if anything.
	Name     string            `json:"name,omitempty"`
	BatchID  execution.BatchID `json:"batch_id,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	*Left                      // absent unless files were asked for

	Workspace *Workspace `json:"workspace_result,omitempty"` // absent unless there was one that could be changed
}

// Workspace is what became of the workspace that the program could change.
type Workspace struct {
	Name    string               `json:"name"`
	Saved   bool                 `json:"saved"`
	Reason  *string              `json:"reason"`  // null: it is saved
	Size    int64                `json:"size"`    // bytes, when it is saved
	Entries int                  `json:"entries"` // when it is saved
	Omitted []execution.Omission `json:"omitted"` // the first of what was left out
	Count   int                  `json:"omitted_count"`
}

// WorkspaceBy makes a Workspace; nil for none.
func WorkspaceBy(e execution.Execution, l *execution.Left) *Workspace {
	if l == nil {
		return nil
	}
	w := &Workspace{
		Name: e.Options.Workspace.Name, Saved: l.Saved, Size: l.Size, Entries: l.Count, Omitted: append([]execution.Omission{}, l.Omitted...),
		Count: l.Missing,
	}
	if !l.Saved {
		w.Reason = &l.Reason
	}
	return w
}

// Usage is what the program took.
type Usage struct {
	CPUTime   Seconds `json:"cpu_time"`
	MaxMemory int64   `json:"max_memory"` // bytes
}

// Seconds is a duration that JSON writes as a number of seconds, exact to the microsecond and without an exponent.
type Seconds time.Duration

// MarshalJSON writes decimal digits; a float64 would turn 4.035 into 4.035000000000001 on some ways there.
func (s Seconds) MarshalJSON() ([]byte, error) {
	micros := time.Duration(s).Microseconds()
	sign := ""
	if micros < 0 {
		sign, micros = "-", -micros
	}
	fraction := strings.TrimRight(fmt.Sprintf(".%06d", micros%1e6), "0")
	return []byte(sign + strconv.FormatInt(micros/1e6, 10) + strings.TrimSuffix(fraction, ".")), nil
}

// UnmarshalJSON reads any JSON number of seconds.
func (s *Seconds) UnmarshalJSON(text []byte) error {
	seconds, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return err
	}
	*s = Seconds(seconds * float64(time.Second))
	return nil
}

// Body makes the callback's JSON of an execution that ended. It is made once, stored, and sent byte for byte the same on
// every attempt. At most inline bytes of each stream are in it; bytes that are not UTF-8 become U+FFFD.
func Body(e execution.Execution, r execution.Result, inline int) []byte {
	stdout, stdoutCut := r.Stdout.Inline(inline)
	stderr, stderrCut := r.Stderr.Inline(inline)
	p := Payload{
		ExecutionID:     e.ID,
		Status:          r.State,
		Success:         r.State == execution.Completed,
		ExitCode:        r.ExitCode,
		ExecutionTime:   Seconds(r.Duration),
		StartedAt:       instantOrNull(r.StartedAt),
		CompletedAt:     onTheWire(r.CompletedAt),
		Timestamp:       onTheWire(r.CompletedAt),
		Reason:          r.Reason,
		Language:        e.Language,
		StdoutTruncated: stdoutCut,
		StderrTruncated: stderrCut,
		StdoutBytes:     r.Stdout.Bytes,
		StderrBytes:     r.Stderr.Bytes,
		OutputComplete:  r.OutputComplete,
		Usage:           Usage{CPUTime: Seconds(r.CPUTime), MaxMemory: r.MaxMemory},
		Name:            e.Name,
		BatchID:         e.Batch.ID,
		Metadata:        e.Options.Metadata,
		Left:            LeftBy(r.Artifacts),
		Workspace:       WorkspaceBy(e, r.Left),
	}
	if !p.Success {
		p.Error = &r.Error
	}
	return withPrinted(encode(p), stdout, stderr)
}

// withPrinted writes what was printed into a body without. It is most of the body, so it is written once, where it stays: as
// strings in a struct there would be four of it at a time.
func withPrinted(body []byte, stdout, stderr execution.Text) []byte {
	before, after, _ := bytes.Cut(body, []byte(`"stdout":"","stderr":""`)) // no text of others stands before it
	size := len(body) + stdout.Len() + stderr.Len()
	whole := append(make([]byte, 0, size+size/16), before...)
	whole = appendText(append(whole, `"stdout":`...), stdout)
	whole = appendText(append(whole, `,"stderr":`...), stderr)
	return append(whole, after...)
}

// appendText appends t to dst as a JSON string, in pieces that end with a rune.
func appendText(dst []byte, t execution.Text) []byte {
	const piece = 16 << 10 // bytes
	var quoted bytes.Buffer
	encoder := newEncoder(&quoted)
	dst = append(dst, '"')
	for _, part := range t {
		for len(part) > 0 {
			next := part
			if len(next) > piece {
				next = execution.BeforePartialRune(next[:piece])
			}
			part = part[len(next):]
			quoted.Reset()
			_ = encoder.Encode(verbatim(next)) // cannot fail
			dst = append(dst, quoted.Bytes()[1:quoted.Len()-len("\"\n")]...)
		}
	}
	return append(dst, '"')
}

// verbatim is text of which nobody has made a string.
type verbatim []byte

// MarshalText implements encoding.TextMarshaler.
func (v verbatim) MarshalText() ([]byte, error) { return v, nil }

func encode(body any) []byte {
	var text bytes.Buffer
	_ = newEncoder(&text).Encode(body) // cannot fail: every field is a string, a number, a bool or a time of our own
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}

// newEncoder leaves "<", ">" and "&" as they are: a program's output is not HTML.
func newEncoder(w io.Writer) *json.Encoder {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder
}

// onTheWire is an instant in UTC, to the microsecond: more digits are read by few.
func onTheWire(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func instantOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = onTheWire(t)
	return &t
}
