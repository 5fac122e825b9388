package main

import (
	"bytes"
	"testing"
	"time"

	"boomerang/internal/client"
	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

// play shows one execution from the queue to its end, and returns the output.
func play(t *testing.T, s *screen) (stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	s.id, s.stdout, s.stderr, s.midline = "exec_1", &out, &err, map[execution.Stream]bool{}
	s.progress("queued")
	for _, e := range []client.Event{
		{Kind: client.EventStatus, Status: execution.Queued, Ahead: 3},
		{Kind: client.EventStatus, Status: execution.Queued},
		{Kind: client.EventStatus, Status: execution.Running},
		{Kind: client.EventOutput, Stream: execution.Stdout, Data: []byte("half a line")},
		{Kind: client.EventGap, Stream: execution.Stdout, LeftOut: 9},
		{Kind: client.EventOutput, Stream: execution.Stdout, Data: []byte("\xff\n")},
		{Kind: client.EventOutput, Stream: execution.Stderr, Data: []byte("oops")},
	} {
		if err := s.show(e); err != nil {
			t.Fatal(err)
		}
	}
	s.showEnd(client.Record{Result: wire.Result{
		Status: execution.Failed, ExecutionTime: wire.Seconds(1500 * time.Millisecond),
		Error: new("The program exited with code 1."),
	}})
	return out.String(), err.String()
}

func TestTheScreenShowsTheOutputAndTheStates(t *testing.T) {
	const printed = "half a line\n[... 9 bytes left out ...]\n\xff\n"
	const end = "· exec_1 failed after 1.500 s: The program exited with code 1.\n"
	for name, c := range map[string]struct {
		screen screen
		stderr string
	}{
		"a file": {screen{}, "· exec_1 queued\n· exec_1 running\noops" + end},
		"a terminal": {
			screen{terminal: true},
			"· exec_1 queued\r\x1b[K· exec_1 queued, 3 ahead\r\x1b[K· exec_1 queued\r\x1b[K" +
				"· exec_1 running\noops\n" + end,
		},
		"quietly": {screen{terminal: true, quiet: true}, "oops"},
	} {
		if stdout, stderr := play(t, &c.screen); stdout != printed || stderr != c.stderr {
			t.Errorf("%s: got %q and %q; want %q and %q", name, stdout, stderr, printed, c.stderr)
		}
	}
}

// The server sends no status event for an execution that ended before the client connected.
func TestAProgressLineEndsBeforeTheOutput(t *testing.T) {
	var out, err bytes.Buffer
	s := &screen{id: "exec_1", stdout: &out, stderr: &err, terminal: true, midline: map[execution.Stream]bool{}}
	s.progress("queued")
	hello := client.Event{Kind: client.EventOutput, Stream: execution.Stdout, Data: []byte("hello\n")}
	if err := s.show(hello); err != nil {
		t.Fatal(err)
	}
	s.showEnd(client.Record{Result: wire.Result{Status: execution.Completed}})
	want := "· exec_1 queued\n· exec_1 completed after 0.000 s\n"
	if err.String() != want || out.String() != "hello\n" {
		t.Errorf("got %q and %q; want %q", err.String(), out.String(), want)
	}
}
