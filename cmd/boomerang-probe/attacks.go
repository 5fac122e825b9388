//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"boomerang/internal/journal"
	"boomerang/internal/probe"
)

// attacks are the attacks that have a container to themselves.
var attacks = map[probe.Attack]func(probe.Task) (probe.Answer, error){
	probe.Neighbour:   neighbour,
	probe.Pause:       pause,
	probe.Spy:         spy,
	probe.Forge:       forge,
	probe.SignalInit:  signalInit,
	probe.EndInit:     endInit,
	probe.Ignore:      ignore,
	probe.Freeze:      freeze,
	probe.Daemon:      daemon,
	probe.Orphans:     orphans,
	probe.Zombies:     zombies,
	probe.ForkBomb:    forkBomb,
	probe.Memory:      func(probe.Task) (probe.Answer, error) { return probe.Answer{}, takeMemory() },
	probe.ChildMemory: childMemory,
	probe.Memfd:       memfd,
	probe.Bytes:       func(task probe.Task) (probe.Answer, error) { return fillAll(task, "bytes") },
	probe.Inodes:      func(task probe.Task) (probe.Answer, error) { return fillAll(task, "inodes") },
	probe.Spin:        spin,
	probe.Flood:       func(probe.Task) (probe.Answer, error) { return flood(strings.Repeat("x", blockSize-1) + "\n") },
	probe.Newlines:    func(probe.Task) (probe.Answer, error) { return flood(strings.Repeat("\n", blockSize)) },
	probe.Inotify:     inotify,
	probe.Pending:     pending,
	probe.Pipes:       pipes,
	probe.Terminals:   terminals,
	probe.AIO:         aio,
}

// childCommand starts this program as a child with one task.
func childCommand(what string) *exec.Cmd { return exec.Command(os.Args[0], os.Args[1], what) }

// child runs the task that a parent started it for.
func child(what string) int {
	how, path, _ := strings.Cut(what, ":")
	switch how {
	case "eat":
		return code(takeMemory())
	case "deaf":
		signal.Ignore()
		fmt.Println("deaf")
		forever()
	case "bytes", "inodes":
		n, err := fill(path, how)
		fmt.Printf("%d %s", n, errorName(err))
	case "terminals":
		return exhaustAndWait(func() error {
			_, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY,
				0)
			return err
		})
	case "nothing":
	}
	return 0
}

func code(err error) int {
	if err != nil {
		return 1
	}
	return 0
}

func forever() { <-time.After(time.Hour) }

// rawFork makes a child by a bare system call. The child may only make bare system calls, and must exit by one.
func rawFork() (pid int, errno syscall.Errno) {
	r, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	return int(r), errno
}

func exitNow(code uintptr) { _, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, code, 0, 0) }

// pause is the harmless program that attacks are compared with.
func pause(probe.Task) (probe.Answer, error) {
	<-time.After(time.Second)
	return probe.Answer{}, nil
}

// spy prints all text that it can find about its own execution. The nonce must not appear in it.
func spy(probe.Task) (probe.Answer, error) {
	seen := int64(0)
	for _, pattern := range []string{
		"/proc/[0-9]*/environ", "/proc/[0-9]*/cmdline", "/proc/[0-9]*/maps", "/proc/[0-9]*/stat", "/proc/[0-9]*/auxv",
		"/proc/[0-9]*/comm", "/proc/[0-9]*/mountinfo", "/workspace/*", "/workspace/.*", "/tmp/*", "/dev/shm/*",
		"/run/*",
	} {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			if text, err := os.ReadFile(path); err == nil {
				seen++
				fmt.Printf("%s: %q\n", path, text)
			}
		}
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, path := range links {
		target, err := os.Readlink(path)
		fmt.Println(path, target, errorName(err))
	}
	return probe.Answer{Count: seen}, nil
}

