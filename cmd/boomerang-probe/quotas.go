//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"boomerang/internal/probe"
)

// The attacks on quotas that the kernel keeps per user or for the whole machine. Using up the quota of its own user
// harms no other container; a neighbour checks that.

// neighbour offers resources that other containers must not reach, and repeats ordinary operations. It prints the
// number of rounds now and then, and problems at once.
func neighbour(probe.Task) (probe.Answer, error) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	tcp, err := net.Listen("tcp", ":"+sharedPort)
	if err != nil {
		return probe.Answer{}, err
	}
	defer func() { _ = tcp.Close() }()
	abstract, err := net.Listen("unix", sharedSocket)
	if err != nil {
		return probe.Answer{}, err
	}
	defer func() { _ = abstract.Close() }()
	const size, create = 4096, 0o1666
	if _, _, errno := unix.Syscall(unix.SYS_SHMGET, sharedKey, size, create); errno != 0 {
		return probe.Answer{}, errno
	}
	for _, folder := range []string{"/workspace", "/tmp", "/dev/shm"} {
		if err := os.WriteFile(filepath.Join(folder, "neighbour"), []byte("mine"), 0o644); err != nil {
			return probe.Answer{}, err
		}
	}
	if err := probe.Write(os.Stdout, probe.Answer{Note: addresses()}); err != nil {
		return probe.Answer{}, err
	}
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	for round := int64(1); ; round++ {
		select {
		case <-term:
			return probe.Answer{Count: round}, nil
		case <-tick.C:
		}
		answer := probe.Answer{Count: round}
		if err := useQuotas(round); err != nil {
			answer.Note = err.Error()
		}
		if round%seldom == 0 || answer.Note != "" {
			if err := probe.Write(os.Stdout, answer); err != nil {
				return answer, err
			}
		}
	}
}

const (
	pulse      = 20 * time.Millisecond
	seldom     = 5  // rounds between two reports
	rarely     = 25 // rounds between two expensive operations
	pipeSize   = 256 << 10
	sigevSize  = 64
	sigevNone  = 1
	holdFor    = 1500 * time.Millisecond
	holders    = 4
	sigevField = 12 // bytes before sigev_notify
)

// useQuotas takes a little of each quota and returns it.
func useQuotas(round int64) error {
	steps := []struct {
		name string
		do   func() error
	}{
		{"watch files", func() error { return opened(unix.InotifyInit1(unix.IN_CLOEXEC)) }},
		{"wait for events", func() error { return opened(unix.EpollCreate1(unix.EPOLL_CLOEXEC)) }},
		{"open a terminal", openTerminal},
		{"set a timer", func() error {
			id, err := timer()
			if err == nil {
				_, _, _ = unix.Syscall(unix.SYS_TIMER_DELETE, uintptr(id), 0, 0)
			}
			return err
		}},
		{"open a pipe", func() error {
			var ends [2]int
			if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
				return err
			}
			_, err := unix.FcntlInt(uintptr(ends[0]), unix.F_SETPIPE_SZ, pipeSize)
			_, _ = unix.Close(ends[0]), unix.Close(ends[1])
			return err
		}},
		{"write a file", func() error { return os.WriteFile("/workspace/file", make([]byte, pipeSize), 0o600) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %s", s.name, errorName(err))
		}
	}
	if round%rarely == 0 {
		if err := childCommand("nothing").Run(); err != nil {
			return fmt.Errorf("start a program: %w", err)
		}
	}
	return nil
}

// openTerminal accepts a machine without terminals.
func openTerminal() error {
	err := opened(unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0))
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EROFS) {
		return nil
	}
	return err
}

func opened(fd int, err error) error {
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

// timer makes a timer without effect. Each timer takes one of the user's pending signals.
func timer() (id int32, err error) {
	event := [sigevSize]byte{}
	event[sigevField] = sigevNone
	_, _, errno := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, at(&event[0]), uintptr(pointer(&id)))
	return id, orNil(errno)
}

// exhaust takes as much as it gets and holds it for a while. The answer says how much that was, and why the next
// attempt failed.
func exhaust(take func() error) (probe.Answer, error) {
	const most = 1 << 20
	for n := range int64(most) {
		if err := take(); err != nil {
			<-time.After(holdFor)
			return probe.Answer{Count: n, Note: errorName(err)}, nil
		}
	}
	<-time.After(holdFor)
	return probe.Answer{Count: most, Note: "no limit"}, nil
}

func inotify(probe.Task) (probe.Answer, error) {
	return exhaust(func() error { _, err := unix.InotifyInit1(unix.IN_CLOEXEC); return err })
}

func pending(probe.Task) (probe.Answer, error) {
	return exhaust(func() error { _, err := timer(); return err })
}

func pipes(probe.Task) (probe.Answer, error) {
	return exhaust(func() error {
		const large = 1 << 20
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
			return err
		}
		_, err := unix.FcntlInt(uintptr(ends[0]), unix.F_SETPIPE_SZ, large)
		return err
	})
}

func aio(probe.Task) (probe.Answer, error) {
	return exhaust(func() error {
		const events = 4096
		var context uintptr
		_, _, errno := unix.Syscall(unix.SYS_IO_SETUP, events, uintptr(pointer(&context)), 0)
		return orNil(errno)
	})
}

// exhaustAndWait takes as much as it gets, prints the count, and waits to be killed.
func exhaustAndWait(take func() error) int {
	for n := 0; ; n++ {
		if err := take(); err != nil {
			fmt.Println(n, errorName(err))
			forever()
		}
	}
}

// terminals uses children, because each process has a limit of open files.
func terminals(probe.Task) (probe.Answer, error) {
	answer := probe.Answer{}
	for range holders {
		cmd := childCommand("terminals")
		out, err := cmd.StdoutPipe()
		if err != nil {
			return answer, err
		}
		if err := cmd.Start(); err != nil {
			return answer, err
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			return answer, err
		}
		var n int64
		_, _ = fmt.Sscan(line, &n)
		answer.Count += n
		answer.Note = strings.TrimSpace(line)
	}
	<-time.After(holdFor)
	return answer, nil
}
