// Package chaos breaks a running boomerang on purpose and audits what is left: nothing may be lost, run twice,
// delivered differently, or left behind.
//
// The auditor, below, is a pure function over the books; it refuses to know how anything was broken. The harness that
// breaks things is in the tests (tag chaos).
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

// Program is what a submission's program does, and so what may be said of it afterwards. As its first act it writes a
// number that it made up, its nonce, to a book outside of its container; then it prints Lines lines.
type Program struct {
	Mark    string // begins every line that it prints, and names it in the book of runs
	Lines   int    // on stdout; one more, the last, goes to stderr
	Pad     int    // bytes by which each line is longer
	Files   int    // that it leaves, and that are wanted
	Exit    int
	Endless bool // it prints until its timeout ends it
}

// Line is the i-th line on stdout of a run.
func (p Program) Line(nonce string, i int) string {
	return fmt.Sprintf("%s %s %d %s\n", p.Mark, nonce, i, strings.Repeat("x", p.Pad))
}

// LastLine is what a run writes to stderr before it exits.
func (p Program) LastLine(nonce string) string { return fmt.Sprintf("%s %s end\n", p.Mark, nonce) }

// FileLines is how many lines a file has: more than come in one read.
const FileLines = 3000

// File is what stands in the i-th file of a run, and its path.
func (p Program) File(nonce string, i int) (path, content string) {
	var b strings.Builder
	for n := range FileLines {
		fmt.Fprintf(&b, "%s %s %d %d\n", p.Mark, nonce, i, n)
	}
	return fmt.Sprintf("left%d", i), b.String()
}

// Submission is what a client asked for and what it was told.
type Submission struct {
	Program
	IDs        []execution.ID // of every 200 that it got; with one Idempotency-Key they are all the same
	Turncoat   bool           // it was refused, and then the refused request turned out to be stored
	Cancelled  bool           // somebody asked for its end
	Scapegoats []execution.Reason
}

// Record is what the store says.
type Record struct {
	Execution execution.Execution
	Delivery  execution.Delivery
	Attempts  int               // rows
	Files     map[string]string // what it left, by path
	Cut       string            // why that is not all
}

// Arrival is one request that came to the receiver.
type Arrival struct {
	At        time.Time // when it began
	ID        execution.ID
	WebhookID string
	Body      []byte
	Forged    error // why its signatures do not hold
	Taken     bool  // it was answered 200
}

// Books are what everybody wrote down.
type Books struct {
	Told   []Submission
	Ran    map[string][]string // the nonces that runs of a mark have written
	Stored []Record
	Got    []Arrival
	Stops  []time.Time // when the server stopped or was killed
	Left   []string    // containers, volumes, goroutines that should not be there
}

// Kind names a broken promise.
type Kind string

// The promises that can be broken.
const (
	Unanswered  Kind = "unanswered"   // a client never got its 200
	TwoForOne   Kind = "two for one"  // one Idempotency-Key, two executions
	Turncoat    Kind = "turncoat"     // refused, but stored
	Unstored    Kind = "unstored"     // told, but not stored
	Untold      Kind = "untold"       // stored, but nobody was told
	Stuck       Kind = "stuck"        // no terminal state
	RanTwice    Kind = "ran twice"    //
	NeverRan    Kind = "never ran"    // but its result says so
	WrongEnd    Kind = "wrong end"    // a state, reason or exit code that nothing explains
	WrongOutput Kind = "wrong output" // bytes lost, repeated, or from elsewhere
	WrongFiles  Kind = "wrong files"  // the same of what it left
	Undelivered Kind = "undelivered"  //
	Differing   Kind = "differing"    // two deliveries are not the same, or not what is stored
	Forged      Kind = "forged"       // a signature does not hold
	Repeated    Kind = "repeated"     // sent again although it was taken, and the server lived
	Unasked     Kind = "unasked"      // a delivery of nothing that is stored
	Leftover    Kind = "leftover"     //
)

// Violation is one promise that was broken.
type Violation struct {
	Kind Kind
	Of   string // the execution, or the mark of the program
	Says string
}

func (v Violation) String() string { return fmt.Sprintf("%s: %s: %s", v.Of, v.Kind, v.Says) }

// auditor compares the books and collects what does not fit.
type auditor struct {
	Books
	stored map[execution.ID]Record
	got    map[execution.ID][]Arrival
	found  []Violation
}

