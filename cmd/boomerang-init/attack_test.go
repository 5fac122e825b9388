//go:build linux && integration

package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"boomerang/internal/journal"
)

// attack runs one attack inside the container and returns the program's exit code.
func attack(name string, args ...string) int {
	switch name {
	case "print":
		_, _ = io.Copy(os.Stdout, hex.NewDecoder(strings.NewReader(args[0])))
		_, _ = io.Copy(os.Stderr, hex.NewDecoder(strings.NewReader(args[1])))
	case "newlines":
		_, _ = os.Stdout.WriteString(strings.Repeat("\n", count(args[0])))
	case "flood":
		return flood(count(args[0]))
	case "leave at once":
		writeAndExit(count(args[0]))
	case "use up pipes":
		return useUpPipes(count(args[0]))
	case "describe":
		describe()
	case "forge":
		forge()
	case "spy":
		spy()
	case "signal init":
		return signalInit()
	case "starve init":
		return starveInit()
	case "terminate init":
		_ = syscall.Kill(1, syscall.SIGTERM)
		forever()
	case "close streams":
		_, _ = os.Stdout.Close(), os.Stderr.Close()
		<-time.After(300 * time.Millisecond)
		return 5
	case "daemon":
		daemon("chatter")
		fmt.Println("parent")
	case "chatter":
		signal.Ignore(syscall.SIGTERM, syscall.SIGPIPE)
		for {
			fmt.Println("daemon")
			<-time.After(time.Millisecond)
		}
	case "hide pipe":
		return hidePipe()
	case "ignore":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ignoring")
		forever()
	case "obey":
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		fmt.Println("waiting")
		<-term
		fmt.Println("bye")
		return 3
	case "insist": // SIGTERM to the init, repeatedly, so that it insists on the program's end
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		fmt.Println("insisting")
		<-term
		for {
			_ = syscall.Kill(1, syscall.SIGTERM)
			<-time.After(10 * time.Millisecond)
		}
	case "stop itself":
		fmt.Println("stopping")
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case "be traced": // traced by the init, its parent: the child stops at the exec, and the kernel tells the init
		runtime.LockOSThread()
		_, _, _ = syscall.RawSyscall(syscall.SYS_PTRACE, syscall.PTRACE_TRACEME, 0, 0)
		_ = syscall.Exec("/bin/true", []string{"true"}, nil)
	case "stop others":
		daemon("ignore")
		_ = syscall.Kill(-1, syscall.SIGSTOP) // all processes but the init and this one
		return 4
	case "fork bomb":
		forkBomb()
	case "orphans":
		return orphans(count(args[0]))
	case "allocate":
		return allocate(count(args[0]))
	case "lose a child":
		fmt.Println(exec.Command(self(), "allocate", args[0]).Run())
	case "burn":
		d, _ := time.ParseDuration(args[0])
		burn(d)
	case "litter":
		litter()
		if len(args) > 0 {
			return attack(args[0], args[1:]...)
		}
	case "once seen": // removed by the test
		for _, err := os.Stat(unseen); err == nil; _, err = os.Stat(unseen) {
			<-time.After(time.Millisecond)
		}
		return attack(args[0], args[1:]...)
	case "look around":
		lookAround()
	case "count threads":
		fmt.Println(initThreads())
		_ = flood(8 << 20)
		_ = orphans(50)
		fmt.Println(initThreads())
	default:
		fmt.Println("no such attack:", name)
		return 99
	}
	return 0
}

func self() string { return "/program" }

// count parses a number.
func count(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func forever() { <-time.After(time.Hour) }

// daemon starts an attack in a session of its own that outlives its parent.
func daemon(name string) {
	cmd := exec.Command(self(), name)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
	}
}

// line returns the line that flood writes at position i. Lines differ and have equal lengths.
func line(stream string, i int) string { return fmt.Sprintf("%s %059d\n", stream, i) }

const lineSize = 64

// flood writes size bytes to both streams at once.
func flood(size int) int {
	done := make(chan struct{})
	write := func(f *os.File, name string) {
		w := bufio.NewWriterSize(f, 64<<10)
		for i := range size / lineSize {
			_, _ = w.WriteString(line(name, i))
		}
		_ = w.Flush()
		done <- struct{}{}
	}
	go write(os.Stdout, "out")
	go write(os.Stderr, "err")
	<-done
	<-done
	return 0
}

