package dispatch

import (
	"fmt"
	"syscall"

	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
)

// evidence is everything known about the end of a run.
type evidence struct {
	outcome   sandbox.Outcome
	gone      bool // the container and its journal are gone
	cancelled bool // a client cancelled the execution, and the init was told
	overdue   bool // the init did not enforce the deadline, and the init was told to stop
}

// neverStarted tells whether the init's exit code proves that the program was not started. A journal without a start
// frame proves nothing: an engine that crashed may have lost the frame.
func (v evidence) neverStarted() bool {
	return !v.gone && v.outcome.Start == nil && !v.outcome.Proven() && v.outcome.ExitCode == journal.ExitNoJob
}

// Exit codes that a shell would show. They are part of the public API.
const (
	exitTimeout    = 124
	exitSignalBase = 128
)

// classify returns a result with the state, reason, exit code and sentence that follow from the evidence. The caller
// adds outputs and times.
func classify(v evidence) execution.Result {
	end := v.outcome.Stderr
	if end == nil {
		end = v.outcome.Stdout
	}
	if end == nil {
		return classifyUnproven(v)
	}
	switch {
	case end.StartError != "":
		return failed(execution.StartFailed, nil, "The program could not be started: "+end.StartError)
	case end.Stopped && v.cancelled:
		return cancelled(signalOr(end.Signal, syscall.SIGTERM))
	case end.TimedOut, end.Stopped && v.overdue:
		return timedOut()
	case end.OverLimit:
		return failed(execution.OutputLimit, new(exitSignalBase+int(syscall.SIGKILL)),
			"The program printed more than its limit allows and was killed.")
	case end.OutOfMem && (end.Signal == int(syscall.SIGKILL) || end.ExitCode == exitSignalBase+int(syscall.SIGKILL)):
		return outOfMemory()
	case end.Signal != 0:
		return failed(execution.Signaled, new(exitSignalBase+end.Signal),
			fmt.Sprintf("The program was ended by signal %d (%s).", end.Signal, signalName(end.Signal)))
	case end.ExitCode != 0:
		return failed(execution.Exited, new(end.ExitCode),
			fmt.Sprintf("The program exited with code %d.", end.ExitCode))
	}
	return execution.Result{State: execution.Completed, Reason: execution.Exited, ExitCode: new(0)}
}

// classifyUnproven classifies a run whose journal has no end frame, by the actions of the dispatcher and the engine's
// state of the container.
func classifyUnproven(v evidence) execution.Result {
	switch {
	case v.cancelled:
		return cancelled(int(syscall.SIGKILL))
	case v.overdue:
		return timedOut()
	case !v.gone && v.outcome.OOMKilled:
		return outOfMemory()
	}
	return failed(execution.Lost, nil,
		"The container ended without leaving a proof of how; whether the program finished is not known.")
}

func cancelled(signal int) execution.Result {
	return execution.Result{
		State: execution.Cancelled, Reason: execution.WasCancelled, ExitCode: new(exitSignalBase + signal),
		Error: "The execution was cancelled while it ran.",
	}
}

func timedOut() execution.Result {
	return execution.Result{
		State: execution.Timeout, Reason: execution.TimedOut, ExitCode: new(exitTimeout),
		Error: "The program did not end within its timeout and was ended.",
	}
}

func outOfMemory() execution.Result {
	return failed(execution.OutOfMemory, new(exitSignalBase+int(syscall.SIGKILL)),
		"The program used more memory than its limit allows and was killed.")
}

func failed(reason execution.Reason, exitCode *int, sentence string) execution.Result {
	return execution.Result{State: execution.Failed, Reason: reason, ExitCode: exitCode, Error: sentence}
}

func signalOr(signal int, otherwise syscall.Signal) int {
	if signal != 0 {
		return signal
	}
	return int(otherwise)
}
