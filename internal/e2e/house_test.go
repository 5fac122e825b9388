//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/sirupsen/logrus"

	"boomerang/internal/app"
	"boomerang/internal/auth"
	"boomerang/internal/config"
	"boomerang/internal/execution"
	"boomerang/internal/receiver"
)

// secret signs the callbacks of all scenarios.
const secret = "your-secret-key"

// initDir holds the init that the tests build for themselves.
var initDir string

func TestMain(m *testing.M) {
	if text := os.Getenv(serveRole); text != "" {
		fmt.Fprintln(os.Stderr, serveFor(text))
		os.Exit(1)
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "boomerang-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		initDir = dir
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w",
			"-o", filepath.Join(dir, "boomerang-init-linux-"+runtime.GOARCH), "boomerang/cmd/boomerang-init")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the init: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// house is a running server with everything around it.
type house struct {
	t        testing.TB
	config   config.Config
	app      *app.App
	log      serverLog
	url      string
	token    string
	hook     *httptest.Server
	stop     context.CancelFunc
	done     chan error
	receiver *inbox
}

// serverLog is a log that can be read while it is written.
type serverLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *serverLog) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *serverLog) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// inbox collects what the receiver got.
type inbox struct {
	mu      sync.Mutex // guards arrived
	arrived map[execution.ID][]receiver.Callback
	news    chan struct{} // closed and replaced at each arrival
	refusal int           // how many requests are still answered 503
}

// servers counts the servers that were given users of their own.
var servers atomic.Int32

// defaults are the settings of a server that shares its engine with others: the users of its programs are its own.
func defaults() config.Config {
	c := config.Defaults()
	c.Docker.InitDir = initDir
	c.Docker.UIDBase = 1_000_000 + 1_000*int(servers.Add(1))
	return c
}

// enter starts a server on a free port, with a receiver that it may call. From here on the test runs beside others.
func enter(t testing.TB, change ...func(*config.Config)) *house {
	t.Helper()
	if t, ok := t.(*testing.T); ok {
		t.Parallel()
	}
	return enterAlone(t, change...)
}

// enterAlone is enter for a test that looks at the whole process: no other test runs meanwhile.
func enterAlone(t testing.TB, change ...func(*config.Config)) *house {
	t.Helper()
	h := &house{t: t, config: defaults()}
	h.config.DataDir = t.TempDir()
	h.config.HTTP.Addr = "127.0.0.1:0"
	h.config.Callback.AllowCIDRs = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	h.config.Dispatch.Slots = 4
	for _, f := range change {
		f(&h.config)
	}
	h.receiver = &inbox{arrived: map[execution.ID][]receiver.Callback{}, news: make(chan struct{})}
	take := receiver.New(receiver.Config{Secrets: []string{secret}, Handle: h.receiver.take})
	h.hook = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.receiver.refuses() {
			take.ServeHTTP(w, r)
			return
		}
		take.ServeHTTP(httptest.NewRecorder(), r) // it arrived, and the sender is told otherwise
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(h.hook.Close)
	h.start()
	h.token = h.tokenFor("me")
	t.Cleanup(func() {
		h.leave()
		h.nothingLeft()
		if t.Failed() {
			t.Logf("log of the server:\n%s", h.log.String())
		}
	})
	return h
}

// start starts the server on the house's data directory, as a new process would.
func (h *house) start() {
	h.t.Helper()
	level, err := logrus.ParseLevel(h.config.Log.Level)
	if err != nil {
		h.t.Fatal(err)
	}
	log := logrus.New()
	log.SetLevel(level)
	log.SetOutput(&h.log)
	log.SetFormatter(&logrus.JSONFormatter{})
	server, err := app.New(h.t.Context(), h.config, "test", logrus.NewEntry(log))
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(h.t.Context()))
	h.app, h.stop, h.done, h.url = server, stop, make(chan error, 1), "http://"+server.Addr()
	go func() { h.done <- server.Run(ctx) }()
}

// leave stops the server; running executions go on.
func (h *house) leave() {
	h.t.Helper()
	if h.stop == nil {
		return
	}
	h.stop()
	h.stop = nil
	if err := <-h.done; err != nil {
		h.t.Errorf("run: %v", err)
	}
}

// nothingLeft fails when there is a container of this house's node.
func (h *house) nothingLeft() {
	h.t.Helper()
	for _, c := range h.containers() {
		h.t.Errorf("left behind: container %s, %s", c.ID[:12], c.Status)
	}
}

// containers lists the containers of executions that this house was told of.
func (h *house) containers() []container.Summary {
	h.t.Helper()
	docker := engine(h.t)
	list, err := docker.ContainerList(context.WithoutCancel(h.t.Context()), container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", "boomerang.node="+h.node())),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

func engine(t testing.TB) *client.Client {
	t.Helper()
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = docker.Close() })
	return docker
}

