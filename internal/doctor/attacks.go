package doctor

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"syscall"
	"time"

	"boomerang/internal/probe"
)

// attack is one attack in an execution of its own, assessed from outside.
type attack struct {
	group, name, should string
	kind                probe.Attack
	timeout             time.Duration // timeout of its job
	seconds             bool          // it takes seconds, and the neighbour must not notice it
	assess              func(observation) (happened string, held bool)
}

// attacks returns all attacks, the quick ones first.
func attacks() []attack {
	return append(append(journalAttacks(), endAttacks()...), append(bombAttacks(), quotaAttacks()...)...)
}

// The groups of attacks that take all resources they can get.
const (
	bombs  = "bombs"
	quotas = "quotas"
)

const floodSize = 32 << 20 // bytes of each stream that a flood writes

// journalAttacks attack the proof of the end.
func journalAttacks() []attack {
	const group = "journal"
	return []attack{
		{
			group, "finding the nonce", "no readable file holds it", probe.Spy, attackTimeout, false,
			func(w observation) (string, bool) {
				raw, _ := hex.DecodeString(w.nonce)
				found := bytes.Contains(w.stdout, []byte(w.nonce)) || bytes.Contains(w.stdout, raw)
				return fmt.Sprintf("found in %d files: %t", w.lastAnswer().Count, found), w.endedWell() && !found &&
					w.lastAnswer().Count > 0
			},
		},
		{
			group, "forging the end", "a forged frame counts as output, and the exit code is the real one",
			probe.Forge, attackTimeout, false,
			func(w observation) (string, bool) {
				whole := bytes.Contains(w.stdout, []byte("after the forged end")) &&
					bytes.Contains(w.stdout, bytes.Repeat([]byte("0"), 32))
				return w.ending() + fmt.Sprintf(", output whole: %t", whole), w.proven() &&
					w.outcome.Stdout.ExitCode == 7 && whole
			},
		},
		{
			group, "signals to PID 1", "PID 1 ignores all signals except SIGTERM", probe.SignalInit, attackTimeout,
			false,
			func(w observation) (string, bool) {
				running := !strings.Contains(w.lastAnswer().Note, "T ")
				return fmt.Sprintf("%d sent, %s, %s", w.lastAnswer().Count, w.lastAnswer().Note, w.ending()),
					w.endedWell() && w.lastAnswer().Count > 0 && running
			},
		},
		{
			group, "SIGTERM to PID 1", "it stops the program, with a proof of the end", probe.EndInit, attackTimeout,
			false,
			func(w observation) (string, bool) { return w.ending(), w.proven() && w.outcome.Stdout.Stopped },
		},
	}
}

const shortTimeout = time.Second // a timeout that is meant to expire

// endAttacks resist their end.
func endAttacks() []attack {
	const group = "ending"
	timedOut := func(w observation) (string, bool) {
		return w.ending(), w.proven() && w.outcome.Stdout.TimedOut && w.outcome.Stdout.Signal == int(syscall.SIGKILL)
	}
	return []attack{
		{
			group, "daemons", "a daemon that keeps stdout open does not delay the end", probe.Daemon,
			attackTimeout, false,
			func(w observation) (string, bool) { return w.ending(), w.endedWell() && !w.outcome.Stdout.TimedOut },
		},
		{
			group, "orphans", "PID 1 reaps more orphans than the limit of processes", probe.Orphans,
			attackTimeout, false,
			func(w observation) (string, bool) {
				return fmt.Sprintf("%d made %s", w.lastAnswer().Count, w.lastAnswer().Note), w.endedWell() &&
					w.lastAnswer().Note == ""
			},
		},
		{
			group, "zombies", "they count as processes, and are gone at the end", probe.Zombies, attackTimeout, false,
			func(w observation) (string, bool) {
				return fmt.Sprintf("%d, then %s; %s", w.lastAnswer().Count, w.lastAnswer().Note, w.ending()),
					w.endedWell() && w.lastAnswer().Count <= w.limits.PIDs
			},
		},
		{
			group, "signals ignored", "the timeout ends the program by SIGKILL", probe.Ignore, shortTimeout, true,
			timedOut,
		},
		{
			group, "stopped processes", "the timeout ends the program by SIGKILL", probe.Freeze, shortTimeout, true,
			timedOut,
		},
	}
}

