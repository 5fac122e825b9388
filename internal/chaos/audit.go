// Package chaos breaks a running server on purpose and audits the result: no execution may be lost, run twice or
// delivered with another result, and no container may be left behind.
//
// The auditor in this file is a pure function over the books, which are the records of all parties. It does not know
// how the server was broken. The harness that breaks the server is in the tests (build tag chaos).
package chaos

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/journal"
)

// Program describes the program of a submission. The program first writes a random number, its nonce, to a file outside
// its container, the book of runs; then it prints Lines lines.
type Program struct {
	Mark    string // begins every printed line, and names the program in the book of runs
	Lines   int    // lines on stdout; one last line goes to stderr
	Pad     int    // additional bytes of each line
	Files   int    // number of artifacts
	Exit    int
	Endless bool // prints until its timeout
}

// Line returns the i-th line on stdout of a run.
func (p Program) Line(nonce string, i int) string {
	return fmt.Sprintf("%s %s %d %s\n", p.Mark, nonce, i, strings.Repeat("x", p.Pad))
}

// LastLine returns the line that a run writes to stderr before it exits.
func (p Program) LastLine(nonce string) string { return fmt.Sprintf("%s %s end\n", p.Mark, nonce) }

// FileLines is the number of lines of a file. The file is longer than one read.
const FileLines = 3000

// File returns the path and the content of the i-th file of a run.
func (p Program) File(nonce string, i int) (path, content string) {
	var b strings.Builder
	for n := range FileLines {
		fmt.Fprintf(&b, "%s %s %d %d\n", p.Mark, nonce, i, n)
	}
	return fmt.Sprintf("left%d", i), b.String()
}

// Submission is a request of a client and the answers to it.
type Submission struct {
	Program
	IDs        []execution.ID     // of every answer 200; all are equal, as the Idempotency-Key is
	Turncoat   bool               // a refused request was stored
	Cancelled  bool               // a client cancelled the execution
	Scapegoats []execution.Reason // reasons for a failure that a fault explains
}

// Record is an execution in the store.
type Record struct {
	Execution execution.Execution
	Delivery  execution.Delivery
	Attempts  int               // number of stored attempts
	Files     map[string]string // content of the artifacts, by path
	Cut       string            // why the artifacts are incomplete
}

// Arrival is one request at the receiver.
type Arrival struct {
	At        time.Time // when the request began
	ID        execution.ID
	WebhookID string
	Body      []byte
	Forged    error // why a signature does not hold
	Taken     bool  // the receiver answered 200
}

// Books are the records of the clients, the programs, the store, the receiver and the harness.
type Books struct {
	Told   []Submission
	Ran    map[string][]string // nonces of the runs, by the mark of the program
	Stored []Record
	Got    []Arrival
	Stops  []time.Time // when the server stopped or was killed
	Left   []string    // containers, volumes, goroutines that should be gone
}

// Kind names a broken promise.
type Kind string

// The promises that can be broken.
const (
	Unanswered  Kind = "unanswered"   // a client never got an answer 200
	TwoForOne   Kind = "two for one"  // one Idempotency-Key made two executions
	Turncoat    Kind = "turncoat"     // a refused request was stored
	Unstored    Kind = "unstored"     // a client got the ID of an execution that is not stored
	Untold      Kind = "untold"       // a stored execution whose ID no client got
	Stuck       Kind = "stuck"        // an execution without a terminal state
	RanTwice    Kind = "ran twice"    // a program was started twice
	NeverRan    Kind = "never ran"    // a result of a program that was not started
	WrongEnd    Kind = "wrong end"    // an unexplained state, reason or exit code
	WrongOutput Kind = "wrong output" // lost, repeated or foreign bytes
	WrongFiles  Kind = "wrong files"  // lost, repeated or foreign artifacts
	Undelivered Kind = "undelivered"  // the receiver never accepted the callback
	Differing   Kind = "differing"    // a callback differs from the stored one
	Forged      Kind = "forged"       // a signature does not hold
	Repeated    Kind = "repeated"     // an accepted callback was repeated without a restart of the server
	Unasked     Kind = "unasked"      // a callback of an execution that is not stored
	Leftover    Kind = "leftover"     // a container, volume or goroutine is left
)

// Violation is a broken promise.
type Violation struct {
	Kind Kind
	Of   string // the execution, or the mark of the program
	Says string
}

func (v Violation) String() string { return fmt.Sprintf("%s: %s: %s", v.Of, v.Kind, v.Says) }

// auditor compares the books and collects the violations.
type auditor struct {
	Books
	stored map[execution.ID]Record
	got    map[execution.ID][]Arrival
	found  []Violation
}

