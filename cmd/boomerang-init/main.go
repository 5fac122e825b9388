//go:build linux

// Command boomerang-init is PID 1 of every execution's container. It waits for one job on stdin, runs it, and writes a
// journal to stdout and stderr that ends in the proof of its own end.
//
// The rest of the container belongs to the program and is hostile. The program runs under the init's user ID, may use
// up PIDs, memory and CPU time, and may send every signal. The init does not know Docker, languages or executions.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"

	"boomerang/internal/journal"
)

func main() { os.Exit(run()) }

// run returns 0 if both end frames were written, journal.ExitNoJob if no whole job arrived, so that nothing ran, and 1
// if the journal is incomplete.
func run() int {
	// Read /proc/1 before closeProc, which closes it to the init as well.
	score := openOOMScore()
	closeInheritedFiles()
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if err := closeProc(); err != nil {
		return fail(err)
	}
	if os.Getpid() != 1 {
		// The init signals every process that it can see.
		return fail(errors.New("boomerang-init must be PID 1 of a container"))
	}
	places := tmpfsDirs(string(mounts))
	restrictDirs(places)
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1) // the job bounds the allocations, and a waiting container must not wake up for a collection
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	ignoreSignals(syscall.SIGTERM)
	prestartThreads()
	warmCaches()
	rehearsal := rehearse(os.Args[1:], places, score)

	jobs := make(chan assignment)
	failed := make(chan error, 1)
	go func() {
		stdin := pollable(syscall.Stdin, "job")
		job, err := journal.ReadJob(stdin)
		if err != nil {
			failed <- err
			return
		}
		rehearsal.stop()
		given, err := receiveWorkspace(stdin, &job)
		if err != nil {
			failed <- err
			return
		}
		jobs <- assignment{&job, given}
	}()
	select {
	case a := <-jobs:
		if err := execute(a.job, a.given, score, stop); err != nil {
			return fail(err)
		}
		return 0
	case err := <-failed:
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return journal.ExitNoJob
		}
		return 1 // the job arrived whole and is invalid: sending it again would not help
	case <-stop:
		return journal.ExitNoJob
	}
}

// assignment is everything that arrives on stdin.
type assignment struct {
	job   *journal.Job
	given *received
}

func fail(err error) int {
	_, _ = fmt.Fprintln(os.Stderr, err)
	return 1
}

// closeInheritedFiles marks files for closing at the exec that the container's runtime left open by mistake. Such a
// file was a way out of the container (CVE-2024-21626).
func closeInheritedFiles() {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > syscall.Stderr {
			syscall.CloseOnExec(fd)
		}
	}
}

// closeProc makes the process undumpable. This closes ptrace and /proc/1/mem, fd, environ and maps to the program,
// although it has the init's user ID.
func closeProc() error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); errno != 0 {
		return fmt.Errorf("close /proc/1: %w", errno)
	}
	return nil
}

// warmCaches runs once through code that is slow the first time because of page faults and JSON's caches. A waiting
// container has time for it, an execution does not. Measured: 2 ms the first time, 0.2 ms the second.
func warmCaches() {
	var b bytes.Buffer
	_ = journal.WriteJob(&b, journal.Job{
		Nonce: journal.NewNonce(), File: "f", Argv: []string{"f"}, Env: map[string]string{"E": "e"}, Dir: "/",
		Timeout: 1,
	})
	_, _ = journal.ReadJob(&b)
	_ = journal.AppendStart(nil, "", journal.Start{})
	_ = journal.AppendEnd(nil, "", journal.End{})
	_ = readUsage(cgroupRoot)
	// Fills the runtime's cache of the methods of errors.
	_ = errors.Is(&os.PathError{Err: io.EOF}, os.ErrDeadlineExceeded)
	preallocateMemory()
}

// pollable returns a file whose reads and writes wait in the runtime's poller and hold no thread.
func pollable(fd int, name string) *os.File {
	_ = syscall.SetNonblock(fd, true) // a file that cannot be polled blocks, which makes no difference to the caller
	return os.NewFile(uintptr(fd), name)
}