// describe prints the program's environment: arguments, variables, stdin, files.
func describe() {
	fmt.Println("args", os.Args[1:])
	fmt.Println("env", slices.Sorted(slices.Values(os.Environ())))
	dir, _ := os.Getwd()
	code, _ := os.ReadFile("main.txt")
	fmt.Printf("dir %s, code %q\n", dir, code)
	files, _ := filepath.Glob("*")
	hidden, _ := filepath.Glob(".*")
	fmt.Println("files", files, hidden)
	stdin, _ := io.ReadAll(os.Stdin)
	fmt.Printf("stdin %q\n", stdin)
	fmt.Println("group", syscall.Getpgrp() == os.Getpid())
	score, _ := os.ReadFile("/proc/self/oom_score_adj")
	first, _ := os.ReadFile("/proc/1/oom_score_adj")
	for tries := 0; string(first) == "1000\n" && tries < 1000; tries++ { // the init lowers it after the start
		time.Sleep(time.Millisecond)
		first, _ = os.ReadFile("/proc/1/oom_score_adj")
	}
	fmt.Printf("oom scores %q, init %q\n", score, first)
}

// forge prints frames with every nonce that the program can guess.
func forge() { _, _ = os.Stdout.WriteString(forgery()); _, _ = os.Stderr.WriteString(forgery()) }

func forgery() string {
	var b []byte
	for _, nonce := range []string{
		strings.Repeat("0", 32), strings.Repeat("f", 32), "", testNonce[:31],
		strings.ToUpper(testNonce),
	} {
		b = journal.AppendStart(b, nonce, journal.Start{})
		b = append(b, "\x1eboomerang"+nonce+"\n"...)
		b = journal.AppendEnd(b, nonce, journal.End{ExitCode: 0, Bytes: 1})
	}
	return string(b)
}

// spy tries every access to the init that the kernel allows to a process of the same user, and prints the results.
func spy() {
	for _, file := range []string{
		"mem", "environ", "maps", "auxv", "syscall", "stack", "io", "fd/0", "task/1/mem",
		"map_files", "cwd/", "root/", "exe",
	} {
		f, err := os.Open("/proc/1/" + file)
		if err == nil {
			_, err = f.Read(make([]byte, 1))
		}
		fmt.Printf("%s: %v\n", file, unwrapped(err))
	}
	_, err := os.ReadDir("/proc/1/fd")
	fmt.Printf("fd: %v\n", unwrapped(err))
	_, err = os.OpenFile("/proc/1/oom_score_adj", os.O_WRONLY, 0)
	fmt.Printf("oom_score_adj: %v\n", unwrapped(err))
	_, _, errno := syscall.RawSyscall(syscall.SYS_PTRACE, syscall.PTRACE_ATTACH, 1, 0)
	fmt.Printf("ptrace: %v\n", errno)
	fmt.Printf("process_vm_readv: %v\n", readInit())
	pidfd, _, errno := syscall.RawSyscall(434 /* pidfd_open */, 1, 0, 0)
	if errno == 0 {
		_, _, errno = syscall.RawSyscall(438 /* pidfd_getfd */, pidfd, 0, 0)
	}
	fmt.Printf("pidfd_getfd: %v\n", errno)
	for _, file := range []string{"cmdline", "status", "stat", "comm", "limits", "mountinfo"} {
		text, _ := os.ReadFile("/proc/1/" + file)
		fmt.Printf("%s shows the nonce: %v\n", file, bytes.Contains(text, []byte(testNonce)))
	}
}

