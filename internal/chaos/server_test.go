//go:build chaos

package chaos

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
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
)

// server is the real program under a supervisor that starts it again whenever it ends, as systemd would.
type server struct {
	binary string
	dir    string // the data directory
	addr   string
	env    []string
	log    string // path

	mu      sync.Mutex // guards what follows
	fates   []string   // where the next processes die; each is used once
	command *exec.Cmd
	closing bool
	kills   int
	stops   []time.Time
	failed  []string      // ends that nobody ordered
	done    chan struct{} // closed when the supervisor has ended
}

// newServer starts the server; the fates are the crash points of its first processes.
func newServer(binary, dir, log string, env []string, fates ...string) (*server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // a port that stays the same over all restarts
	if err != nil {
		return nil, err
	}
	s := &server{binary: binary, dir: dir, addr: listener.Addr().String(), log: log, fates: fates, done: make(chan struct{})}
	s.env = append(os.Environ(), env...)
	s.env = append(s.env, "BOOMERANG_DATA_DIR="+dir, "BOOMERANG_HTTP_ADDR="+s.addr, "BOOMERANG_LOG_FORMAT=json", "BOOMERANG_LOG_LEVEL=debug")
	if err := listener.Close(); err != nil {
		return nil, err
	}
	started := make(chan error, 1)
	go s.supervise(started)
	return s, <-started
}

// supervise starts process after process until close.
func (s *server) supervise(started chan<- error) {
	defer close(s.done)
	runtime.LockOSThread() // what dies with us dies with the thread that started it
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
		s.ended(command.ProcessState)
		rest(context.Background(), 50*time.Millisecond)
	}
}

// spawn starts one process; nil when there is to be none any more.
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
	if len(s.fates) > 0 {
		s.command.Env = append(slices.Clone(s.env), "BOOMERANG_CRASH_AT="+s.fates[0])
		s.fates = s.fates[1:]
	}
	s.command.Stderr = log
	s.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL} // should the harness die
	return s.command, s.command.Start()
}

func (s *server) ended(state *os.ProcessState) {
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

// signal sends a signal to the process that runs now.
func (s *server) signal(signal syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.command != nil && s.command.Process != nil {
		_ = s.command.Process.Signal(signal)
	}
}

// dieAt makes the next process die at a point, and ends this one.
func (s *server) dieAt(fate string) {
	s.mu.Lock()
	s.fates = append(s.fates, fate)
	s.mu.Unlock()
	s.signal(syscall.SIGKILL)
}

// replace ends the process that runs now with the signal and waits until the next is ready.
func (s *server) replace(ctx context.Context, signal syscall.Signal) error {
	ended := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.stops)
	}
	before := ended()
	s.signal(signal)
	for ended() == before && rest(ctx, 20*time.Millisecond) {
	}
	return s.ready(ctx)
}

// ready waits until the server says that it can work.
func (s *server) ready(ctx context.Context) error {
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/readyz", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		if !rest(ctx, 50*time.Millisecond) {
			return fmt.Errorf("the server is not ready: %w", context.Cause(ctx))
		}
	}
}

// close ends the last process with the signal and waits for it.
func (s *server) close(signal syscall.Signal) *os.ProcessState {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.signal(signal)
	<-s.done
	return s.command.ProcessState
}

// token makes a token with the program itself.
func (s *server) token(ctx context.Context) (string, error) {
	command := exec.CommandContext(ctx, s.binary, "token", "--sub", "chaos", "--data-dir", s.dir)
	command.Stderr = os.Stderr
	text, err := command.Output()
	return strings.TrimSpace(string(text)), err
}

// at home are the goroutines of a server that has nothing to do, by who created them.
var atHome = regexp.MustCompile(`^boomerang/internal/app\.|^boomerang/internal/store\.newWriter|` +
	`^boomerang/internal/dispatch\.\(\*Dispatcher\)\.Run|^boomerang/internal/upkeep\.|^main\.`)

// The lines to the inits that wait.
const lines = "boomerang/internal/sandbox/docker.(*Docker).attach"

var creator = regexp.MustCompile(`(?m)^created by (\S+)`)

// goroutines finds in a dump (SIGQUIT) of a server with so many containers that wait the goroutines of our rooms that should
// have ended, and in any log the sign of a crash.
func goroutines(log []byte, waiting int) (left []string) {
	text, dump, _ := bytes.Cut(log, []byte("SIGQUIT: quit\n"))
	for _, match := range creator.FindAllSubmatch(dump, -1) {
		name := string(match[1])
		if name == lines && waiting > 0 {
			waiting--
			continue
		}
		if (strings.HasPrefix(name, "boomerang/") || strings.HasPrefix(name, "main.")) && !atHome.MatchString(name) {
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

// build compiles the program, with its crash points, and the init into dir.
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
