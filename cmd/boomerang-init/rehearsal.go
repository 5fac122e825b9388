//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"boomerang/internal/journal"
)

const (
	// On a busy machine a job comes soon; a rehearsal would then take processor time from programs and be cut short.
	moment = 250 * time.Millisecond

	// PyTorch, the slowest, takes 2 s of processor time. One that is cut short has brought in the most of its files all the same.
	rehearsalTime = 10 * time.Second
)

// rehearsal runs a program of the image once while the init waits, so that what it loads is near when the job's program
// needs it: the first exec in a new container finds no page and no name of the image in the kernel's caches.
//
// It has the program's place in everything, but nothing to read and nobody to hear it. What it leaves is treated as a
// program's would be: every process is killed, and where it can write is emptied, /dev/shm too. What is no file and no
// process (System V's memory, limits that it sets on the init) is not looked for: the operator chose it, and a rehearsal
// that does such things is to be left out.
type rehearsal struct {
	argv   []string
	places []string
	victim *oomScore
	cut    chan struct{} // closed when there is no more time
	done   chan struct{} // closed when nothing is left of it
}

// rehearse begins to, in a moment; without a program it does nothing.
func rehearse(argv, places []string, score *oomScore) *rehearsal {
	r := &rehearsal{argv: argv, places: places, victim: score, cut: make(chan struct{}), done: make(chan struct{})}
	go r.run()
	return r
}

// end kills what still runs and returns when the container is as it was.
func (r *rehearsal) stop() {
	close(r.cut)
	<-r.done
}

func (r *rehearsal) run() {
	defer close(r.done)
	if len(r.argv) == 0 || r.waitUntilEnd(moment, nil) {
		return
	}
	pid, err := r.start()
	if err != nil {
		return // it would have warmed nothing
	}
	ended := make(chan syscall.WaitStatus, 1)
	alone := make(chan struct{})
	go reap(pid, ended, alone)
	r.waitUntilEnd(rehearsalTime, ended)
	signalAll(syscall.SIGKILL)
	<-alone
	for _, place := range r.places {
		removeContents(place)
	}
}

// over waits, but not longer than until the end, and tells whether it has come before its time.
func (r *rehearsal) waitUntilEnd(d time.Duration, ended <-chan syscall.WaitStatus) bool {
	timer := time.NewTimer(d)
	defer timer.Stop() // an init that waits must not wake up
	select {
	case <-r.cut:
		return true
	case <-ended:
		return true
	case <-timer.C:
		return false
	}
}

func (r *rehearsal) start() (pid int, err error) {
	nothing, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = nothing.Close() }()
	// A home where nothing can be written; and the locale that a job has, whose files would be cold otherwise.
	env := environment(os.Environ(), map[string]string{"HOME": "/nonexistent", "LANG": "C.UTF-8"})
	path, err := lookUp(r.argv[0], env)
	if err != nil {
		return 0, err
	}
	r.victim.raise()
	defer r.victim.restore()
	return syscall.ForkExec(path, r.argv, &syscall.ProcAttr{ //nolint:gosec // the operator chose it
		Dir:   "/",
		Env:   env,
		Files: []uintptr{nothing.Fd(), nothing.Fd(), nothing.Fd()},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
}

// empty removes all that is in a directory, however it was left there. Nobody changes it meanwhile. Directories in it are
// not entered but brought up, so that no path is too long; it ends when nothing more can be removed: mounts.
func removeContents(dir string) {
	_ = os.Chmod(dir, tmpfsMode)
	up, prefix := 0, ".up-"+journal.NewNonce()+"-" // a name that is not taken
	for progress := true; progress; {
		progress = false
		for _, name := range listNames(dir) {
			path := filepath.Join(dir, name)
			if os.Remove(path) == nil {
				progress = true
				continue
			}
			_ = os.Chmod(path, tmpfsMode) // no link: that would be removed
			for _, below := range listNames(path) {
				from := filepath.Join(path, below)
				if os.Remove(from) == nil {
					progress = true
					continue
				}
				_ = os.Chmod(from, tmpfsMode) // its own too, for its .. changes
				up++
				progress = os.Rename(from, filepath.Join(dir, prefix+strconv.Itoa(up))) == nil || progress
			}
		}
	}
}

func listNames(dir string) []string {
	f, err := os.Open(dir) //nolint:gosec // nobody else is there to put anything in its way
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	list, _ := f.Readdirnames(0)
	return list
}
