//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"boomerang/internal/client"
	"boomerang/internal/execution"
	"boomerang/internal/servertest"
	"boomerang/internal/wire"
)

// settings are the differences between the servers of the bench.
type settings struct {
	slots  int
	warm   int    // number of warm containers for python
	docker string // address of the engine; empty for that of the machine
	dir    string // data directory; empty for a new one
}

// server is the real program in a process of its own.
type server struct {
	h       *harness
	warm    int // number of containers at rest
	dir     string
	addr    string
	metrics string
	log     string
	command *exec.Cmd
	servertest.Process
	me *client.Client

	mu    sync.Mutex // guards the fields below
	mine  []execution.ID
	wrong []string // violations
}

// languages is the languages file. Raw calls run python with the same environment.
const languages = `
defaults: {pull: never}
languages:
  python:
    {image: "boomerang/python:latest", file: main.py, command: [python3, "{file}"], rehearsal: [python3, -c, ""],
    env: {%s}, warm: %d}
  bash: {image: "boomerang/bash:latest", file: main.sh, command: [bash, "{file}"], warm: 0}
`

var environment = []string{"PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"}

// catalogue returns the languages file with a number of warm containers.
func catalogue(warm int) string {
	var env []string
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		env = append(env, fmt.Sprintf("%s: %q", name, value))
	}
	return fmt.Sprintf(languages, strings.Join(env, ", "), warm)
}

// launch starts a server without waiting for it.
func (h *harness) launch(s settings) *server {
	h.Helper()
	*h.servers++
	n := *h.servers
	if s.dir == "" {
		s.dir = filepath.Join(h.dir, fmt.Sprint("data-", n))
	}
	made := &server{
		h: h, warm: s.warm, dir: s.dir, addr: servertest.FreeAddress(h),
		metrics: servertest.FreeAddress(h), log: filepath.Join(h.dir, fmt.Sprintf("server-%d.log", n)),
	}
	file := filepath.Join(h.dir, fmt.Sprintf("languages-%d.yaml", n))
	if err := os.WriteFile(file, []byte(catalogue(s.warm)), 0o600); err != nil {
		h.Fatal(err)
	}
	log, err := os.Create(made.log)
	if err != nil {
		h.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the process has a copy
	made.command = exec.Command(binary, "serve", "--addr", made.addr, "--data-dir", made.dir)
	made.command.Env = append(os.Environ(),
		"BOOMERANG_LOG_FORMAT=json",
		"BOOMERANG_LANGUAGES_FILE="+file,
		"BOOMERANG_METRICS_ADDR="+made.metrics,
		"BOOMERANG_DISPATCH_SLOTS="+strconv.Itoa(s.slots),
		"BOOMERANG_DOCKER_UID_BASE="+strconv.Itoa(servertest.UIDBase()),
		"BOOMERANG_ADMISSION_QUEUE_TOTAL=0",
		"BOOMERANG_ADMISSION_QUEUE_PER_SUBJECT=0",
		"BOOMERANG_CALLBACK_ALLOW_CIDRS=127.0.0.0/8", "BOOMERANG_CALLBACK_REVEAL_EXCEPTIONS=true",
		"BOOMERANG_CALLBACK_DESTINATION_RATE=0",
		"BOOMERANG_CALLBACK_DESTINATION_CONCURRENCY=64",
	)
	if s.docker != "" {
		made.command.Env = append(made.command.Env, "BOOMERANG_DOCKER_HOST="+s.docker)
	}
	made.command.Stderr = log
	made.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := made.command.Start(); err != nil {
		h.Fatal(err)
	}
	made.Process = servertest.Process(made.command.Process.Pid)
	h.Cleanup(func() { made.kill() })
	return made
}

// serve starts a server and waits until it is ready and has its warm containers.
func (h *harness) serve(s settings) *server {
	h.Helper()
	made := h.launch(s)
	path := "/readyz"
	if s.docker == noEngine {
		path = "/healthz"
	}
	err := made.awaitAnswer(path)
	if err == nil {
		made.me, err = made.clientFor("bench")
	}
	if err == nil && s.docker != noEngine {
		err = made.awaitRest(h.Context())
	}
	if err != nil {
		h.Fatal(err)
	}
	return made
}

// awaitAnswer waits until a path is answered with 200.
func (s *server) awaitAnswer(path string) error {
	ctx := s.h.Context()
	return await(ctx, "the server answers at "+path, time.Millisecond, func() (bool, error) {
		return servertest.Answers(ctx, "http://"+s.addr+path), nil
	})
}

// clientFor returns a client with the token of a subject.
func (s *server) clientFor(subject string) (*client.Client, error) {
	return client.New("http://"+s.addr, servertest.Token(s.h, s.dir, subject))
}

// submit submits a program.
func (s *server) submit(ctx context.Context, c *client.Client, language, code string) (execution.ID, error) {
	id, err := c.Submit(ctx, client.Submission{
		Code: code, Language: language, CallbackURL: s.h.receiver.URL + "/callback",
		Secrets: client.Secrets{servertest.Secret},
	})
	if err == nil {
		s.mu.Lock()
		s.mine = append(s.mine, id)
		s.mu.Unlock()
	}
	return id, err
}

// timing has the parts of the time of one execution, in milliseconds.
type timing struct {
	all      float64 // from before the submission to the arrival of the callback
	answer   float64 // from before the submission to its answer
	start    float64 // from before the submission to the start of the program
	program  float64
	delivery float64 // from the end of the program to the arrival of the callback
}

// run runs a program from its submission to its callback.
func (s *server) run(ctx context.Context, language, code string, check func(wire.Result) error) (w timing, err error) {
	began := time.Now()
	id, err := s.submit(ctx, s.me, language, code)
	if err != nil {
		return w, err
	}
	w.answer = Millis(time.Since(began))
	c, err := s.h.callback(ctx, id)
	if err != nil {
		return w, err
	}
	s.checkResult(c.Payload, check)
	w.all, w.program, w.delivery = Millis(c.At.Sub(began)), Millis(time.Duration(c.Payload.ExecutionTime)),
		Millis(c.At.Sub(c.Payload.CompletedAt))
	if c.Payload.StartedAt != nil {
		w.start = Millis(c.Payload.StartedAt.Sub(began))
	}
	return w, nil
}

// checkResult records the violations in a result.
func (s *server) checkResult(p wire.Result, check func(wire.Result) error) {
	err := check(p)
	if err == nil && !p.OutputComplete {
		err = errors.New("the output is not complete")
	}
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.wrong = append(s.wrong, fmt.Sprintf("%s: %v", p.ExecutionID, err))
	}
}