// Audit compares the books.
func Audit(b Books) []Violation {
	a := auditor{Books: b, stored: map[execution.ID]Record{}, got: map[execution.ID][]Arrival{}}
	for _, r := range b.Stored {
		a.stored[r.Execution.ID] = r
	}
	for _, g := range b.Got {
		a.got[g.ID] = append(a.got[g.ID], g)
	}
	for _, got := range a.got { // a receiver that takes its time writes the first down after the second
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
			a.find(Untold, string(id), "stored, but no client was told")
		}
	}
	for id := range a.got {
		if _, ok := a.stored[id]; !ok {
			a.find(Unasked, string(id), "delivered, but not stored")
		}
	}
	for _, thing := range b.Left {
		a.find(Leftover, "the house", "%s", thing)
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
		a.find(TwoForOne, s.Mark, "one key, the executions %v", ids)
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
			a.find(Unstored, string(id), "a client was told of it, the store does not know it")
			continue
		}
		if !r.Execution.State.Terminal() || r.Execution.Result == nil {
			a.find(Stuck, string(id), "it is still %s", r.Execution.State)
			continue
		}
		a.result(s, id, *r.Execution.Result)
		a.files(s, id, r)
		a.delivery(id, r)
	}
}

// ending is what a result says of how a program ended.
type ending struct {
	state  execution.State
	reason execution.Reason
	exit   int // -1: null
}

// endings lists the ends that are explained; an exit code of -2 stands for any.
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

// output compares what was kept with what the run must have printed. Only a program that came to its own end has
// printed everything; of the others what is there must be a beginning of it.
func (a *auditor) output(s Submission, id execution.ID, r execution.Result) {
	if len(a.Ran[s.Mark]) == 0 {
		if r.Reason == execution.Exited || r.Stdout.Bytes+r.Stderr.Bytes > 0 {
			a.find(NeverRan, string(id), "%s, %s, with %d bytes, but it was never started",
				r.State, r.Reason, r.Stdout.Bytes+r.Stderr.Bytes)
		}
		return
	}
	nonce := a.Ran[s.Mark][0]
	if r.Reason == execution.Exited && !r.OutputComplete {
		a.find(WrongOutput, string(id), "it exited, but its output is said to be incomplete")
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

// files compares what was collected with what the run must have left. Only a program that came to its own end has left all.
func (a *auditor) files(s Submission, id execution.ID, r Record) {
	if len(a.Ran[s.Mark]) == 0 || r.Execution.Result.Reason != execution.Exited {
		return
	}
	// Whoever asked for the end of a program that had just ended has cut its collection short.
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
			a.find(WrongFiles, string(id), "%s has %d bytes and is not what was left, %d bytes", path, len(got), len(want))
		}
	}
	if len(r.Files) != left {
		a.find(WrongFiles, string(id), "there are %d, and of them %d were left", len(r.Files), left)
	}
	if r.Cut != "" && !short {
		a.find(WrongFiles, string(id), "they are cut: %s", r.Cut)
	}
}

// stdout is all that a run prints, of an endless one somewhat more than so many bytes.
func (s Submission) stdout(nonce string, atLeast int64) []byte {
	var b bytes.Buffer
	for i := 0; i < s.Lines || s.Endless && int64(b.Len()) <= atLeast; i++ {
		b.WriteString(s.Line(nonce, i))
	}
	return b.Bytes()
}

// compare tells what is wrong with the output that was kept; empty: nothing. Of an output that is not proven, what
// stands behind the first MiB may be its tail and is not looked at.
func compare(kept execution.Output, want []byte, ended, proven bool) string {
	const limit = 1 << 20
	head := kept.Head
	if !proven {
		head = head[:min(len(head), limit)]
	}
	switch {
	case !bytes.HasPrefix(want, head):
		return fmt.Sprintf("is not what was printed: %d bytes, %d expected", len(head), len(want))
	case ended && kept.Bytes != int64(len(want)):
		return fmt.Sprintf("has %d bytes, %d were printed", kept.Bytes, len(want))
	case ended && !bytes.HasSuffix(want, kept.Tail):
		return "does not end with what was printed last"
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
			a.find(Differing, string(id), "its body is not the stored one")
		}
		if g.Taken {
			taken = append(taken, g)
		}
	}
	if len(taken) == 0 || r.Delivery.State != execution.Delivered {
		a.find(Undelivered, string(id), "arrived %d times, taken %d times; the store says %s, %d attempts",
			len(arrivals), len(taken), r.Delivery.State, r.Delivery.Attempts)
	}
	if r.Attempts != r.Delivery.Attempts {
		a.find(Differing, string(id), "%d attempts counted, %d written down", r.Delivery.Attempts, r.Attempts)
	}
	for i := 1; i < len(taken); i++ {
		if !a.stoppedBetween(taken[i-1].At, taken[i].At) {
			a.find(Repeated, string(id), "taken at %s and again at %s", taken[i-1].At, taken[i].At)
		}
	}
}

func (a *auditor) stoppedBetween(from, to time.Time) bool {
	return slices.ContainsFunc(a.Stops, func(at time.Time) bool { return at.After(from) && at.Before(to) })
}
