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
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/sirupsen/logrus"

	"boomerang/internal/address"
	"boomerang/internal/app"
	"boomerang/internal/config"
	"boomerang/internal/execution"
	"boomerang/internal/servertest"
)

const (
	secret   = servertest.Secret
	patience = 2 * time.Minute // limits every wait of a test
)

// initDir holds the init that TestMain builds.
var initDir string

func TestMain(m *testing.M) {
	if text := os.Getenv(serverConfigEnv); text != "" {
		fmt.Fprintln(os.Stderr, runServer(text))
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

// harness is a server, with a receiver that the server may call.
type harness struct {
	t        testing.TB
	config   config.Config
	app      *app.App
	log      serverLog
	url      string
	token    string
	stop     context.CancelFunc // nil while no server runs in this process
	done     chan error
	receiver *servertest.Receiver
	refusals atomic.Int32 // number of callbacks that the receiver still answers with 503
}

// serverLog is a log that can be read while the server writes it.
type serverLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *serverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// defaults returns the settings of a server that shares the engine with other servers, but no users.
func defaults() config.Config {
	c := config.Defaults()
	c.HTTP.Addr, c.Metrics.Addr = "127.0.0.1:0", "127.0.0.1:0"
	c.Docker.InitDir = initDir
	c.Docker.UIDBase = servertest.UIDBase()
	c.Callback.AllowCIDRs = []address.Range{address.MustParseRange("127.0.0.0/8")}
	c.Callback.RevealExceptions = true
	return c
}

// newHarness starts a server on a free port, and a receiver. The test runs in parallel with others from here on.
func newHarness(t testing.TB, change ...func(*config.Config)) *harness {
	t.Helper()
	if t, ok := t.(*testing.T); ok {
		t.Parallel()
	}
	return newSerialHarness(t, change...)
}

// newSerialHarness is newHarness for a test that measures the whole process: no other test runs at the same time.
func newSerialHarness(t testing.TB, change ...func(*config.Config)) *harness {
	t.Helper()
	h := &harness{t: t, config: defaults()}
	h.config.DataDir = t.TempDir()
	h.config.Dispatch.Slots = 4
	for _, f := range change {
		f(&h.config)
	}
	h.receiver = servertest.NewReceiver(t, func(*http.Request) servertest.Answer {
		if h.refusals.Add(-1) >= 0 {
			return servertest.Refuse
		}
		return servertest.Accept
	})
	h.startServer()
	h.token = h.tokenFor("me")
	t.Cleanup(func() {
		h.stopServer()
		h.checkNoContainers()
		if t.Failed() {
			t.Logf("log of the server:\n%s", h.log.String())
		}
	})
	return h
}

// startServer starts a server on the data directory of the harness.
func (h *harness) startServer() {
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

// stopServer stops the server; running executions go on.
func (h *harness) stopServer() {
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

// checkNoContainers fails when there is a container of this server's node.
func (h *harness) checkNoContainers() {
	h.t.Helper()
	for _, c := range h.containers() {
		h.t.Errorf("left behind: container %s, %s", c.ID[:12], c.Status)
	}
}

// containers returns all containers of the server.
func (h *harness) containers() []container.Summary {
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

// node returns the node ID of the server.
func (h *harness) node() string { return servertest.NodeID(h.log.String()) }

func (h *harness) tokenFor(subject string, scopes ...string) string {
	h.t.Helper()
	return servertest.Token(h.t, h.config.DataDir, subject, scopes...)
}

// call sends a request and returns the status and the decoded JSON answer.
func (h *harness) call(method, path string, body any, header ...string) (int, map[string]any) {
	h.t.Helper()
	status, text := h.raw(method, path, body, header...)
	var answer map[string]any
	if err := json.Unmarshal(text, &answer); err != nil {
		h.t.Fatalf("%s %s: %d, no JSON: %q", method, path, status, text)
	}
	return status, answer
}

// raw sends a request and returns the status and the body of the answer.
func (h *harness) raw(method, path string, body any, header ...string) (int, []byte) {
	h.t.Helper()
	status, _, text := h.rawWithHeader(method, path, body, header...)
	return status, text
}

// rawWithHeader sends a request. The body is nil, text, or a value that becomes JSON; header lists names and values.
func (h *harness) rawWithHeader(method, path string, body any, header ...string) (int, http.Header, []byte) {
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

// submit submits a Python program with a signed callback. The values in f replace those of the request.
func (h *harness) submit(code string, f ...fields) execution.ID {
	h.t.Helper()
	request := fields{
		"code": code, "timeout": 60,
		"callback_url": h.receiver.URL + "/webhook", "callback_signature_secret": secret,
	}
	for _, more := range f {
		maps.Copy(request, more)
	}
	status, answer := h.call(http.MethodPost, "/execute/async", request)
	if status != http.StatusOK {
		h.t.Fatalf("submit: %d %v", status, answer)
	}
	return execution.ID(answer["execution_id"].(string))
}

// awaitRecord waits until the execution has ended and returns its record.
func (h *harness) awaitRecord(id execution.ID) map[string]any {
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

// eventually calls ok until it returns true, and returns false if that takes longer than patience.
func eventually(t testing.TB, ok func() bool) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return servertest.Eventually(ctx, 50*time.Millisecond, ok)
}

// awaitOutput waits until a running execution has printed text on stdout.
func (h *harness) awaitOutput(id execution.ID, text string) {
	h.t.Helper()
	var head http.Header
	var kept []byte
	eventually(h.t, func() bool {
		_, head, kept = h.rawWithHeader(http.MethodGet, "/executions/"+string(id)+"/output?stream=stdout", nil)
		return strings.Contains(string(kept), text) || execution.State(head.Get("X-Execution-Status")).Terminal()
	})
	if !strings.Contains(string(kept), text) {
		h.t.Fatalf("%s is %s and printed %q, want %q", id, head.Get("X-Execution-Status"), kept, text)
	}
}

// awaitCallback waits for the first callback of an execution. The callback must be valid.
func (h *harness) awaitCallback(id execution.ID) servertest.Arrival {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	c, err := h.receiver.Await(ctx, id)
	if c.Header == nil {
		h.t.Fatal(err)
	}
	if err != nil {
		h.t.Errorf("callback of %s: %v", id, err)
	}
	return c
}
