//go:build linux && integration

package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"boomerang/internal/journal"
)

// unseen exists until the test has seen the litter.
var unseen = filepath.Join(writable[0], "unseen")

// litter leaves every kind of file and process, and prints that it has.
func litter() {
	fmt.Println("a rehearsal must not be heard")
	fmt.Fprintln(os.Stderr, "a rehearsal must not be heard")
	must := func(err error) {
		if err != nil {
			_ = os.WriteFile(filepath.Join(writable[0], "litter"), []byte(err.Error()), 0o600)
			os.Exit(1)
		}
	}
	if heard, err := io.ReadAll(os.Stdin); err != nil || len(heard) > 0 { // the job arrives on stdin
		must(fmt.Errorf("it reads %q, %w", heard, err))
	}
	for _, place := range writable {
		must(os.Chdir(place))
		must(os.WriteFile(".hidden", []byte("x"), 0))
		must(os.Symlink("/workspace", "link"))
		must(os.Symlink("no such", "dangling"))
		must(syscall.Mkfifo("pipe", 0))
		socket, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		must(err)
		must(syscall.Bind(socket, &syscall.SockaddrUnix{Name: "socket"}))
		must(os.Link(".hidden", "again"))
		must(os.MkdirAll("closed/within/deeper", 0o700))
		must(os.WriteFile("closed/within/file", nil, 0))
		must(os.WriteFile("closed/file", nil, 0))
		must(os.Chmod("closed/within/deeper", 0))
		must(os.Chmod("closed/within", 0o500|fs.ModeSticky))
		must(os.Chmod("closed", 0o100))
		for range 2000 { // a path of 8000 bytes, and more directories than files that may be open
			must(os.Mkdir("abc", 0o700))
			must(os.Chdir("abc"))
		}
		must(os.Chdir(place))
		must(os.Chmod(place, 0o777|fs.ModeSticky))
	}
	daemon("ignore")
	daemon("chatter")
	must(os.Chdir("/"))
	must(os.WriteFile(unseen, nil, 0o600))
	must(os.WriteFile(filepath.Join(writable[0], "litter"), nil, 0o600))
	must(os.Chmod(writable[1], 0))
}

// lookAround prints the differences from a new container.
func lookAround() {
	for _, place := range writable {
		info, err := os.Stat(place)
		fmt.Println(place, info.Mode(), err)
		_ = filepath.WalkDir(place, func(path string, d fs.DirEntry, err error) error {
			if path != place {
				fmt.Println(path, d.Type(), err)
			}
			return nil
		})
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	fmt.Println("processes", len(processes))
}

const newContainer = `/workspace drwx------ <nil>
/workspace/main.txt ---------- <nil>
/tmp drwx------ <nil>
/dev/shm drwx------ <nil>
processes 2
`

// awaitLitter waits until a rehearsal has littered, or until its litter is gone.
func awaitLitter(r *running, there bool) {
	r.t.Helper()
	path := fmt.Sprintf("/proc/%d/root%s/litter", r.cmd.Process.Pid, writable[0])
	late := time.Now().Add(time.Minute)
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		if time.Now().After(late) {
			r.t.Fatalf("after a minute the litter is there = %t, want %t", !there, there)
		}
		text, err := os.ReadFile(path)
		if (err == nil) == there {
			_ = os.Remove(fmt.Sprintf("/proc/%d/root%s", r.cmd.Process.Pid, unseen))
			return
		}
		if len(text) > 0 {
			r.t.Fatalf("the rehearsal cannot litter: %s", text)
		}
	}
}

func TestNothingOfARehearsalIsFound(t *testing.T) {
	for name, rehearsal := range map[string][]string{
		"it is over":        {"litter", "once seen", "close streams"},
		"it is under way":   {"litter", "ignore"},
		"it has forked":     {"litter", "fork bomb"},
		"it begins just so": {"look around"},
	} {
		t.Run(name, func(t *testing.T) {
			r := box{Rehearsal: rehearsal, PIDs: 32 + journal.Threads}.start(t)
			if rehearsal[0] == "litter" {
				awaitLitter(r, true)
			}
			if rehearsal[len(rehearsal)-1] == "close streams" {
				awaitLitter(r, false)
			}
			r.send(attacker("look around"))
			res := r.wait()
			end := res.proven(t)
			if res.out != newContainer || res.err != "" || end.ExitCode != 0 {
				t.Errorf("got %s and %q, %+v; want\n%s", res.out, res.err, end, newContainer)
			}
			if !bytes.HasPrefix(res.rawErr, journal.AppendStart(nil, testNonce, *res.start)) {
				t.Errorf("stderr does not begin with the start frame: %.200q", res.rawErr)
			}
		})
	}
}

func TestARehearsalTakesNoThread(t *testing.T) {
	r := box{Rehearsal: []string{"litter", "fork bomb"}, PIDs: 32 + journal.Threads}.start(t)
	awaitLitter(r, true)
	r.send(attacker("count threads"))
	res := r.wait()
	res.proven(t)
	lines := strings.Split(res.out, "\n")
	before, err := strconv.Atoi(lines[0])
	if after := lines[len(lines)-2]; err != nil || after != lines[0] || before > journal.Threads {
		t.Errorf("got %s threads, then %s, want as many and at most %d", lines[0], after, journal.Threads)
	}
}

func TestTheUsageOfARehearsalIsNotTheProgramsOwn(t *testing.T) {
	r := box{Rehearsal: []string{"litter", "once seen", "burn", "2s"}}.start(t)
	awaitLitter(r, true)
	awaitLitter(r, false)
	r.send(attacker("print", "", ""))
	if end := r.wait().proven(t); end.CPUTime >= time.Second {
		t.Errorf("processor time: got %v, want the program's alone", end.CPUTime)
	}
	for program, want := range map[string]bool{"16777216": false, "268435456": true} {
		r := box{Rehearsal: []string{"litter", "once seen", "lose a child", "268435456"}, Memory: 64 << 20}.start(t)
		awaitLitter(r, true)
		awaitLitter(r, false)
		r.send(attacker("lose a child", program))
		if end := r.wait().proven(t); end.OutOfMem != want {
			t.Errorf("%s bytes: out of memory = %t, want %t", program, end.OutOfMem, want)
		}
	}
}

func TestInitWithoutAJobLeavesWhileItRehearses(t *testing.T) {
	for name, leave := range map[string]func(*running){
		"EOF":     func(r *running) { _ = r.job.Close() },
		"SIGTERM": func(r *running) { r.stop(); _, _ = r.stdout.Read(make([]byte, 1)) },
	} {
		r := box{Rehearsal: []string{"litter", "ignore"}}.start(t)
		awaitLitter(r, true)
		leave(r)
		res := r.wait()
		if len(res.rawOut) != 0 || len(res.rawErr) != 0 || res.code != journal.ExitNoJob {
			t.Errorf("%s: got %q, %q and exit code %d, want nothing and %d", name, res.rawOut, res.rawErr, res.code,
				journal.ExitNoJob)
		}
	}
}

func TestARehearsalDoesNotGoOnForEver(t *testing.T) {
	t.Parallel()
	r := box{Rehearsal: []string{"litter", "ignore"}}.start(t)
	awaitLitter(r, true)
	awaitLitter(r, false)
	r.send(attacker("look around"))
	if res := r.wait(); res.out != newContainer {
		t.Errorf("got %s; want\n%s", res.out, newContainer)
	}
}
