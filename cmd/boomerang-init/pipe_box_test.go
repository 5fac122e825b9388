//go:build linux && integration

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// writeAndExit writes like Node.js: the bytes that the pipe does not take at once are lost when the program exits.
func writeAndExit(size int) {
	text := []byte(strings.Repeat("x", size))
	for _, fd := range []int{syscall.Stdout, syscall.Stderr} {
		_ = syscall.SetNonblock(fd, true)
		_, _ = syscall.Write(fd, text)
	}
}

// useUpPipes uses up size bytes of the user's share of all pipes until its stdin ends.
func useUpPipes(size int) int {
	for part := largestPipe; size > 0; size -= part {
		for part > size {
			part /= 2
		}
		var ends [2]int
		err := syscall.Pipe2(ends[:], 0)
		if err == nil {
			_, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(ends[0]), syscall.F_SETPIPE_SZ, uintptr(part))
			err = os.NewSyscallError("F_SETPIPE_SZ", errorOf(errno))
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

func errorOf(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// The test uses up the user's share of all pipes from outside. Above fs.pipe-user-pages-soft, a new pipe has two pages
// and cannot grow.
func TestOutputAtExitArrivesWholeUpToTheSizeOfThePipe(t *testing.T) {
	const mib = 1 << 20
	largest, share := kernelSetting(t, "pipe-max-size"), kernelSetting(t, "pipe-user-pages-soft")*os.Getpagesize()
	if largest < mib || share != 64*mib {
		t.Fatalf("a pipe may have %d bytes and a user %d in all; this test needs the usual 1 MiB and 64 MiB", largest,
			share)
	}
	for name, c := range map[string]struct{ held, written, out, err int }{
		"a little":                     {written: 100, out: 100, err: 100},
		"the bytes Node.js lost":       {written: 600_000, out: 600_000, err: 600_000},
		"all that a pipe holds":        {written: mib, out: mib, err: mib},
		"more than a pipe holds":       {written: mib + 1, out: mib, err: mib},
		"where there is room for one":  {held: 62*mib + 128<<10, written: mib + 1, out: mib, err: 512 << 10},
		"where there is room for half": {held: 63*mib + 256<<10, written: mib + 1, out: 512 << 10, err: 256 << 10},
		"where the share is all but up": {
			held: 64*mib - 64<<10, written: mib + 1, out: 64 << 10,
			err: 2 * os.Getpagesize(),
		},
		"where the share is used up": {
			held: 64 * mib, written: mib + 1, out: 2 * os.Getpagesize(),
			err: 2 * os.Getpagesize(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := box{}.start(t)
			awaitIgnoredSignals(r)
			holdPipes(t, r.uid, c.held)
			r.send(attacker("leave at once", strconv.Itoa(c.written)))
			res := r.wait()
			end := res.proven(t)
			if len(res.out) != c.out || len(res.err) != c.err {
				t.Errorf("%d bytes of stdout and %d of stderr arrived, want %d and %d", len(res.out), len(res.err),
					c.out, c.err)
			}
			if end.ExitCode != 0 || end.Bytes != int64(c.out) || end.LeftOut != 0 {
				t.Errorf("got %+v, want a plain end that counts %d bytes", end, c.out)
			}
		})
	}
}

// A program that waits for its output loses none of it, even with small pipes.
func TestAProgramThatWaitsLosesNothingInASmallPipe(t *testing.T) {
	const size = 1 << 20
	r := box{}.start(t)
	awaitIgnoredSignals(r)
	holdPipes(t, r.uid, 64<<20)
	r.send(attacker("flood", strconv.Itoa(size)))
	res := r.wait()
	if end := res.proven(t); len(res.out) != size || len(res.err) != size || end.ExitCode != 0 {
		t.Errorf("%d and %d bytes arrived, want %d each; %+v", len(res.out), len(res.err), size, end)
	}
}

// holdPipes uses up a user's pipes until the end of the test.
func holdPipes(t *testing.T, uid, size int) {
	t.Helper()
	if size == 0 {
		return
	}
	cmd := exec.Command("/proc/self/exe", "use up pipes", strconv.Itoa(size))
	cmd.Env = []string{roleVariable + "=program"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	untilThen, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = untilThen.Close(), cmd.Wait() })
	answer := make([]byte, len("held\n"))
	if n, err := io.ReadFull(said, answer); err != nil || string(answer) != "held\n" {
		t.Fatalf("the user's pipes cannot be used up: %q, %v", answer[:n], err)
	}
}

func kernelSetting(t *testing.T, name string) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/fs/" + name)
	if err == nil {
		_, err = fmt.Sscan(string(text), &n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}
