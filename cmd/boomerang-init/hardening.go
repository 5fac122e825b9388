//go:build linux

package main

import (
	"runtime"
	"sync"
	"syscall"
	"unsafe"
)

// turnDeaf ignores every signal that the Go runtime has a handler for, but the one named. The kernel drops the others
// already: of a PID namespace's own processes PID 1 receives only signals that it handles.
//
// Handling them all with os/signal would not do: a SIGSEGV sent by rt_sigqueueinfo looks like a fault of the
// runtime's own and crashes it. The runtime still believes in its handlers and so gives the program default
// dispositions. Two handlers stay, and are harmless: SIGURG's, by which the runtime preempts goroutines, and
// SIGCHLD's, because children of a process that ignores it cannot be waited for.
//
// What whoever started the init ignored is ignored no more, for the program would inherit it: glibc's posix_spawn, for
// one, leaves the signals 32 and 33 that way.
func ignoreSignals(but syscall.Signal) {
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		act := disposition(sig)
		if act.handler == handlerIgnore {
			act.handler = handlerDefault
			setDisposition(sig, act)
		}
		if act.handler == handlerDefault || sig == but || sig == syscall.SIGURG || sig == syscall.SIGCHLD {
			continue
		}
		act.handler = handlerIgnore
		setDisposition(sig, act)
	}
}

const (
	handlerDefault = 0
	handlerIgnore  = 1
)

// action is the kernel's struct sigaction of amd64 and arm64.
type action struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

func disposition(sig syscall.Signal) (act action) {
	sigaction(sig, nil, &act)
	return act
}

func setDisposition(sig syscall.Signal, act action) { sigaction(sig, &act, nil) }

// sigaction fails for SIGKILL and SIGSTOP alone.
func sigaction(sig syscall.Signal, act, old *action) {
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(act)), uintptr(unsafe.Pointer(old)), //nolint:gosec // the kernel keeps neither
		unsafe.Sizeof(action{}.mask), 0, 0)
}

// spareThreads is how many threads the runtime is given in advance. It needs one for each goroutine that may be inside a
// system call (the reaper, two streams, the supervisor), one that waits for signals, one that polls, one that runs; the
// other two cover the moments in which a thread has finished and is not yet back among the idle ones.
const spareThreads = 9

// stockThreads makes the runtime start its threads now: a program that has used up the container's PIDs would make
// it fail to start one later, and die of that. Threads that have nothing to do stay and are taken first.
func prestartThreads() {
	runTogether(spareThreads, func(meet func()) {
		// A locked goroutine keeps its thread even while it waits, so each of them needs another one.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		meet()
	})
}

// atOnce runs n goroutines that are all there before the first of them ends: meet waits for the others.
func runTogether(n int, do func(meet func())) {
	var ready, done sync.WaitGroup
	ready.Add(n)
	for range n {
		done.Go(func() {
			do(func() {
				ready.Done()
				ready.Wait()
			})
		})
	}
	done.Wait()
}

// spareSpans is how many blocks of memory the runtime may take once the program runs, of up to spareSpan bytes each. Measured: it takes
// one to four of 8 to 32 KiB, for goroutines, timers and frames.
const (
	spareSpans = 16
	spareSpan  = 64 << 10
)

// stockMemory makes the runtime map its memory now: it maps 4 MiB at a time, and 256 KiB at a time of what it keeps books of them in,
// and once the program has set the init's RLIMIT_AS to nothing it would die of needing the next. How near that is depends on the
// size of the job. Nothing that the init allocates is ever collected, but stacks of goroutines are given back when they end,
// with their entries in the books.
func preallocateMemory() {
	runTogether(spareSpans, func(meet func()) {
		growStack(false)
		meet()
	})
}

// useStack makes the goroutine's stack larger than half a spareSpan, so that it is a whole one, and touches it only when it is told to.
//
//go:noinline
func growStack(all bool) {
	if all {
		var frame [spareSpan / 2]byte
		faultIn(frame[:])
	}
}
