//go:build linux

// Command boomerang-init is PID 1 of every execution's container. It waits for one job on stdin, runs it, and leaves
// on stdout and stderr a journal that ends in the proof of its own end.
//
// Everything else in the container is the program's and hostile: it runs under the same user ID, may take every PID,
// all memory and all CPU time there is, and may send every signal. The init refuses to know Docker, languages, and
// what an execution is.
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

// run returns 0 when both end frames were written, journal.ExitNoJob when no whole job came, so that nothing ran, and 1
// when the journal is not whole.
func run() int {
	// What reads /proc/1 comes before closing it, which closes it to the init as well.
	score := openOOMScore()
	keepFilesFromProgram()
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if err := closeProc(); err != nil {
		return fail(err)
	}
	if os.Getpid() != 1 {
		// It signals every process that it can see.
		return fail(errors.New("boomerang-init is made to be PID 1 of a container"))
	}
	places := tmpfsDirs(string(mounts))
	restrictDirs(places)
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1) // what it allocates is bounded by the job, and a waiting container must not wake up to collect
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
		return 1 // a job that came whole and is not one: sending it again would not help
	case <-stop:
		return journal.ExitNoJob
	}
}

// assignment is all that came down stdin.
type assignment struct {
	job   *journal.Job
	given *received
}

func fail(err error) int {
	_, _ = fmt.Fprintln(os.Stderr, err)
	return 1
}

// keepFilesFromProgram closes at the exec whatever the container's runtime left open by mistake; such a file was a
// way out of the container (CVE-2024-21626).
func keepFilesFromProgram() {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > syscall.Stderr {
			syscall.CloseOnExec(fd)
		}
	}
}

// closeProc makes the process undumpable: /proc/1/mem, fd, environ, maps and ptrace are closed to the program then,
// although it has the same user ID.
func closeProc() error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); errno != 0 {
		return fmt.Errorf("close /proc/1: %w", errno)
	}
	return nil
}

// warmUp goes once through what is slow the first time, for page faults and JSON's caches: a container has time while it
// waits, an execution has not. Measured: 2 ms the first time, 0.2 ms the second.
func warmCaches() {
	var b bytes.Buffer
	_ = journal.WriteJob(&b, journal.Job{
		Nonce: journal.NewNonce(), File: "f", Argv: []string{"f"}, Env: map[string]string{"E": "e"}, Dir: "/", Timeout: 1,
	})
	_, _ = journal.ReadJob(&b)
	_ = journal.AppendStart(nil, "", journal.Start{})
	_ = journal.AppendEnd(nil, "", journal.End{})
	_ = readUsage(cgroupRoot)
	_ = errors.Is(&os.PathError{Err: io.EOF}, os.ErrDeadlineExceeded) // what methods an error has is found out once, and noted
	preallocateMemory()
}

// pollable makes a file whose reads and writes wait in the runtime's poller instead of holding a thread.
func pollable(fd int, name string) *os.File {
	_ = syscall.SetNonblock(fd, true) // a file that cannot be polled blocks, which is the same to the caller
	return os.NewFile(uintptr(fd), name)
}
