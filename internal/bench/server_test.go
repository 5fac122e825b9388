//go:build bench

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"boomerang/internal/auth"
	"boomerang/internal/client"
	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

// settings are what the servers of the bench differ in.
type settings struct {
	slots  int
	warm   int    // berths for python; 0: cold
	docker string // the engine's address; empty: the machine's own
	dir    string // the data directory; empty: a new one
}

// server is the real program in a process of its own.
type server struct {
	h       *house
	warm    int // berths when it is at rest
	dir     string
	addr    string
	metrics string
	log     string
	command *exec.Cmd
	process
	tokens *auth.Auth
	me     *client.Client

	mu    sync.Mutex // guards what follows
	mine  []execution.ID
	wrong []string
}

// languages is the catalogue; raw calls run python with the same environment.
const languages = `
defaults: {pull: never}
languages:
  python: {image: "boomerang/python:latest", file: main.py, command: [python3, "{file}"], rehearsal: [python3, -c, ""], env: {%s}, warm: %d}
  bash: {image: "boomerang/bash:latest", file: main.sh, command: [bash, "{file}"], warm: 0}
`

var environment = []string{"PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"}

func catalogue(warm int) string {
	var env []string
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		env = append(env, fmt.Sprintf("%s: %q", name, value))
	}
	return fmt.Sprintf(languages, strings.Join(env, ", "), warm)
}

// launch starts a server and does not wait for it.
func (h *house) launch(s settings) *server {
	h.Helper()
	*h.uids++
	n := *h.uids
	if s.dir == "" {
		s.dir = filepath.Join(h.dir, fmt.Sprint("data-", n))
	}
	made := &server{h: h, warm: s.warm, dir: s.dir, addr: h.port(), metrics: h.port(), log: filepath.Join(h.dir, fmt.Sprintf("server-%d.log", n))}
	file := filepath.Join(h.dir, fmt.Sprintf("languages-%d.yaml", n))
	if err := os.WriteFile(file, []byte(catalogue(s.warm)), 0o600); err != nil {
		h.Fatal(err)
	}
	log, err := os.Create(made.log)
	if err != nil {
		h.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	made.command = exec.Command(binary, "serve", "--addr", made.addr, "--data-dir", made.dir)
	made.command.Env = append(os.Environ(),
		"BOOMERANG_LOG_FORMAT=json",
		"BOOMERANG_LANGUAGES_FILE="+file,
		"BOOMERANG_METRICS_ADDR="+made.metrics,
		"BOOMERANG_DISPATCH_SLOTS="+strconv.Itoa(s.slots),
		"BOOMERANG_DOCKER_UID_BASE="+strconv.Itoa(1_000_000+1000*n),
		"BOOMERANG_ADMISSION_QUEUE_TOTAL=0",
		"BOOMERANG_ADMISSION_QUEUE_PER_SUBJECT=0",
		"BOOMERANG_CALLBACK_ALLOW_CIDRS=127.0.0.0/8",
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
	made.process = process(made.command.Process.Pid)
	h.Cleanup(func() { made.kill() })
	return made
}

// serve starts a server and waits until it can work and has its berths.
func (h *house) serve(s settings) *server {
	h.Helper()
	made := h.launch(s)
	path := "/readyz"
	if s.docker == noEngine {
		path = "/healthz"
	}
	err := await(h.Context(), "the server answers at "+path, time.Millisecond, func() (bool, error) { return made.answers(path), nil })
	if err == nil {
		made.tokens, err = auth.New(auth.Config{}, made.dir)
	}
	if err == nil {
		made.me, err = made.as("bench")
	}
	if err == nil && s.docker != noEngine {
		err = made.settle(h.Context())
	}
	if err != nil {
		h.Fatal(err)
	}
	return made
}

// port finds one that is free.
func (h *house) port() string {
	h.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// answers tells whether a path is answered with 200.
func (s *server) answers(path string) bool {
	response, err := http.Get("http://" + s.addr + path)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode == http.StatusOK
}

// as is a client with the token of a subject.
func (s *server) as(subject string) (*client.Client, error) {
	token, err := s.tokens.Issue(subject, time.Hour)
	if err != nil {
		return nil, err
	}
	return client.New("http://"+s.addr, token)
}

// submit hands in a program.
func (s *server) submit(ctx context.Context, c *client.Client, language, code string) (execution.ID, error) {
	id, err := c.Submit(ctx, client.Submission{Code: code, Language: language, CallbackURL: s.h.hook.url, Secrets: client.Secrets{secret}})
	if err == nil {
		s.mu.Lock()
		s.mine = append(s.mine, id)
		s.mu.Unlock()
	}
	return id, err
}

// way is where the time of one execution went, in milliseconds.
type way struct {
	all      float64 // from before the submission until the callback had arrived
	answer   float64 // to the submission
	start    float64 // from before the submission until the program began
	program  float64
	delivery float64 // from the program's end until the callback had arrived
}

// run takes a program from its submission to its callback.
func (s *server) run(ctx context.Context, language, code string, check func(wire.Result) error) (w way, err error) {
	began := time.Now()
	id, err := s.submit(ctx, s.me, language, code)
	if err != nil {
		return w, err
	}
	w.answer = Millis(time.Since(began))
	c, err := s.h.hook.await(ctx, id)
	if err != nil {
		return w, err
	}
	s.judge(c.Payload, check)
	w.all, w.program, w.delivery = Millis(c.At.Sub(began)), Millis(time.Duration(c.Payload.ExecutionTime)), Millis(c.At.Sub(c.Payload.CompletedAt))
	if c.Payload.StartedAt != nil {
		w.start = Millis(c.Payload.StartedAt.Sub(began))
	}
	return w, nil
}

// judge notes what is wrong with a result.
func (s *server) judge(p wire.Result, check func(wire.Result) error) {
	err := check(p)
	if err == nil && !p.OutputComplete {
		err = errors.New("its output is not complete")
	}
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.wrong = append(s.wrong, fmt.Sprintf("%s: %v", p.ExecutionID, err))
	}
}

// printsOne is the check of a program that prints 1 and ends well.
func printsOne(p wire.Result) error {
	if p.Status != execution.Completed || p.Stdout != "1\n" {
		return fmt.Errorf("%s, printed %q", p.Status, p.Stdout)
	}
	return nil
}

// settle waits until nothing runs but the berths that wait for a job, and no container is on its way in or out.
func (s *server) settle(ctx context.Context) error {
	node, err := s.node()
	if err != nil {
		return err
	}
	return await(ctx, "the containers of "+node+" are at rest", pause, func() (bool, error) {
		all, running, err := s.h.engine.count(ctx, node)
		if s.warm > 0 { // one that runs may not be ready yet
			running, _ = s.gauge(`boomerang_berths_waiting{language="python"}`)
		}
		return all == s.warm && running == s.warm, err
	})
}

// entry is a line of the server's log.
type entry struct {
	Level, Msg, Node, Error string
}

func (s *server) entries() (all []entry) {
	file, err := os.Open(s.log)
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			e = entry{Level: "error", Msg: lines.Text()} // a panic speaks no JSON
		}
		all = append(all, e)
	}
	return all
}

