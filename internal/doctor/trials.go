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

// trial is an attack that has an execution to itself, judged from outside.
type trial struct {
	group, name, should string
	play                probe.Play
	timeout             time.Duration // of its job
	seconds             bool          // it takes some, and its neighbour must not notice
	judge               func(watched) (happened string, held bool)
}

// trials are all of them, the quick ones first.
func trials() []trial {
	return append(append(journalTrials(), endTrials()...), append(bombTrials(), quotaTrials()...)...)
}

// The groups of what takes all that it can get.
const (
	bombs  = "bombs"
	quotas = "quotas"
)

const floodSize = 32 << 20 // bytes of each stream that a flood writes

// journalTrials are about the proof of the end.
func journalTrials() []trial {
	const group = "journal"
	return []trial{
		{
			group, "finding the nonce", "it is nowhere in what the program can read", probe.Spy, playTimeout, false,
			func(w watched) (string, bool) {
				raw, _ := hex.DecodeString(w.nonce)
				found := bytes.Contains(w.stdout, []byte(w.nonce)) || bytes.Contains(w.stdout, raw)
				return fmt.Sprintf("found in %d files: %t", w.last().Count, found), w.well() && !found && w.last().Count > 0
			},
		},
		{
			group, "forging the end", "what looks like an end frame is output, and the exit code is the true one", probe.Forge, playTimeout, false,
			func(w watched) (string, bool) {
				whole := bytes.Contains(w.stdout, []byte("after the forged end")) && bytes.Contains(w.stdout, bytes.Repeat([]byte("0"), 32))
				return w.end() + fmt.Sprintf(", output whole: %t", whole), w.proven() && w.outcome.Stdout.ExitCode == 7 && whole
			},
		},
		{
			group, "signals to PID 1", "it takes none but SIGTERM, and goes on", probe.SignalInit, playTimeout, false,
			func(w watched) (string, bool) {
				running := !strings.Contains(w.last().Note, "T ")
				return fmt.Sprintf("%d sent, %s, %s", w.last().Count, w.last().Note, w.end()), w.well() && w.last().Count > 0 && running
			},
		},
		{
			group, "SIGTERM to PID 1", "the program ends itself by it, with a proof", probe.EndInit, playTimeout, false,
			func(w watched) (string, bool) { return w.end(), w.proven() && w.outcome.Stdout.Stopped },
		},
	}
}

const shortly = time.Second // a timeout that is meant to pass

// endTrials are about ending what does not want to end.
func endTrials() []trial {
	const group = "ending"
	timedOut := func(w watched) (string, bool) {
		return w.end(), w.proven() && w.outcome.Stdout.TimedOut && w.outcome.Stdout.Signal == int(syscall.SIGKILL)
	}
	return []trial{
		{
			group, "daemons", "one that is left behind with stdout in its hands delays nothing", probe.Daemon, playTimeout, false,
			func(w watched) (string, bool) { return w.end(), w.well() && !w.outcome.Stdout.TimedOut },
		},
		{
			group, "orphans", "more of them than there may be processes: PID 1 takes them in", probe.Orphans, playTimeout, false,
			func(w watched) (string, bool) {
				return fmt.Sprintf("%d made %s", w.last().Count, w.last().Note), w.well() && w.last().Note == ""
			},
		},
		{
			group, "zombies", "bounded like processes, and gone at the end", probe.Zombies, playTimeout, false,
			func(w watched) (string, bool) {
				return fmt.Sprintf("%d, then %s; %s", w.last().Count, w.last().Note, w.end()), w.well() && w.last().Count <= w.limits.PIDs
			},
		},
		{group, "signals ignored", "ended by SIGKILL when its time is over", probe.Ignore, shortly, true, timedOut},
		{group, "stopped processes", "the same", probe.Freeze, shortly, true, timedOut},
	}
}

// bombTrials take all they can get of what is bounded.
func bombTrials() []trial {
	const group = bombs
	memory := func(w watched) (string, bool) {
		taken := w.last().Count
		killed := w.proven() && w.outcome.Stdout.Signal == int(syscall.SIGKILL) && w.outcome.Stdout.OutOfMem
		return fmt.Sprintf("%d MiB, then %s", taken>>20, w.end()), killed && taken <= w.limits.Memory
	}
	places := func(w watched) (string, bool) { return w.last().Note + "; " + w.end(), w.well() && w.last().Count == 0 }
	return []trial{
		{
			group, "fork bomb", "stops at the limit; the end is proven", probe.ForkBomb, playTimeout, true,
			func(w watched) (string, bool) {
				return fmt.Sprintf("%d processes, %s", w.last().Count, w.end()), w.well() && w.last().Count <= w.limits.PIDs
			},
		},
		{group, "memory", "killed within its limit; the end is proven", probe.Memory, playTimeout, true, memory},
		{group, "memory without an address", "the same, by memfd", probe.Memfd, playTimeout, true, memory},
		{
			group, "memory of a child", "the child is killed, the program goes on", probe.ChildMemory, playTimeout, true,
			func(w watched) (string, bool) {
				return w.last().Note + ", " + w.end(), w.well() && strings.Contains(w.last().Note, "killed") && w.outcome.Stdout.OutOfMem
			},
		},
		{group, "bytes", "every place that can be written to gets full", probe.Bytes, playTimeout, true, places},
		{group, "inodes", "every place that can be written to gets full, or who fills it is killed", probe.Inodes, playTimeout, true, places},
		{
			group, "CPU", "no more than it may have", probe.Spin, playTimeout, true,
			func(w watched) (string, bool) {
				if !w.proven() {
					return w.end(), false
				}
				used := w.outcome.Stdout.CPUTime.Seconds() / w.outcome.Stdout.Elapsed.Seconds()
				const rounding = 1.25 // quotas are for periods of a tenth of a second
				return fmt.Sprintf("%.2f of %.2f", used, w.limits.CPUs), w.well() && used > 0 && used <= w.limits.CPUs*rounding
			},
		},
		{group, "flood of bytes", flooded, probe.Flood, playTimeout, true, bounded},
		{group, "flood of newlines", flooded, probe.Newlines, playTimeout, true, bounded},
	}
}

const flooded = "all is counted, and no more is kept than the language may print"

// bounded holds when a flood was counted and cut.
func bounded(w watched) (string, bool) {
	if !w.proven() {
		return w.end(), false
	}
	kept := int64(max(len(w.stdout), len(w.stderr)))
	counted := min(w.outcome.Stdout.Bytes, w.outcome.Stderr.Bytes)
	limited := w.outcome.Stdout.OverLimit // the language kills who floods
	return fmt.Sprintf("%d MiB of each stream counted, %d KiB kept", counted>>20, kept>>10),
		kept <= w.head+w.tail && (limited || w.well() && counted >= floodSize)
}

// quotaTrials use up what the kernel keeps per user, or for the whole machine.
func quotaTrials() []trial {
	const group = quotas
	used := func(w watched) (string, bool) {
		return fmt.Sprintf("%d, then %s", w.last().Count, w.last().Note), w.well()
	}
	return []trial{
		{group, "inotify", "used up for this execution's user alone", probe.Inotify, playTimeout, true, used},
		{group, "pending signals", "the same", probe.Pending, playTimeout, true, used},
		{group, "pipes", "the same", probe.Pipes, playTimeout, true, used},
		{group, "terminals", "not used up for others", probe.Terminals, playTimeout, true, used},
		{group, "asynchronous I/O", "the machine's stock is not touched", probe.AIO, playTimeout, true, func(w watched) (string, bool) {
			happened, held := used(w)
			return happened, held && w.last().Count == 0
		}},
	}
}
