//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"boomerang/internal/journal"
)

// execute runs one job and writes its journal. An error means that the journal is incomplete.
func execute(job *journal.Job, given *received, score *oomScore, stop <-chan os.Signal) error {
	over := make(chan struct{}, 1)
	stdout, stdoutEnd, err := openStream(syscall.Stdout, job, over)
	if err != nil {
		return err
	}
	stderr, stderrEnd, err := openStream(syscall.Stderr, job, over)
	if err != nil {
		return err
	}
	files := newCollector(job, given, stdout.log, stop)
	before := readUsage(cgroupRoot)
	started := time.Now()
	end := journal.End{StartedAt: started.UTC()}
	stderr.log.raw(journal.AppendStart(nil, job.Nonce, journal.Start{At: end.StartedAt}))
	if stderr.log.err != nil {
		return fmt.Errorf("write start frame: %w", stderr.log.err)
	}

	pid, err := 0, given.failed
	if err == nil {
		pid, err = startProgram(job, stdoutEnd, stderrEnd, score, files)
	}
	_, _ = stdoutEnd.Close(), stderrEnd.Close()
	var streams sync.WaitGroup
	streams.Go(stdout.pump)
	streams.Go(stderr.pump)
	if err != nil {
		files = nil
		end.StartError = err.Error()
		end.EndedAt = time.Now().UTC()
	} else {
		supervise(job, pid, started, stop, over, &end)
	}
	stdout.stopWhenEmpty()
	stderr.stopWhenEmpty()
	streams.Wait()
	addUsage(&end, before, readUsage(cgroupRoot))

	var failed [2]error
	streams.Go(func() { failed[0] = stdout.finish(job.Nonce, end, func() { files.collect(end.Stopped) }) })
	streams.Go(func() { failed[1] = stderr.finish(job.Nonce, end, func() {}) })
	streams.Wait()
	for _, err := range failed {
		if err != nil {
			return fmt.Errorf("write end frame: %w", err)
		}
	}
	return nil
}

// openStream connects a new pipe to the log at fd, and returns the pipe's write end for the program.
func openStream(fd int, job *journal.Job, over chan<- struct{}) (*stream, *os.File, error) {
	// A duplicate, because the os package ends the process when fd 1 or 2 itself breaks.
	dup, err := syscall.Dup(fd)
	if err != nil {
		return nil, nil, fmt.Errorf("open log: %w", err)
	}
	syscall.CloseOnExec(dup)
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("open pipe: %w", err)
	}
	enlargePipe(ends[1])
	s := newStream(pollable(ends[0], "pipe"), newLog(pollable(dup, "log")), job.Head, job.Tail)
	s.limit, s.exceeded = job.Limit, over
	return s, os.NewFile(uintptr(ends[1]), "pipe"), nil
}

// The sizes of a pipe in bytes: the kernel's default for the largest pipe of an ordinary user (fs.pipe-max-size), and
// the default size of a pipe.
const (
	largestPipe = 1 << 20
	usualPipe   = 64 << 10
)

// enlargePipe makes a pipe as large as the kernel allows. A program that does not wait for its output (Node.js) loses
// the bytes beyond the pipe's size when it exits. The kernel allocates the pages on writing and charges them to the
// writer; their table makes an empty pipe cost 18 KiB instead of 3. The kernel refuses a size above fs.pipe-max-size,
// and more than the user's share of all pipes (fs.pipe-user-pages-soft). So enlargePipe tries half the size after each
// refusal, and in the end leaves the pipe as it is.
func enlargePipe(pipe int) {
	for size := largestPipe; size >= usualPipe; size /= 2 {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(pipe), syscall.F_SETPIPE_SZ,
			uintptr(size)); errno == 0 {
			return
		}
	}
}

// supervise returns when the program has ended and the init is the only process in the container. It depends on nothing
// else, neither on the log nor on the program's behaviour.
func supervise(job *journal.Job, pid int, started time.Time, stop <-chan os.Signal, over <-chan struct{},
	end *journal.End,
) {
	ended := make(chan syscall.WaitStatus, 1)
	alone := make(chan struct{})
	go reap(pid, ended, alone)

	deadline := time.NewTimer(job.Timeout - time.Since(started))
	defer deadline.Stop()
	var kill <-chan time.Time // set once the program was told to end
	for running := true; running; {
		select {
		case status := <-ended:
			end.EndedAt = time.Now().UTC()
			end.Elapsed = time.Since(started)
			if status.Signaled() {
				end.Signal = int(status.Signal())
			} else {
				end.ExitCode = status.ExitStatus()
			}
			running = false
		case <-deadline.C:
			if kill == nil {
				end.TimedOut = true
				kill = terminate(job.Grace)
			}
		case <-stop:
			if kill == nil {
				end.Stopped = true
				kill = terminate(job.Grace)
			}
		case <-over:
			if kill == nil {
				end.OverLimit = true
				kill = make(chan time.Time) // never fires: a program that floods gets no grace period
				signalAll(syscall.SIGKILL)
			}
		case <-kill:
			signalAll(syscall.SIGKILL)
		}
	}
	<-alone
}

// terminate asks every process to end, not only the program's group, so that daemons can clean up too.
func terminate(grace time.Duration) <-chan time.Time {
	signalAll(syscall.SIGTERM)
	return time.After(grace)
}

// signalAll signals every process of the container except the init.
func signalAll(sig syscall.Signal) { _ = syscall.Kill(-1, sig) }

// reap waits for every process that ends, including orphans. When the program has ended, it kills all other processes.
func reap(program int, ended chan<- syscall.WaitStatus, alone chan<- struct{}) {
	over := false
	for {
		if over {
			// Repeated, because a process that was just being forked can escape one kill; its parent still has to be
			// reaped.
			signalAll(syscall.SIGKILL)
		}
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.ECHILD) {
			close(alone)
			return
		}
		// A child that the init traces at the child's own request is also reported when it stops.
		if err == nil && !over && pid == program && (status.Exited() || status.Signaled()) {
			ended <- status
			over = true
		}
	}
}