// node is what the server's containers are labelled with.
func (s *server) node() (string, error) {
	for _, e := range s.entries() {
		if e.Node != "" {
			return e.Node, nil
		}
	}
	return "", fmt.Errorf("%s names no node", s.log)
}

// gauge reads a number of the metrics; false when it is not there.
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

// kill ends the process at once and takes away its containers; it may be over already.
func (s *server) kill() {
	_ = s.command.Process.Kill()
	_ = s.command.Wait()
	if node, err := s.node(); err == nil {
		s.h.engine.clear(context.Background(), node)
	}
}

// stop ends the server and says what was right and what was not.
func (s *server) stop() (correct string) {
	h := s.h
	h.Helper()
	warm, counted := s.gauge(`boomerang_berths_taken_total{kind="warm",language="python"}`)
	_ = s.command.Process.Signal(syscall.SIGTERM)
	if err := s.command.Wait(); err != nil {
		s.wrong = append(s.wrong, "the server: "+err.Error())
	}
	for _, id := range s.mine {
		if n := h.hook.count(id); n != 1 {
			s.wrong = append(s.wrong, fmt.Sprintf("%s: %d callbacks", id, n))
		}
	}
	if node, err := s.node(); err != nil {
		s.wrong = append(s.wrong, err.Error())
	} else if left, _, err := h.engine.count(h.Context(), node); err != nil || left > 0 {
		s.wrong = append(s.wrong, fmt.Sprintf("%d containers left behind (%v)", left, err))
		h.engine.clear(h.Context(), node)
	}
	for _, e := range s.entries() {
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