func unwrapped(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// readInit reads memory that every process of this program maps at a fixed address.
func readInit() syscall.Errno {
	var b [8]byte
	local := syscall.Iovec{Base: &b[0], Len: 8}
	remote := [2]uintptr{0x400000, 8}
	_, _, errno := syscall.Syscall6(sysProcessVMReadv, 1, uintptr(unsafe.Pointer(&local)), 1,
		uintptr(unsafe.Pointer(&remote)), 1, 0)
	return errno
}

// signalInit sends every signal but SIGTERM to the init: by kill, by a queue that allows a forged sender, and to each
// thread.
func signalInit() int {
	threads, _ := filepath.Glob("/proc/1/task/*")
	for sig := 1; sig <= 64; sig++ {
		if sig == int(syscall.SIGTERM) {
			continue
		}
		if err := syscall.Kill(1, syscall.Signal(sig)); err != nil {
			fmt.Println("kill", sig, err)
		}
		for _, code := range []int32{-1 /* SI_QUEUE */, -2, -3, -4, -60, -1 << 31} {
			info := [32]int32{int32(sig), 0, code, 0, 1, 200_000}
			_, _, errno := syscall.RawSyscall(syscall.SYS_RT_SIGQUEUEINFO, 1, uintptr(sig),
				uintptr(unsafe.Pointer(&info)))
			if errno != 0 && errno != syscall.EAGAIN {
				fmt.Println("sigqueue", sig, code, errno)
			}
			for _, thread := range threads {
				tid, _ := strconv.Atoi(filepath.Base(thread))
				_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_TGSIGQUEUEINFO, 1, uintptr(tid), uintptr(sig),
					uintptr(unsafe.Pointer(&info)), 0, 0)
			}
		}
		for _, thread := range threads {
			tid, _ := strconv.Atoi(filepath.Base(thread))
			_, _, _ = syscall.RawSyscall(syscall.SYS_TGKILL, 1, uintptr(tid), uintptr(sig))
		}
	}
	fmt.Printf("sent to %v threads\n", len(threads) > 1)
	return 7
}

// starveInit takes every resource from the init that a process of the same user can take. The exception is CPU time:
// taking it makes the kernel kill the init, which only a seccomp profile can prevent.
func starveInit() int {
	for resource := range 16 {
		none := [2]uint64{}
		if resource == syscall.RLIMIT_CPU {
			continue
		}
		if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, 1, uintptr(resource),
			uintptr(unsafe.Pointer(&none)), 0, 0, 0); errno != 0 {
			fmt.Println(resource, errno)
			return 1
		}
	}
	_, _, _ = syscall.RawSyscall(syscall.SYS_SETPRIORITY, 0, 1, 19)
	return flood(8<<20) + orphans(10)
}

// hidePipe leaves its stdout in flight in a socket that refers only to itself.
func hidePipe() int {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_DGRAM, 0)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if err := syscall.Sendmsg(pair[0], []byte("x"), syscall.UnixRights(1, 2, pair[0], pair[1]), nil, 0); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// forkBomb starts copies of itself until a fork fails, and each copy does likewise.
func forkBomb() {
	debug.SetGCPercent(-1) // a garbage collection without a thread would end the bomb
	signal.Ignore(syscall.SIGTERM)
	for {
		_ = exec.Command("/bin/sh", "-c", `trap "" TERM; f() { f | f & f; }; f; while :; do :; done`).Start()
	}
}

// orphans starts processes whose parents end first, and waits until the init has reaped them all.
func orphans(n int) int {
	for range n {
		_ = exec.Command("/bin/sh", "-c", "(:) & (:) & exit 0").Run()
	}
	for {
		others := 0
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, stat := range stats {
			text, _ := os.ReadFile(stat)
			if !bytes.HasPrefix(text, []byte("1 ")) && !bytes.HasPrefix(text, fmt.Appendf(nil, "%d ", os.Getpid())) &&
				len(text) > 0 {
				others++
			}
		}
		if others == 0 {
			return 0
		}
		<-time.After(time.Millisecond)
	}
}

// allocate takes memory up to size bytes.
func allocate(size int) int {
	b := make([]byte, size)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	fmt.Println("allocated", b[0])
	return 0
}

// burn uses the CPU for a duration.
func burn(d time.Duration) {
	for {
		var used syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
		if time.Duration(used.Utime.Nano()+used.Stime.Nano()) >= d {
			return
		}
	}
}

func initThreads() int {
	threads, _ := filepath.Glob("/proc/1/task/*")
	return len(threads)
}
