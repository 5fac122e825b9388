package chaos

import (
	"errors"
	"slices"
	"testing"
	"time"

	"boomerang/internal/execution"
)

const id execution.ID = "exec_00000000000000000000000001"

var noon = time.Date(2025, 1, 28, 12, 0, 0, 0, time.UTC)

// honest returns consistent books: a program ran once, its callback was sent twice, as the first answer was an error.
func honest() Books {
	p := Program{Mark: "m1", Lines: 3, Exit: 7, Files: 1}
	left, content := p.File("42", 0)
	var stdout []byte
	for i := range p.Lines {
		stdout = append(stdout, p.Line("42", i)...)
	}
	stderr := []byte(p.LastLine("42"))
	exit := 7
	return Books{
		Told: []Submission{{Program: p, IDs: []execution.ID{id, id}}},
		Ran:  map[string][]string{"m1": {"42"}},
		Stored: []Record{{
			Execution: execution.Execution{ID: id, State: execution.Failed, Result: &execution.Result{
				State: execution.Failed, Reason: execution.Exited, ExitCode: &exit, OutputComplete: true,
				Stdout: execution.Output{Head: stdout, Bytes: int64(len(stdout))},
				Stderr: execution.Output{Head: stderr, Bytes: int64(len(stderr))},
			}},
			Delivery: execution.Delivery{State: execution.Delivered, Body: []byte("{}"), Attempts: 2},
			Attempts: 2,
			Files:    map[string]string{left: content},
		}},
		Got: []Arrival{
			{At: noon, ID: id, WebhookID: "msg_" + string(id), Body: []byte("{}")},
			{At: noon.Add(time.Second), ID: id, WebhookID: "msg_" + string(id), Body: []byte("{}"), Taken: true},
		},
	}
}

func TestConsistentBooksPass(t *testing.T) {
	if found := Audit(honest()); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}

func TestEachBrokenPromiseIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		want    Kind
		falsify func(*Books)
	}{
		"no 200":                 {Unanswered, func(b *Books) { b.Told[0].IDs = nil; b.Stored, b.Got = nil, nil }},
		"two ids for one key":    {TwoForOne, func(b *Books) { b.Told[0].IDs[1] = "exec_other" }},
		"refused but stored":     {Turncoat, func(b *Books) { b.Told[0].Turncoat = true }},
		"told but not stored":    {Unstored, func(b *Books) { b.Stored = nil }},
		"stored but not told":    {Untold, func(b *Books) { b.Told = nil }},
		"still running":          {Stuck, func(b *Books) { b.Stored[0].Execution.State = execution.Running }},
		"no result":              {Stuck, func(b *Books) { b.Stored[0].Execution.Result = nil }},
		"two runs":               {RanTwice, func(b *Books) { b.Ran["m1"] = []string{"42", "43"} }},
		"a result without a run": {NeverRan, func(b *Books) { delete(b.Ran, "m1") }},
		"lost for no cause":      {WrongEnd, func(b *Books) { b.result().Reason = execution.Lost }},
		"another exit code":      {WrongEnd, func(b *Books) { *b.result().ExitCode = 8 }},
		"cancelled unasked": {WrongEnd, func(b *Books) {
			b.result().State, b.result().Reason = execution.Cancelled, execution.WasCancelled
		}},
		"output of another run": {WrongOutput, func(b *Books) { b.Ran["m1"] = []string{"43"} }},
		"a byte lost": {WrongOutput, func(b *Books) {
			b.result().Stdout.Head = b.result().Stdout.Head[1:]
		}},
		"a line lost at the end": {WrongOutput, func(b *Books) {
			b.result().Stdout.Head = b.result().Stdout.Head[:10]
			b.result().Stdout.Bytes = 10
		}},
		"bytes counted, not kept": {WrongOutput, func(b *Books) {
			b.result().Stdout.Head = b.result().Stdout.Head[:10]
		}},
		"a line repeated": {WrongOutput, func(b *Books) {
			o := &b.result().Stdout
			o.Head = append(o.Head, o.Head...)
			o.Bytes *= 2
		}},
		"stderr lost":                  {WrongOutput, func(b *Books) { b.result().Stderr = execution.Output{} }},
		"a tail of another run":        {WrongOutput, func(b *Books) { b.result().Stdout.Tail = []byte("?") }},
		"incomplete although it ended": {WrongOutput, func(b *Books) { b.result().OutputComplete = false }},
		"a file lost":                  {WrongFiles, func(b *Books) { b.Stored[0].Files = nil }},
		"half a file": {WrongFiles, func(b *Books) {
			b.Stored[0].Files["left0"] = b.Stored[0].Files["left0"][:100]
		}},
		"a file too many": {WrongFiles, func(b *Books) { b.Stored[0].Files["left1"] = "" }},
		"files cut for no reason": {WrongFiles, func(b *Books) {
			b.Stored[0].Files, b.Stored[0].Cut = nil, "stopped"
		}},
		"nothing arrived":   {Undelivered, func(b *Books) { b.Got = nil }},
		"nothing was taken": {Undelivered, func(b *Books) { b.Got[1].Taken = false }},
		"still pending": {Undelivered, func(b *Books) {
			b.Stored[0].Delivery.State = execution.Pending
		}},
		"another body":                 {Differing, func(b *Books) { b.Got[0].Body = []byte("{ }") }},
		"another webhook-id":           {Differing, func(b *Books) { b.Got[1].WebhookID = "msg_1" }},
		"an attempt without a row":     {Differing, func(b *Books) { b.Stored[0].Attempts = 1 }},
		"a wrong signature":            {Forged, func(b *Books) { b.Got[0].Forged = errors.New("no") }},
		"sent again for no reason":     {Repeated, func(b *Books) { b.Got[0].Taken = true }},
		"an unknown execution arrived": {Unasked, func(b *Books) { b.Got = append(b.Got, Arrival{ID: "exec_other"}) }},
		"a container is there":         {Leftover, func(b *Books) { b.Left = []string{"container x"} }},
	} {
		t.Run(name, func(t *testing.T) {
			books := honest()
			c.falsify(&books)
			found := Audit(books)
			if !slices.ContainsFunc(found, func(v Violation) bool { return v.Kind == c.want }) {
				t.Errorf("Audit returned %v, want %q", found, c.want)
			}
		})
	}
}