// printsOne checks that a program completed and printed 1.
func printsOne(p wire.Result) error {
	if p.Status != execution.Completed || p.Stdout != "1\n" {
		return fmt.Errorf("%s, printed %q", p.Status, p.Stdout)
	}
	return nil
}

// awaitRest waits until the server has its warm containers and no others.
func (s *server) awaitRest(ctx context.Context) error {
	node, err := s.node()
	if err != nil {
		return err
	}
	return await(ctx, "the containers of "+node+" are at rest", pause, func() (bool, error) {
		all, running, err := s.h.engine.count(ctx, node)
		if s.warm > 0 { // a running container may not be ready yet
			running, _ = s.gauge(`boomerang_warm_containers{language="python"}`)
		}
		return all == s.warm && running == s.warm, err
	})
}

// node returns the node ID of the server.
func (s *server) node() (string, error) {
	text, err := os.ReadFile(s.log)
	node := servertest.NodeID(string(text))
	if err == nil && node == "" {
		err = fmt.Errorf("%s names no node", s.log)
	}
	return node, err
}

// gauge returns a value of the metrics, and false if it does not exist.
func (s *server) gauge(name string) (int, bool) {
	response, err := http.Get("http://" + s.metrics + "/metrics")
	if err != nil {
		return 0, false
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(response.Body)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return int(n), err == nil
		}
	}
	return 0, false
}

// kill kills the process, which may have ended already, and removes its containers.
func (s *server) kill() {
	_ = s.command.Process.Kill()
	_ = s.command.Wait()
	if node, err := s.node(); err == nil {
		s.h.engine.clear(context.Background(), node)
	}
}

// stop ends the server and returns a summary of the checks.
func (s *server) stop() (correct string) {
	h := s.h
	h.Helper()
	warm, counted := s.gauge(`boomerang_containers_started_total{kind="warm",language="python"}`)
	_ = s.command.Process.Signal(syscall.SIGTERM)
	if err := s.command.Wait(); err != nil {
		s.wrong = append(s.wrong, "the server: "+err.Error())
	}
	for _, id := range s.mine {
		if n := len(h.receiver.Arrivals(id)); n != 1 {
			s.wrong = append(s.wrong, fmt.Sprintf("%s: %d callbacks", id, n))
		}
	}
	if node, err := s.node(); err != nil {
		s.wrong = append(s.wrong, err.Error())
	} else if left, _, err := h.engine.count(h.Context(), node); err != nil || left > 0 {
		s.wrong = append(s.wrong, fmt.Sprintf("%d containers left behind (%v)", left, err))
		h.engine.clear(h.Context(), node)
	}
	log, _ := os.ReadFile(s.log)
	for _, e := range servertest.ParseLog(string(log)) {
		if e.Level == "error" || e.Level == "fatal" {
			s.wrong = append(s.wrong, fmt.Sprintf("log: %s: %s", e.Msg, e.Error))
		}
	}
	for _, w := range s.wrong {
		h.Error(w)
	}
	if len(s.wrong) > 0 {
		return fmt.Sprintf("%d WRONG of %d", len(s.wrong), len(s.mine))
	}
	correct = fmt.Sprintf("all %d", len(s.mine))
	if counted && s.warm > 0 {
		correct += fmt.Sprintf(", %d warm", warm)
	}
	return correct
}