// Audit compares the books and returns the violations.
func Audit(b Books) []Violation {
	a := auditor{Books: b, stored: map[execution.ID]Record{}, got: map[execution.ID][]Arrival{}}
	for _, r := range b.Stored {
		a.stored[r.Execution.ID] = r
	}
	for _, g := range b.Got {
		a.got[g.ID] = append(a.got[g.ID], g)
	}
	for _, got := range a.got { // a slow answer is recorded after a later one
		slices.SortStableFunc(got, func(x, y Arrival) int { return x.At.Compare(y.At) })
	}
	told := map[execution.ID]bool{}
	for _, s := range b.Told {
		for _, id := range s.IDs {
			told[id] = true
		}
		a.submission(s)
	}
	for _, r := range b.Stored {
		if id := r.Execution.ID; !told[id] {
			a.find(Untold, string(id), "stored, but no client got the ID")
		}
	}
	for id := range a.got {
		if _, ok := a.stored[id]; !ok {
			a.find(Unasked, string(id), "delivered, but not stored")
		}
	}
	for _, thing := range b.Left {
		a.find(Leftover, "the server", "%s", thing)
	}
	return a.found
}

func (a *auditor) find(kind Kind, of, format string, args ...any) {
	a.found = append(a.found, Violation{Kind: kind, Of: of, Says: fmt.Sprintf(format, args...)})
}

func (a *auditor) submission(s Submission) {
	ids := slices.Compact(slices.Clone(s.IDs))
	switch {
	case len(ids) == 0:
		a.find(Unanswered, s.Mark, "the client never got a 200")
		return
	case len(ids) > 1:
		a.find(TwoForOne, s.Mark, "one key made the executions %v", ids)
	}
	if s.Turncoat {
		a.find(Turncoat, string(ids[0]), "a request that was refused was stored")
	}
	if runs := a.Ran[s.Mark]; len(runs) > 1 {
		a.find(RanTwice, string(ids[0]), "started %d times", len(runs))
	}
	for _, id := range ids {
		r, ok := a.stored[id]
		if !ok {
			a.find(Unstored, string(id), "a client got the ID, but the execution is not stored")
			continue
		}
		if !r.Execution.State.Terminal() || r.Execution.Result == nil {
			a.find(Stuck, string(id), "the execution is still %s", r.Execution.State)
			continue
		}
		a.result(s, id, *r.Execution.Result)
		a.files(s, id, r)
		a.delivery(id, r)
	}
}

// ending is the end of a program in a result.
type ending struct {
	state  execution.State
	reason execution.Reason
	exit   int // -1: null
}

// endings returns the ends that are explained. The constant anyExit stands for any exit code.
func (s Submission) endings() []ending {
	natural := ending{execution.Completed, execution.Exited, 0}
	if s.Exit != 0 {
		natural = ending{execution.Failed, execution.Exited, s.Exit}
	}
	if s.Endless {
		natural = ending{execution.Timeout, execution.TimedOut, 124}
	}
	explained := []ending{natural}
	if s.Cancelled {
		explained = append(explained, ending{execution.Cancelled, execution.WasCancelled, anyExit})
	}
	for _, reason := range s.Scapegoats {
		explained = append(explained, ending{execution.Failed, reason, anyExit})
	}
	return explained
}

const anyExit = -2

func (a *auditor) result(s Submission, id execution.ID, r execution.Result) {
	exit := -1
	if r.ExitCode != nil {
		exit = *r.ExitCode
	}
	if !slices.ContainsFunc(s.endings(), func(e ending) bool {
		return e.state == r.State && e.reason == r.Reason && (e.exit == anyExit || e.exit == exit)
	}) {
		a.find(WrongEnd, string(id), "%s, %s, exit code %d: %s", r.State, r.Reason, exit, r.Error)
	}
	a.output(s, id, r)
}

// output compares the stored output with that of the run. Only a program that exited has printed everything; the output
// of other programs must be a prefix.
func (a *auditor) output(s Submission, id execution.ID, r execution.Result) {
	if len(a.Ran[s.Mark]) == 0 {
		if r.Reason == execution.Exited || r.Stdout.Bytes+r.Stderr.Bytes > 0 {
			a.find(NeverRan, string(id), "%s, %s, with %d bytes, but the program was never started",
				r.State, r.Reason, r.Stdout.Bytes+r.Stderr.Bytes)
		}
		return
	}
	nonce := a.Ran[s.Mark][0]
	if r.Reason == execution.Exited && !r.OutputComplete {
		a.find(WrongOutput, string(id), "the program exited, but its output is marked as incomplete")
	}
	stdout := s.stdout(nonce, r.Stdout.Bytes)
	for stream, o := range map[execution.Stream]struct {
		kept execution.Output
		want []byte
	}{
		execution.Stdout: {r.Stdout, stdout},
		execution.Stderr: {r.Stderr, []byte(s.LastLine(nonce))},
	} {
		if complaint := compare(o.kept, o.want, r.Reason == execution.Exited, r.OutputComplete); complaint != "" {
			a.find(WrongOutput, string(id), "%s, %s: %s %s", r.State, r.Reason, stream, complaint)
		}
	}
}

