//go:build linux

package main

import (
	"runtime"
	"sync"
	"syscall"
	"unsafe"
)

// ignoreSignals ignores every signal that the Go runtime has a handler for, except but. The kernel already drops the
// others: PID 1 receives a signal from its own PID namespace only if it has a handler.
//
// Handling the signals with os/signal would not suffice: the runtime takes a SIGSEGV sent by rt_sigqueueinfo for a
// fault of its own and crashes. The runtime still believes in its handlers, and so gives the program default
// dispositions. Two harmless handlers stay: SIGURG, which the runtime uses to preempt goroutines, and SIGCHLD, because
// a process that ignores it cannot wait for its children.
//
// Signals that were ignored at the start get their default disposition, because the program would inherit them. For
// example, glibc's posix_spawn leaves the signals 32 and 33 ignored.
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

// action is the kernel's struct sigaction on amd64 and arm64.
type action struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

func disposition(sig syscall.Signal) (act action) {
	sigaction(sig, nil, &act)
	return act
}

func setDisposition(sig syscall.Signal, act action) { sigaction(sig, &act, nil) }

// sigaction fails only for SIGKILL and SIGSTOP.
func sigaction(sig syscall.Signal, act, old *action) {
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(act)), uintptr(unsafe.Pointer(old)), //nolint:gosec // the kernel keeps neither
		unsafe.Sizeof(action{}.mask), 0, 0)
}

// spareThreads is the number of threads that the runtime starts in advance. It needs one for each goroutine that may be
// inside a system call (the reaper, two streams, the supervisor), one that waits for signals, one that polls, and one
// that runs. The other two cover the moments in which a finished thread is not yet idle again.
const spareThreads = 9

// prestartThreads makes the runtime start its threads now. Later the program may have used up the container's PIDs, and
// the runtime dies if it cannot start a thread. Idle threads stay and are reused first.
func prestartThreads() {
	runTogether(spareThreads, func(meet func()) {
		// A locked goroutine keeps its thread while it waits, so each goroutine needs another thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		meet()
	})
}

// runTogether runs n goroutines so that all of them exist before the first one ends: meet waits for the others.
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

// spareSpans is the number of memory blocks, each up to spareSpan bytes, that the runtime may need while the program
// runs. Measured: it takes one to four blocks of 8 to 32 KiB, for goroutines, timers and frames.
const (
	spareSpans = 16
	spareSpan  = 64 << 10
)

// preallocateMemory makes the runtime map its memory now. The runtime maps 4 MiB at a time, and 256 KiB at a time for
// its bookkeeping. If the program has set the init's RLIMIT_AS to zero, the runtime dies when it needs the next block.
// How soon that happens depends on the size of the job. The init's allocations are never collected, but the runtime
// takes back the stacks of ended goroutines and their bookkeeping.
func preallocateMemory() {
	runTogether(spareSpans, func(meet func()) {
		growStack(false)
		meet()
	})
}

// growStack makes the goroutine's stack larger than half a spareSpan, so that it fills a whole span. It touches the
// stack only if all is true.
//
//go:noinline
func growStack(all bool) {
	if all {
		var frame [spareSpan / 2]byte
		faultIn(frame[:])
	}
}