func (b *Books) result() *execution.Result { return b.Stored[0].Execution.Result }

func TestAnEndExplainedByAFaultIsNoViolation(t *testing.T) {
	for name, explain := range map[string]func(*Books){
		"lost with the engine": func(b *Books) {
			b.Told[0].Scapegoats = []execution.Reason{execution.Lost}
			r := b.result()
			r.Reason, r.ExitCode, r.OutputComplete = execution.Lost, nil, false
			r.Stdout.Head = r.Stdout.Head[:10]
			r.Stdout.Bytes = 10
			r.Stderr = execution.Output{}
		},
		"cancelled by a client": func(b *Books) {
			b.Told[0].Cancelled = true
			delete(b.Ran, "m1")
			*b.result() = execution.Result{
				State: execution.Cancelled, Reason: execution.WasCancelled,
				OutputComplete: true,
			}
		},
		"without its files after a cancellation": func(b *Books) {
			b.Told[0].Cancelled = true
			b.Stored[0].Files, b.Stored[0].Cut = nil, "stopped"
		},
		"sent again after a kill": func(b *Books) {
			b.Got[0].Taken = true
			b.Stops = []time.Time{noon.Add(time.Second / 2)}
		},
		"sent again after a kill, and the first was recorded last": func(b *Books) {
			b.Got[0].Taken = true
			b.Got[0], b.Got[1] = b.Got[1], b.Got[0]
			b.Stops = []time.Time{noon.Add(time.Second / 2)}
		},
		"ended at its timeout": func(b *Books) {
			b.Told[0].Endless = true
			r := b.result()
			*r.ExitCode = 124
			r.State, r.Reason = execution.Timeout, execution.TimedOut
			r.Stderr = execution.Output{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			books := honest()
			explain(&books)
			if found := Audit(books); len(found) > 0 {
				t.Errorf("found %v", found)
			}
		})
	}
}
