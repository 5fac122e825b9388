//go:build linux && integration

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"boomerang/internal/journal"
)

// These tests run the real init as PID 1 of its own namespaces. They need root, but no Docker. An environment variable
// selects the role of the test binary: the tests, the box that becomes a container, the attacking program inside, and a
// process that uses the init's preallocated memory.
const roleVariable = "BOOMERANG_INIT_TEST"

var initBinary string // TestMain builds it once

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "box":
		fmt.Fprintln(os.Stderr, "box:", becomeContainer())
		os.Exit(125)
	case "program":
		os.Exit(attack(os.Args[1], os.Args[2:]...))
	case "stock":
		if err := liveOnStock(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "boomerang-init")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	initBinary = filepath.Join(dir, "boomerang-init")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", initBinary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the init: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// box describes a container. The zero value has no limits.
type box struct {
	Root   string   // directory of its file system
	UID    int      // different from every other box
	Memory int64    // bytes; 0 means no limit
	PIDs   int      // 0 means no limit
	Env    []string // the image's environment
	// Rehearsal is one of the attacks. With it, the writable directories are file systems of their own.
	Rehearsal []string
	Program   string // the test binary
	Init      string
	Cgroup    string // name of its control groups
}

// writable are the writable directories of a box with a rehearsal.
var writable = []string{"/workspace", "/tmp", "/dev/shm"}

var boxes atomic.Int32

// running is a container whose init waits for a job, or has one.
type running struct {
	t              *testing.T
	cmd            *exec.Cmd
	uid            int
	job            *os.File
	stdout, stderr *os.File
}

// start starts a container; the test destroys it at its end.
func (b box) start(t *testing.T) *running {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests need root to make namespaces")
	}
	b.UID = 200_000 + int(boxes.Add(1))
	b.Cgroup = fmt.Sprintf("boomerang-init-test-%d-%d", os.Getpid(), b.UID)
	b.Root = t.TempDir()
	b.Init = initBinary
	var err error
	if b.Program, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	makeCgroups(t, b)

	r := &running{t: t, uid: b.UID, cmd: exec.Command(b.Program, string(text))}
	r.cmd.Env = []string{roleVariable + "=box"}
	r.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC |
			syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS,
		Pdeathsig: syscall.SIGKILL,
	}
	var theirs [3]*os.File
	theirs[0], r.job = pipe(t)
	r.stdout, theirs[1] = pipe(t)
	r.stderr, theirs[2] = pipe(t)
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = theirs[0], theirs[1], theirs[2]
	r.cmd.ExtraFiles = []*os.File{theirs[0]} // a file that is left open by mistake
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range theirs {
		_ = f.Close()
	}
	tooLong := time.AfterFunc(2*time.Minute, func() {
		t.Errorf("the container has not ended within two minutes")
		_ = r.cmd.Process.Kill()
	})
	t.Cleanup(func() {
		tooLong.Stop()
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
	})
	return r
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

func (r *running) send(j journal.Job) {
	r.t.Helper()
	if err := journal.WriteJob(r.job, j); err != nil {
		r.t.Fatal(err)
	}
}

// stop sends SIGTERM to the init, from outside.
func (r *running) stop() {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
}

// result holds the outcome of a container.
type result struct {
	code           int    // the init's exit code
	rawOut, rawErr []byte // the logs of both streams
	out, err       string // the program's output
	start          *journal.Start
	endOut, endErr *journal.End
}

// wait reads the logs to their ends.
func (r *running) wait() result {
	r.t.Helper()
	_ = r.job.Close()
	var res result
	var logs sync.WaitGroup
	logs.Go(func() { res.rawOut, _ = io.ReadAll(r.stdout) })
	logs.Go(func() { res.rawErr, _ = io.ReadAll(r.stderr) })
	logs.Wait()
	var exit *exec.ExitError
	if err := r.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	res.code = r.cmd.ProcessState.ExitCode()
	var out, err bytes.Buffer
	ofOut, ofErr := journal.NewSplitter(testNonce, &out), journal.NewSplitter(testNonce, &err)
	_, _ = ofOut.Write(res.rawOut)
	_, _ = ofErr.Write(res.rawErr)
	res.out, res.err = out.String(), err.String()
	res.start, res.endOut, res.endErr = ofErr.Start(), ofOut.End(), ofErr.End()
	return res
}

// proven fails the test unless the journal is whole. It returns the end of stdout.
func (res result) proven(t *testing.T) journal.End {
	t.Helper()
	if res.code != 0 || res.start == nil || res.endOut == nil || res.endErr == nil {
		t.Fatalf("the journal is not whole: exit code %d, start %v, ends %v and %v; stderr %.500q", res.code, res.start,
			res.endOut, res.endErr, res.err)
	}
	for _, e := range []*journal.End{res.endOut, res.endErr} {
		if e.EndedAt.Before(e.StartedAt) || e.Elapsed < 0 {
			t.Errorf("the times are not in order: %+v", e)
		}
	}
	if same := *res.endErr; same.ExitCode != res.endOut.ExitCode || same.Signal != res.endOut.Signal ||
		same.TimedOut != res.endOut.TimedOut {
		t.Errorf("the ends differ: %+v and %+v", res.endOut, res.endErr)
	}
	return *res.endOut
}