// bombAttacks use all they can get of limited resources.
func bombAttacks() []attack {
	const group = bombs
	memory := func(w observation) (string, bool) {
		taken := w.lastAnswer().Count
		killed := w.proven() && w.outcome.Stdout.Signal == int(syscall.SIGKILL) && w.outcome.Stdout.OutOfMem
		return fmt.Sprintf("%d MiB, then %s", taken>>20, w.ending()), killed && taken <= w.limits.Memory
	}
	places := func(w observation) (string, bool) {
		return w.lastAnswer().Note + "; " + w.ending(), w.endedWell() && w.lastAnswer().Count == 0
	}
	return []attack{
		{
			group, "fork bomb", "it stops at the limit; the end is proven", probe.ForkBomb, attackTimeout, true,
			func(w observation) (string, bool) {
				return fmt.Sprintf("%d processes, %s", w.lastAnswer().Count, w.ending()), w.endedWell() &&
					w.lastAnswer().Count <= w.limits.PIDs
			},
		},
		{group, "memory", "killed at the limit; the end is proven", probe.Memory, attackTimeout, true, memory},
		{
			group, "memory without an address", "a memfd is killed at the limit; the end is proven", probe.Memfd,
			attackTimeout, true, memory,
		},
		{
			group, "memory of a child", "the child is killed, the program continues", probe.ChildMemory, attackTimeout,
			true,
			func(w observation) (string, bool) {
				return w.lastAnswer().Note + ", " + w.ending(), w.endedWell() && strings.Contains(w.lastAnswer().Note,
					"killed") && w.outcome.Stdout.OutOfMem
			},
		},
		{group, "bytes", "every writable file system fills up", probe.Bytes, attackTimeout, true, places},
		{
			group, "inodes", "every writable file system fills up, or the program is killed", probe.Inodes,
			attackTimeout, true, places,
		},
		{
			group, "CPU", "no more than the limit", probe.Spin, attackTimeout, true,
			func(w observation) (string, bool) {
				if !w.proven() {
					return w.ending(), false
				}
				used := w.outcome.Stdout.CPUTime.Seconds() / w.outcome.Stdout.Elapsed.Seconds()
				const rounding = 1.25 // the kernel enforces quotas in periods of 0.1 s
				return fmt.Sprintf("%.2f of %.2f", used, w.limits.CPUs), w.endedWell() && used > 0 &&
					used <= w.limits.CPUs*rounding
			},
		},
		{group, "flood of bytes", floodExpected, probe.Flood, attackTimeout, true, assessFlood},
		{group, "flood of newlines", floodExpected, probe.Newlines, attackTimeout, true, assessFlood},
	}
}

const floodExpected = "every byte is counted, and no more than the language's limit is kept"

// assessFlood holds if a flood was counted and cut.
func assessFlood(w observation) (string, bool) {
	if !w.proven() {
		return w.ending(), false
	}
	kept := int64(max(len(w.stdout), len(w.stderr)))
	counted := min(w.outcome.Stdout.Bytes, w.outcome.Stderr.Bytes)
	limited := w.outcome.Stdout.OverLimit // the language kills programs that flood
	return fmt.Sprintf("%d MiB of each stream counted, %d KiB kept", counted>>20, kept>>10),
		kept <= w.head+w.tail && (limited || w.endedWell() && counted >= floodSize)
}

// quotaAttacks use up resources that the kernel counts per user or for the whole machine.
func quotaAttacks() []attack {
	const group = quotas
	used := func(w observation) (string, bool) {
		return fmt.Sprintf("%d, then %s", w.lastAnswer().Count, w.lastAnswer().Note), w.endedWell()
	}
	return []attack{
		{group, "inotify", "used up only for this execution's user", probe.Inotify, attackTimeout, true, used},
		{group, "pending signals", "used up only for this execution's user", probe.Pending, attackTimeout, true, used},
		{group, "pipes", "used up only for this execution's user", probe.Pipes, attackTimeout, true, used},
		{group, "terminals", "still available to other containers", probe.Terminals, attackTimeout, true, used},
		{
			group, "asynchronous I/O", "the machine's shared pool is not touched", probe.AIO, attackTimeout, true,
			func(w observation) (string, bool) {
				happened, held := used(w)
				return happened, held && w.lastAnswer().Count == 0
			},
		},
	}
}
