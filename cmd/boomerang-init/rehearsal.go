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
	// On a busy machine a job arrives soon. A rehearsal would then take CPU time from programs and be cut short.
	rehearsalDelay = 250 * time.Millisecond

	// PyTorch, the slowest, takes 2 s of CPU time. Even a rehearsal that is cut short has loaded most of its files.
	rehearsalTime = 10 * time.Second
)

// rehearsal runs a program of the image once while the init waits, so that its files are in the kernel's caches when
// the job's program needs them. The first exec in a new container finds no page and no name of the image there.
//
// The rehearsal runs like the program, but with nothing on stdin, and its output is dropped. Its remains are treated
// like a program's: every process is killed, and all writable directories are emptied, including /dev/shm. Other
// remains, such as System V shared memory or changed limits of the init, are not removed. The operator chose the
// command, and a command with such effects is unsuitable.
type rehearsal struct {
	argv   []string
	places []string
	victim *oomScore
	cut    chan struct{} // closed when the time is over
	done   chan struct{} // closed when no process and no file is left
}

// rehearse starts the rehearsal after a moment. Without a command it does nothing.
func rehearse(argv, places []string, score *oomScore) *rehearsal {
	r := &rehearsal{argv: argv, places: places, victim: score, cut: make(chan struct{}), done: make(chan struct{})}
	go r.run()
	return r
}

// stop kills a running rehearsal and returns when its processes and files are gone.
func (r *rehearsal) stop() {
	close(r.cut)
	<-r.done
}

func (r *rehearsal) run() {
	defer close(r.done)
	if len(r.argv) == 0 || r.waitUntilEnd(rehearsalDelay, nil) {
		return
	}
	pid, err := r.start()
	if err != nil {
		return // a command that cannot start warms nothing
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

// waitUntilEnd waits for the end of the rehearsal for at most d. It reports whether the end came in time.
func (r *rehearsal) waitUntilEnd(d time.Duration, ended <-chan syscall.WaitStatus) bool {
	timer := time.NewTimer(d)
	defer timer.Stop() // a waiting init must not wake up
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
	// The home directory is not writable. The locale is that of a job, whose files would be cold otherwise.
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

// removeContents removes everything in a directory, whatever its modes. No other process changes the directory. The
// function moves nested directories up instead of entering them, so that no path is too long. It ends when nothing more
// can be removed: mounts remain.
func removeContents(dir string) {
	_ = os.Chmod(dir, tmpfsMode)
	up, prefix := 0, ".up-"+journal.NewNonce()+"-" // an unused name
	for progress := true; progress; {
		progress = false
		for _, name := range listNames(dir) {
			path := filepath.Join(dir, name)
			if os.Remove(path) == nil {
				progress = true
				continue
			}
			_ = os.Chmod(path, tmpfsMode) // not a link, which Remove would have removed
			for _, below := range listNames(path) {
				from := filepath.Join(path, below)
				if os.Remove(from) == nil {
					progress = true
					continue
				}
				_ = os.Chmod(from, tmpfsMode) // renaming a directory changes its .. entry, which needs write permission
				up++
				progress = os.Rename(from, filepath.Join(dir, prefix+strconv.Itoa(up))) == nil || progress
			}
		}
	}
}

func listNames(dir string) []string {
	f, err := os.Open(dir) //nolint:gosec // no other process can change the directory
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	list, _ := f.Readdirnames(0)
	return list
}