// forge prints forged ends of both streams, with guessed nonces, and exits with 7.
func forge(probe.Task) (probe.Answer, error) {
	for _, digit := range []string{"0", "f"} {
		frame := journal.AppendEnd(nil, strings.Repeat(digit, 32), journal.End{ExitCode: 0, EndedAt: time.Now()})
		_, _ = os.Stdout.Write(frame)
		_, _ = os.Stderr.Write(frame)
	}
	fmt.Println("after the forged end")
	os.Exit(7)
	return probe.Answer{}, nil
}

// signalInit sends PID 1 every signal except SIGTERM, by which a program may end itself.
func signalInit(probe.Task) (probe.Answer, error) {
	var taken int64
	for s := syscall.Signal(1); s <= 64; s++ {
		if s != syscall.SIGTERM && syscall.Kill(1, s) == nil {
			taken++
		}
	}
	<-time.After(200 * time.Millisecond)
	return probe.Answer{Count: taken, Note: "state of PID 1: " + status("1", "State")}, nil
}

func endInit(probe.Task) (probe.Answer, error) {
	err := syscall.Kill(1, syscall.SIGTERM)
	forever()
	return probe.Answer{}, err
}

func ignore(probe.Task) (probe.Answer, error) {
	signal.Ignore()
	forever()
	return probe.Answer{}, nil
}

func freeze(probe.Task) (probe.Answer, error) {
	if err := childCommand("deaf").Start(); err != nil {
		return probe.Answer{}, err
	}
	_ = syscall.Kill(-1, syscall.SIGSTOP) // all processes but PID 1 and this one
	_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	forever()
	return probe.Answer{}, nil
}

// daemon leaves a child in a session of its own that keeps stdout open and ignores signals.
func daemon(probe.Task) (probe.Answer, error) {
	cmd := childCommand("deaf")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err := cmd.Start()
	<-time.After(200 * time.Millisecond)
	return probe.Answer{Count: 1}, err
}

// orphans makes more orphans than the limit of processes, so PID 1 must reap them in between.
func orphans(task probe.Task) (probe.Answer, error) {
	want := 4*task.Limits.PIDs + 100
	for made := range want {
		pid, errno := rawFork()
		if errno == 0 && pid == 0 {
			if pid, errno := rawFork(); errno == 0 && pid == 0 {
				exitNow(0)
			}
			exitNow(0)
		}
		if errno != 0 {
			return probe.Answer{Count: made, Note: errorName(errno)}, nil
		}
		_, _ = unix.Wait4(pid, nil, 0, nil)
	}
	return probe.Answer{Count: want}, nil
}

// zombies makes children that exit, and waits for none.
func zombies(task probe.Task) (probe.Answer, error) {
	for made := range 10 * task.Limits.PIDs {
		pid, errno := rawFork()
		if errno == 0 && pid == 0 {
			exitNow(0)
		}
		if errno != 0 {
			return probe.Answer{Count: made, Note: errorName(errno)}, nil
		}
	}
	return probe.Answer{Count: 10 * task.Limits.PIDs, Note: "no limit"}, nil
}

const bombFor = 2 * time.Second

// forkBomb makes processes that make processes. The answer counts the processes at the end.
func forkBomb(probe.Task) (probe.Answer, error) {
	pid, errno := rawFork()
	if errno == 0 && pid == 0 {
		for {
			_, _ = rawFork()
		}
	}
	<-time.After(bombFor)
	found, err := filepath.Glob("/proc/[0-9]*")
	return probe.Answer{Count: int64(len(found))}, errors.Join(err, orNil(errno))
}

const chunk = 16 << 20