// node reads the server's node id from its log.
func (h *house) node() string {
	for line := range strings.Lines(h.log.String()) {
		var entry struct{ Node string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Node != "" {
			return entry.Node
		}
	}
	return ""
}

func (h *house) tokenFor(subject string, scopes ...string) string {
	h.t.Helper()
	tokens, err := auth.New(h.config.Auth, h.config.DataDir)
	if err != nil {
		h.t.Fatal(err)
	}
	token, err := tokens.Issue(subject, time.Hour, scopes...)
	if err != nil {
		h.t.Fatal(err)
	}
	return token
}

// call sends a request as anybody with curl would and returns the status and the decoded answer.
func (h *house) call(method, path string, body any, header ...string) (int, map[string]any) {
	h.t.Helper()
	status, text := h.raw(method, path, body, header...)
	var answer map[string]any
	if err := json.Unmarshal(text, &answer); err != nil {
		h.t.Fatalf("%s %s: %d, no JSON: %q", method, path, status, text)
	}
	return status, answer
}

func (h *house) raw(method, path string, body any, header ...string) (int, []byte) {
	h.t.Helper()
	status, _, text := h.exchange(method, path, body, header...)
	return status, text
}

func (h *house) exchange(method, path string, body any, header ...string) (int, http.Header, []byte) {
	h.t.Helper()
	var payload []byte
	switch b := body.(type) {
	case nil:
	case string:
		payload = []byte(b)
	default:
		var err error
		if payload, err = json.Marshal(b); err != nil {
			h.t.Fatal(err)
		}
	}
	request, err := http.NewRequest(method, h.url+path, bytes.NewReader(payload))
	if err != nil {
		h.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+h.token)
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return response.StatusCode, response.Header, text
}

type fields map[string]any

// submit hands in a program with a signed callback; f is laid over the rest of the request.
func (h *house) submit(code string, f ...fields) execution.ID {
	h.t.Helper()
	request := fields{"code": code, "callback_url": h.hook.URL + "/webhook", "callback_signature_secret": secret, "timeout": 60}
	for _, more := range f {
		maps.Copy(request, more)
	}
	status, answer := h.call(http.MethodPost, "/execute/async", request)
	if status != http.StatusOK {
		h.t.Fatalf("submit: %d %v", status, answer)
	}
	return execution.ID(answer["execution_id"].(string))
}

// record waits until the execution has ended and returns its record.
func (h *house) record(id execution.ID) map[string]any {
	h.t.Helper()
	for {
		status, record := h.call(http.MethodGet, "/executions/"+string(id)+"?wait=60", nil)
		if status != http.StatusOK {
			h.t.Fatalf("get %s: %d %v", id, status, record)
		}
		if execution.State(record["status"].(string)).Terminal() {
			return record
		}
	}
}

// running waits until the execution has printed text on stdout, which it must do while it runs.
func (h *house) running(id execution.ID, text string) {
	h.t.Helper()
	for end := time.Now().Add(patience); ; {
		_, head, kept := h.exchange(http.MethodGet, "/executions/"+string(id)+"/output?stream=stdout", nil)
		if strings.Contains(string(kept), text) {
			return
		}
		if state := execution.State(head.Get("X-Execution-Status")); state.Terminal() || time.Now().After(end) {
			h.t.Fatalf("%s is %s and printed %q, not %q", id, state, kept, text)
		}
		select {
		case <-h.t.Context().Done():
			h.t.Fatal(h.t.Context().Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// patience is how long anything may take before the test fails.
const patience = 2 * time.Minute

// callback waits for the callback of an execution and returns the first that came.
func (h *house) callback(id execution.ID) receiver.Callback {
	h.t.Helper()
	deadline := time.After(patience)
	for {
		h.receiver.mu.Lock()
		arrived, news := h.receiver.arrived[id], h.receiver.news
		h.receiver.mu.Unlock()
		if len(arrived) > 0 {
			c := arrived[0]
			if c.Signature != nil || c.Standard != nil || c.Malformed != nil {
				h.t.Errorf("callback of %s: signature %v, standard %v, body %v", id, c.Signature, c.Standard, c.Malformed)
			}
			return c
		}
		select {
		case <-news:
		case <-deadline:
			h.t.Fatalf("no callback of %s came", id)
		}
	}
}

// refuse makes the receiver answer 503 to the next n requests.
func (i *inbox) refuse(n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refusal = n
}

func (i *inbox) refuses() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.refusal == 0 {
		return false
	}
	i.refusal--
	return true
}

// arrivals is all that came for an execution so far.
func (h *house) arrivals(id execution.ID) []receiver.Callback {
	h.receiver.mu.Lock()
	defer h.receiver.mu.Unlock()
	return slices.Clone(h.receiver.arrived[id])
}

func (i *inbox) take(c receiver.Callback) {
	i.mu.Lock()
	defer i.mu.Unlock()
	id := c.Payload.ExecutionID
	i.arrived[id] = append(i.arrived[id], c)
	close(i.news)
	i.news = make(chan struct{})
}
