package dispatch

import (
	"testing"

	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
)

// proven returns the evidence of a journal with the same end frame in both streams.
func proven(end journal.End) evidence {
	return evidence{outcome: sandbox.Outcome{Start: &journal.Start{}, Stdout: &end, Stderr: &end}}
}

// unproven returns the evidence of a journal with a start frame and no end frame.
func unproven(exitCode int) evidence {
	return evidence{outcome: sandbox.Outcome{Start: &journal.Start{}, ExitCode: exitCode}}
}

func TestEveryEndHasItsReason(t *testing.T) {
	const none = -1
	cancel := func(v evidence) evidence { v.cancelled = true; return v }
	overdue := func(v evidence) evidence { v.overdue = true; return v }
	for _, c := range []struct {
		name     string
		evidence evidence
		state    execution.State
		reason   execution.Reason
		exitCode int
	}{
		{"exit 0", proven(journal.End{}), execution.Completed, execution.Exited, 0},
		{"exit 3", proven(journal.End{ExitCode: 3}), execution.Failed, execution.Exited, 3},
		{"exit 255", proven(journal.End{ExitCode: 255}), execution.Failed, execution.Exited, 255},
		{"its own abort", proven(journal.End{Signal: 6}), execution.Failed, execution.Signaled, 134},
		{"killed, not for memory", proven(journal.End{Signal: 9}), execution.Failed, execution.Signaled, 137},
		{
			"killed for memory", proven(journal.End{Signal: 9, OutOfMem: true}),
			execution.Failed, execution.OutOfMemory, 137,
		},
		{
			"a shell's child killed for memory", proven(journal.End{ExitCode: 137, OutOfMem: true}),
			execution.Failed, execution.OutOfMemory, 137,
		},
		{
			"a child killed for memory, survived", proven(journal.End{OutOfMem: true}),
			execution.Completed, execution.Exited, 0,
		},
		{
			"a child killed for memory, own error", proven(journal.End{ExitCode: 1, OutOfMem: true}),
			execution.Failed, execution.Exited, 1,
		},
		{"exit 137 of its own", proven(journal.End{ExitCode: 137}), execution.Failed, execution.Exited, 137},
		{"timed out", proven(journal.End{Signal: 15, TimedOut: true}), execution.Timeout, execution.TimedOut, 124},
		{
			"timed out, killed", proven(journal.End{Signal: 9, TimedOut: true}),
			execution.Timeout, execution.TimedOut, 124,
		},
		{"timed out, left politely", proven(journal.End{TimedOut: true}), execution.Timeout, execution.TimedOut, 124},
		{
			"printed too much", proven(journal.End{Signal: 9, OverLimit: true}),
			execution.Failed, execution.OutputLimit, 137,
		},
		{
			"cannot be started", proven(journal.End{StartError: "no such program"}),
			execution.Failed, execution.StartFailed, none,
		},
		{
			"cancelled", cancel(proven(journal.End{Signal: 15, Stopped: true})),
			execution.Cancelled, execution.WasCancelled, 143,
		},
		{
			"cancelled, ignored SIGTERM", cancel(proven(journal.End{Signal: 9, Stopped: true})),
			execution.Cancelled, execution.WasCancelled, 137,
		},
		{
			"cancelled, left politely", cancel(proven(journal.End{Stopped: true})),
			execution.Cancelled, execution.WasCancelled, 143,
		},
		{"ended before the cancel arrived", cancel(proven(journal.End{})), execution.Completed, execution.Exited, 0},
		{
			"ended at its deadline from outside", overdue(proven(journal.End{Signal: 9, Stopped: true})),
			execution.Timeout, execution.TimedOut, 124,
		},
		{
			"stopped by an operator", proven(journal.End{Signal: 15, Stopped: true}),
			execution.Failed, execution.Signaled, 143,
		},
		{"PID 1 killed", unproven(137), execution.Failed, execution.Lost, none},
		{"no end, exit 0", unproven(0), execution.Failed, execution.Lost, none},
		{
			"no end, the engine says memory",
			evidence{outcome: sandbox.Outcome{ExitCode: 137, OOMKilled: true}},
			execution.Failed, execution.OutOfMemory, 137,
		},
		{"no end, we cancelled", cancel(unproven(137)), execution.Cancelled, execution.WasCancelled, 137},
		{"no end, we ended it at its deadline", overdue(unproven(137)), execution.Timeout, execution.TimedOut, 124},
		{"the container is gone", evidence{gone: true}, execution.Failed, execution.Lost, none},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := classify(c.evidence)
			code := none
			if got.ExitCode != nil {
				code = *got.ExitCode
			}
			if got.State != c.state || got.Reason != c.reason || code != c.exitCode {
				t.Errorf("got %s/%s, exit %d; want %s/%s, exit %d",
					got.State, got.Reason, code, c.state, c.reason, c.exitCode)
			}
			if (got.Error == "") != (c.state == execution.Completed) {
				t.Errorf("%s has the error %q", got.State, got.Error)
			}
		})
	}
}

func TestOneEndFrameIsEnough(t *testing.T) {
	v := evidence{outcome: sandbox.Outcome{Stdout: &journal.End{ExitCode: 7}}}
	if got := classify(v); got.Reason != execution.Exited || *got.ExitCode != 7 {
		t.Errorf("got %s, exit %v", got.Reason, got.ExitCode)
	}
}

func TestOnlyTheInitsExitCodeProvesThatTheProgramNeverStarted(t *testing.T) {
	for _, c := range []struct {
		name     string
		evidence evidence
		want     bool
	}{
		{"the init left without a job", evidence{outcome: sandbox.Outcome{ExitCode: journal.ExitNoJob}}, true},
		{"a silent journal", evidence{outcome: sandbox.Outcome{ExitCode: 137}}, false},
		{"a silent journal and exit 0", evidence{}, false},
		{
			"a start frame",
			evidence{outcome: sandbox.Outcome{Start: &journal.Start{}, ExitCode: journal.ExitNoJob}},
			false,
		},
		{"both ends", proven(journal.End{ExitCode: journal.ExitNoJob}), false},
		{"no container", evidence{gone: true, outcome: sandbox.Outcome{ExitCode: journal.ExitNoJob}}, false},
	} {
		if got := c.evidence.neverStarted(); got != c.want {
			t.Errorf("%s: never started = %t", c.name, got)
		}
	}
}