// files compares the stored artifacts with those of the run. Only a program that exited has left all.
func (a *auditor) files(s Submission, id execution.ID, r Record) {
	if len(a.Ran[s.Mark]) == 0 || r.Execution.Result.Reason != execution.Exited {
		return
	}
	// A cancellation just after the end of a program cuts the collection of its artifacts short.
	asked := s.Cancelled || slices.Contains(s.Scapegoats, execution.Signaled)
	short := asked && r.Cut == journal.CutStopped
	left := 0
	for i := range s.Files {
		path, want := s.File(a.Ran[s.Mark][0], i)
		got, there := r.Files[path]
		if there {
			left++
		}
		if got != want && (there || !short) {
			a.find(WrongFiles, string(id), "%s has %d bytes and is not the file of the run, %d bytes", path, len(got),
				len(want))
		}
	}
	if len(r.Files) != left {
		a.find(WrongFiles, string(id), "there are %d artifacts, of which the run left %d", len(r.Files), left)
	}
	if r.Cut != "" && !short {
		a.find(WrongFiles, string(id), "the artifacts are incomplete: %s", r.Cut)
	}
}

// stdout returns all that a run prints. For an endless program it returns a few bytes more than atLeast.
func (s Submission) stdout(nonce string, atLeast int64) []byte {
	var b bytes.Buffer
	for i := 0; i < s.Lines || s.Endless && int64(b.Len()) <= atLeast; i++ {
		b.WriteString(s.Line(nonce, i))
	}
	return b.Bytes()
}

// compare returns a complaint about the stored output, or "". If the output is not proven to be complete, the bytes
// behind the first MiB may be its tail, and are not compared.
func compare(kept execution.Output, want []byte, ended, proven bool) string {
	const limit = 1 << 20
	head := kept.Head
	if !proven {
		head = head[:min(len(head), limit)]
	}
	switch {
	case !bytes.HasPrefix(want, head):
		return fmt.Sprintf("differs from the printed output: got %d bytes, want %d", len(head), len(want))
	case ended && kept.Bytes != int64(len(want)):
		return fmt.Sprintf("has %d bytes, want %d", kept.Bytes, len(want))
	case ended && !bytes.HasSuffix(want, kept.Tail):
		return "does not end with the last printed bytes"
	case kept.Bytes <= limit && kept.LeftOut() != 0:
		return fmt.Sprintf("has %d bytes, of which %d are missing", kept.Bytes, kept.LeftOut())
	}
	return ""
}

func (a *auditor) delivery(id execution.ID, r Record) {
	arrivals := a.got[id]
	var taken []Arrival
	for _, g := range arrivals {
		switch {
		case g.Forged != nil:
			a.find(Forged, string(id), "%v", g.Forged)
		case g.WebhookID != "msg_"+string(id):
			a.find(Differing, string(id), "webhook-id %q", g.WebhookID)
		case !bytes.Equal(g.Body, r.Delivery.Body):
			a.find(Differing, string(id), "the body differs from the stored one")
		}
		if g.Taken {
			taken = append(taken, g)
		}
	}
	if len(taken) == 0 || r.Delivery.State != execution.Delivered {
		a.find(Undelivered, string(id), "arrived %d times, accepted %d times; the store has %s, %d attempts",
			len(arrivals), len(taken), r.Delivery.State, r.Delivery.Attempts)
	}
	if r.Attempts != r.Delivery.Attempts {
		a.find(Differing, string(id), "%d attempts counted, %d stored", r.Delivery.Attempts, r.Attempts)
	}
	for i := 1; i < len(taken); i++ {
		if !a.stoppedBetween(taken[i-1].At, taken[i].At) {
			a.find(Repeated, string(id), "accepted at %s and again at %s", taken[i-1].At, taken[i].At)
		}
	}
}

func (a *auditor) stoppedBetween(from, to time.Time) bool {
	return slices.ContainsFunc(a.Stops, func(at time.Time) bool { return at.After(from) && at.Before(to) })
}