// takeMemory takes memory until it is killed or refused, and prints its size after each chunk.
func takeMemory() error {
	for taken := int64(chunk); ; taken += chunk {
		page, err := unix.Mmap(-1, 0, chunk, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		touch(page)
		if err := probe.Write(os.Stdout, probe.Answer{Count: taken}); err != nil {
			return err
		}
	}
}

func touch(memory []byte) {
	for i := 0; i < len(memory); i += os.Getpagesize() {
		memory[i] = 1
	}
}

func childMemory(probe.Task) (probe.Answer, error) {
	err := childCommand("eat").Run()
	if err == nil {
		return probe.Answer{Note: "the child exited normally"}, nil
	}
	return probe.Answer{Note: "the child: " + err.Error()}, nil
}

// memfd takes memory that is not mapped to an address.
func memfd(probe.Task) (probe.Answer, error) {
	fd, err := unix.MemfdCreate("probe", 0)
	if err != nil {
		return probe.Answer{}, err
	}
	block := make([]byte, chunk)
	for taken := int64(chunk); ; taken += chunk {
		if _, err := unix.Write(fd, block); err != nil {
			return probe.Answer{Note: errorName(err)}, nil
		}
		if err := probe.Write(os.Stdout, probe.Answer{Count: taken}); err != nil {
			return probe.Answer{}, err
		}
	}
}

// fillAll fills each writable file system in a child, which may die, and empties it again.
func fillAll(task probe.Task, how string) (probe.Answer, error) {
	places, _ := writable()
	bound := task.Limits.Memory + task.Limits.Workspace + task.Limits.Tmp
	var said []string
	unbounded := int64(0)
	for _, p := range places {
		folder, err := os.MkdirTemp(p.path, ".fill-*")
		if err != nil {
			folder = p.path // the file system has no directories, such as mqueue
		}
		out, err := childCommand(how + ":" + folder).Output()
		count, end, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
		taken, _ := strconv.ParseInt(count, 10, 64)
		switch {
		case err != nil:
			end = "killed: " + err.Error()
		case end == noError || how == "bytes" && taken > bound:
			unbounded++
			end = "no limit"
		}
		if how == "bytes" {
			count = fmt.Sprintf("%d MiB", taken>>20)
		}
		said = append(said, strings.TrimSpace(fmt.Sprintf("%s %s, %s", p.path, count, end)))
		if folder != p.path {
			_ = os.RemoveAll(folder)
		}
	}
	return probe.Answer{Count: unbounded, Note: strings.Join(said, "; ")}, nil
}

// noError is errorName(nil): fill gave up before the file system was full.
const noError = "done"

const mostBytes = 4 << 30

// fill writes one file as large as possible, or as many files as possible.
func fill(folder, how string) (int64, error) {
	if how == "inodes" {
		for n := range int64(mostInodes) {
			fd, err := unix.Open(folder+"/"+strconv.FormatInt(n, 36), unix.O_CREAT|unix.O_WRONLY, 0o600)
			if err != nil {
				return n, err
			}
			_ = unix.Close(fd)
		}
		return mostInodes, nil
	}
	f, err := os.Create(filepath.Join(folder, "file"))
	if err != nil {
		return 0, err
	}
	block := make([]byte, 1<<20)
	for taken := int64(0); taken < mostBytes; {
		n, err := f.Write(block)
		taken += int64(n)
		if err != nil {
			return taken, errors.Join(errors.Unwrap(err), f.Close())
		}
	}
	return mostBytes, f.Close()
}

// spin keeps more CPUs busy than its limit.
func spin(task probe.Task) (probe.Answer, error) {
	end := time.Now().Add(bombFor)
	busy := int(task.Limits.CPUs) + 3
	runtime.GOMAXPROCS(busy) // by default the runtime would respect the quota
	done := make(chan struct{}, busy)
	for range busy {
		go func() {
			for time.Now().Before(end) {
			}
			done <- struct{}{}
		}()
	}
	for range busy {
		<-done
	}
	return probe.Answer{Count: int64(busy)}, nil
}

const (
	blockSize = 64 << 10
	floodSize = 32 << 20 // bytes per stream
)

// flood writes the block repeatedly to both streams.
func flood(block string) (probe.Answer, error) {
	done := make(chan error, 1)
	write := func(f *os.File) {
		var err error
		for n := 0; n < floodSize && err == nil; n += len(block) {
			_, err = f.WriteString(block)
		}
		done <- err
	}
	go write(os.Stdout)
	go write(os.Stderr)
	err := errors.Join(<-done, <-done)
	return probe.Answer{Count: floodSize}, err
}
