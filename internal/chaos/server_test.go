//go:build chaos

package chaos

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"boomerang/internal/servertest"
)

// server is the real program with a supervisor that restarts it whenever it ends, as systemd would.
type server struct {
	binary string
	dir    string // the data directory
	addr   string
	env    []string
	log    string // path

	mu          sync.Mutex // guards the fields below
	crashPoints []string   // crash points of the next processes; each is used once
	command     *exec.Cmd
	closing     bool
	kills       int
	stops       []time.Time
	failed      []string      // unexpected ends
	done        chan struct{} // closed when the supervisor has ended
}

// newServer starts the server. The crashPoints are the crash points of its first processes.
func newServer(binary, dir, addr, log string, env []string, crashPoints ...string) (*server, error) {
	s := &server{binary: binary, dir: dir, addr: addr, log: log, crashPoints: crashPoints, done: make(chan struct{})}
	s.env = append(os.Environ(), env...)
	s.env = append(s.env, "BOOMERANG_DATA_DIR="+dir, "BOOMERANG_HTTP_ADDR="+s.addr, "BOOMERANG_LOG_FORMAT=json",
		"BOOMERANG_LOG_LEVEL=debug")
	started := make(chan error, 1)
	go s.supervise(started)
	return s, <-started
}

// supervise starts one process after another until close.
func (s *server) supervise(started chan<- error) {
	defer close(s.done)
	runtime.LockOSThread() // Pdeathsig is sent when the thread dies that started the process
	for {
		command, err := s.spawn()
		if started != nil {
			started <- err
			started = nil
		}
		if err != nil || command == nil {
			return
		}
		_ = command.Wait()
		s.recordEnd(command.ProcessState)
		servertest.Rest(context.Background(), 50*time.Millisecond)
	}
}

// spawn starts one process. It returns nil after close.
func (s *server) spawn() (*exec.Cmd, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, nil
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	s.command = exec.Command(s.binary, "serve")
	s.command.Env = s.env
	if len(s.crashPoints) > 0 {
		s.command.Env = append(slices.Clone(s.env), "BOOMERANG_CRASH_AT="+s.crashPoints[0])
		s.crashPoints = s.crashPoints[1:]
	}
	s.command.Stderr = log
	s.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL} // if the harness dies
	return s.command, s.command.Start()
}

// recordEnd counts the end of a process.
func (s *server) recordEnd(state *os.ProcessState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stops = append(s.stops, time.Now())
	status, _ := state.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		s.kills++
	case !s.closing && !state.Success():
		s.failed = append(s.failed, state.String())
	}
}

// signal sends a signal to the current process.
func (s *server) signal(signal syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.command != nil && s.command.Process != nil {
		_ = s.command.Process.Signal(signal)
	}
}

// dieAt kills the current process, and sets the crash point of the next.
func (s *server) dieAt(fate string) {
	s.mu.Lock()
	s.crashPoints = append(s.crashPoints, fate)
	s.mu.Unlock()
	s.signal(syscall.SIGKILL)
}

// replace ends the current process with a signal and waits until the next is ready.
func (s *server) replace(ctx context.Context, signal syscall.Signal) error {
	ended := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.stops)
	}
	before := ended()
	s.signal(signal)
	servertest.Eventually(ctx, 20*time.Millisecond, func() bool { return ended() > before })
	return s.ready(ctx)
}

// ready waits until /readyz answers 200.
func (s *server) ready(ctx context.Context) error {
	url := "http://" + s.addr + "/readyz"
	if !servertest.Eventually(ctx, 50*time.Millisecond, func() bool { return servertest.Answers(ctx, url) }) {
		return fmt.Errorf("the server is not ready: %w", context.Cause(ctx))
	}
	return nil
}

// close ends the current process with a signal, waits for its end, and starts no other.
func (s *server) close(signal syscall.Signal) *os.ProcessState {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.signal(signal)
	<-s.done
	return s.command.ProcessState
}

// idleCreators matches the functions that create the goroutines of an idle server.
var idleCreators = regexp.MustCompile(`^boomerang/internal/app\.|^boomerang/internal/store\.newWriter|` +
	`^boomerang/internal/dispatch\.\(\*Dispatcher\)\.Run|^boomerang/internal/upkeep\.|^main\.`)

// attachCreator creates a goroutine for each warm container.
const attachCreator = "boomerang/internal/sandbox/docker.(*Docker).attach"

var creator = regexp.MustCompile(`(?m)^created by (\S+)`)

// goroutines reads the log of a server. In the dump of SIGQUIT it finds goroutines of our packages that should have
// ended, at a number of warm containers; elsewhere in the log it finds signs of a crash.
func goroutines(log []byte, waiting int) (left []string) {
	text, dump, _ := bytes.Cut(log, []byte("SIGQUIT: quit\n"))
	for _, match := range creator.FindAllSubmatch(dump, -1) {
		name := string(match[1])
		if name == attachCreator && waiting > 0 {
			waiting--
			continue
		}
		if (strings.HasPrefix(name, "boomerang/") || strings.HasPrefix(name, "main.")) &&
			!idleCreators.MatchString(name) {
			left = append(left, "goroutine created by "+name)
		}
	}
	for _, sign := range []string{"panic: ", "fatal error: ", "DATA RACE"} {
		if bytes.Contains(text, []byte(sign)) {
			left = append(left, "a crash: "+sign)
		}
	}
	return left
}

// build compiles the init and the program, which has crash points, into dir.
func build(dir, goarch string) error {
	for _, args := range [][]string{
		{"-tags", "chaos", "-o", filepath.Join(dir, "boomerang"), "boomerang/cmd/boomerang"},
		{"-o", filepath.Join(dir, "boomerang-init-linux-"+goarch), "boomerang/cmd/boomerang-init"},
	} {
		command := exec.Command("go", append([]string{"build", "-trimpath"}, args...)...)
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w\n%s", err, out)
		}
	}
	return nil
}