// run runs one job in a new container and waits for its end.
func (b box) run(t *testing.T, j journal.Job) result {
	t.Helper()
	r := b.start(t)
	r.send(j)
	return r.wait()
}

// command is a job that runs a program of the system.
func command(argv ...string) journal.Job {
	return journal.Job{
		Nonce: testNonce, File: "main.txt", Code: "the code\n", Argv: argv, Dir: "/workspace",
		Timeout: time.Minute, Grace: 10 * time.Second, Head: 1 << 20, Tail: 64 << 10,
	}
}

// attacker is a job that runs one of the attacks.
func attacker(name string, args ...string) journal.Job {
	j := command(append([]string{"/program", name}, args...)...)
	j.Env = map[string]string{roleVariable: "program"}
	return j
}

// cgroupDirs returns the control groups of a box: one in version 2, one for each controller in version 1.
func cgroupDirs(name string) map[string]string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return map[string]string{"": filepath.Join("/sys/fs/cgroup", name)}
	}
	dirs := make(map[string]string)
	for _, controller := range []string{"memory", "pids", "cpuacct"} {
		dirs[controller] = filepath.Join("/sys/fs/cgroup", controller, name)
	}
	return dirs
}

func makeCgroups(t *testing.T, b box) {
	t.Helper()
	set := func(path, value string) {
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	dirs := cgroupDirs(b.Cgroup)
	for controller, dir := range dirs {
		if controller == "" {
			set("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids +cpu")
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
	}
	memory, pids := strconv.FormatInt(b.Memory, 10), strconv.Itoa(b.PIDs)
	if b.Memory > 0 {
		if dir, v2 := dirs[""]; v2 {
			set(dir+"/memory.max", memory)
			set(dir+"/memory.swap.max", "0")
		} else {
			set(dirs["memory"]+"/memory.limit_in_bytes", memory)
			set(dirs["memory"]+"/memory.memsw.limit_in_bytes", memory)
		}
	}
	if b.PIDs > 0 {
		set(dirs["pids"]+dirs[""]+"/pids.max", pids)
	}
}

// becomeContainer turns this process into the init of a container. It returns only on an error.
func becomeContainer() error {
	var b box
	if err := json.Unmarshal([]byte(os.Args[1]), &b); err != nil {
		return err
	}
	at := func(path string) string { return filepath.Join(b.Root, path) }
	var failed error
	must := func(act string, err error) {
		if err != nil && failed == nil {
			failed = fmt.Errorf("%s: %w", act, err)
		}
	}
	bind := func(from, to string) {
		must("bind "+to, syscall.Mount(from, at(to), "", syscall.MS_BIND|syscall.MS_REC, ""))
	}
	dir := func(path string) { must("make "+path, os.MkdirAll(at(path), 0o755)) }
	file := func(path string) { must("make "+path, os.WriteFile(at(path), nil, 0o644)) }

	for _, cgroup := range cgroupDirs(b.Cgroup) {
		must("enter control group", os.WriteFile(cgroup+"/cgroup.procs", []byte("0"), 0o644))
	}
	must("own mounts", syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	must("mount root", syscall.Mount("tmpfs", b.Root, "tmpfs", 0, "mode=0755"))
	for _, system := range []string{"/usr", "/bin", "/lib", "/lib64"} {
		if _, err := os.Stat(system); err == nil {
			dir(system)
			bind(system, system)
		}
	}
	dir("/proc")
	must("mount proc", syscall.Mount("proc", at("/proc"), "proc", 0, ""))
	for controller, cgroup := range cgroupDirs(b.Cgroup) {
		dir(filepath.Join("/sys/fs/cgroup", controller))
		bind(cgroup, filepath.Join("/sys/fs/cgroup", controller))
	}
	dir("/dev")
	for to, from := range map[string]string{"/dev/null": "/dev/null", "/init": b.Init, "/program": b.Program} {
		file(to)
		bind(from, to)
	}
	dir("/workspace")
	must("give away /workspace", os.Chown(at("/workspace"), b.UID, b.UID))
	for _, place := range writable {
		if len(b.Rehearsal) == 0 {
			break
		}
		dir(place)
		must("mount "+place, syscall.Mount("tmpfs", at(place), "tmpfs", 0, fmt.Sprintf("mode=0700,uid=%d,gid=%d", b.UID,
			b.UID)))
	}
	must("enter root", syscall.Chroot(b.Root))
	must("enter root", syscall.Chdir("/"))
	must("drop groups", syscall.Setgroups(nil))
	must("drop group", syscall.Setgid(b.UID))
	must("drop user", syscall.Setuid(b.UID))
	if _, _, errno := syscall.AllThreadsSyscall(syscall.SYS_PRCTL, 38 /* PR_SET_NO_NEW_PRIVS */, 1, 0); errno != 0 {
		must("allow no new privileges", errno)
	}
	if failed != nil {
		return failed
	}
	argv := []string{"/init"}
	if len(b.Rehearsal) > 0 {
		argv = append(append(argv, self()), b.Rehearsal...)
		b.Env = append(b.Env, roleVariable+"=program")
	}
	return syscall.Exec("/init", argv, append(b.Env, "PATH=/usr/bin:/bin"))
}
