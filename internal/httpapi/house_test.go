package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/callback"
	"boomerang/internal/execution"
	"boomerang/internal/language"
	"boomerang/internal/seal"
	"boomerang/internal/store"
	"boomerang/internal/store/storetest"
	"boomerang/internal/workspace"
)

// inline is small, so that a test can print more.
const inline = 64

// house is the API on a real connection, before a real store, policy, catalogue and authenticator. Every answer that
// it gives is held against openapi.yaml.
type house struct {
	t                *testing.T
	api              *api
	url              string
	server           *http.Server
	store            *store.Store
	keys             *seal.Keyring
	live             *typewriter
	log              *logtest.Hook
	answered         sync.Map // "GET /executions 200"
	ann, bob, admin  string   // tokens
	annKey, adminKey string   // API keys
	validateResponse func(t *testing.T, r *http.Request, a answer)
}

// answer is what came back, read whole.
type answer struct {
	status int
	header http.Header
	body   string
}

// json decodes the body.
func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("decode %q: %v", a.body, err)
	}
	return v
}

// id is the execution that the answer is about.
func (a answer) id(t *testing.T) execution.ID {
	t.Helper()
	return execution.ID(fmt.Sprint(a.json(t)["execution_id"]))
}

// open builds the house; changes may replace what stands behind the API.
func open(t *testing.T, changes ...func(*Config, *Deps)) *house {
	t.Helper()
	logger, hook := logtest.NewNullLogger()
	logger.SetLevel(logrus.DebugLevel)
	log := logrus.NewEntry(logger)
	records, err := store.Open(t.Context(), storetest.Dir(t), store.Defaults(), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = records.Close() })
	catalogue := languages(t)
	policy, err := callback.NewPolicy(callback.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	annKey, ann, err := auth.NewAPIKey("ann")
	if err != nil {
		t.Fatal(err)
	}
	adminKey, admin, err := auth.NewAPIKey("root", auth.ScopeAdmin)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := auth.New(auth.Config{APIKeys: []auth.APIKey{ann, admin}}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := seal.Open(filepath.Join(t.TempDir(), "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	h := &house{
		t: t, keys: keys, store: records, live: &typewriter{}, log: hook, validateResponse: description(t).validate,
		annKey: annKey, adminKey: adminKey,
	}
	c := Defaults()
	d := Deps{
		Admission: admission.New(admission.Defaults(), admission.Deps{
			Workspaces: workspace.Defaults(),
			Languages:  catalogue,
			Policy:     policy,
			Sealer:     keys,
			Store:      records,
			Now:        time.Now,
		}),
		Records:       records,
		Deliveries:    records,
		Artifacts:     records,
		Live:          h.live,
		Authenticator: tokens,
		Languages:     catalogue,
		Workspaces:    cellar{records},
		Limits:        execution.WorkspaceLimits{Size: 1 << 20, Entries: 10, Count: 3, Total: 3 << 19},
		Cancel: func(ctx context.Context, id execution.ID) (execution.Execution, error) {
			return records.Cancel(ctx, id, time.Now(), cancelled)
		},
		Inline:  inline,
		Version: "1.2.3",
		Answered: func(method, route string, status int, _ time.Duration) {
			h.answered.Store(fmt.Sprint(method, " ", route, " ", status), true)
		},
		Log: log,
		Now: time.Now,
	}
	for _, change := range changes {
		change(&c, &d)
	}
	handler, err := New(c, d)
	if err != nil {
		t.Fatal(err)
	}
	h.api, _ = handler.(*api)
	server := httptest.NewUnstartedServer(nil)
	server.Config = Server(c, handler, log)
	server.Start()
	t.Cleanup(server.Close)
	h.url, h.server = server.URL, server.Config
	for token, scopes := range map[*string][]string{&h.ann: {"ann"}, &h.bob: {"bob"}, &h.admin: {"root", auth.ScopeAdmin}} {
		if *token, err = tokens.Issue(scopes[0], time.Hour, scopes[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func languages(t *testing.T) *language.Catalogue {
	t.Helper()
	catalogue, err := language.Open(language.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	return catalogue
}

// call sends a request with a token ("" = none) and further headers, written "Name: value".
func (h *house) call(method, path, token, body string, headers ...string) answer {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Add(name, value)
	}
	a := h.send(r)
	h.validateResponse(h.t, r, a)
	return a
}

func (h *house) send(r *http.Request) answer {
	h.t.Helper()
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

func (h *house) get(path, token string, headers ...string) answer {
	h.t.Helper()
	return h.call(http.MethodGet, path, token, "", headers...)
}

const asJSON = "Content-Type: application/json"

// submit hands in a body and returns the id; it must be accepted.
func (h *house) submit(token, body string) execution.ID {
	h.t.Helper()
	a := h.call(http.MethodPost, "/execute/async", token, body, asJSON)
	if a.status != http.StatusOK {
		h.t.Fatalf("got %d: %s", a.status, a.body)
	}
	return a.id(h.t)
}

// hello is the least that can be submitted.
const hello = `{"code":"print('hello')","callback_url":"https://example.com/hook"}`

// start makes an execution run.
func (h *house) start(id execution.ID) {
	h.t.Helper()
	for {
		claimed, err := h.store.Claim(h.t.Context(), 1)
		if err != nil || len(claimed) == 0 {
			h.t.Fatalf("claim %s: %v, %v", id, claimed, err)
		}
		if claimed[0].ID == id {
			break
		}
	}
	run := execution.Run{
		Node: h.store.Node(), Epoch: h.store.Epoch(), Container: "container", Nonce: "n0nce",
		StartedAt: moment(1), Deadline: moment(3601),
	}
	if err := h.store.Start(h.t.Context(), id, run); err != nil {
		h.t.Fatal(err)
	}
}

// finish ends an execution with r, and its delivery, if it has a callback, becomes pending.
func (h *house) finish(id execution.ID, r execution.Result) {
	h.t.Helper()
	e, err := h.store.Get(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	d := delivery(e, r)
	if e.Callback.URL == "" {
		d = nil
	}
	if err := h.store.Finish(h.t.Context(), id, r, d); err != nil {
		h.t.Fatal(err)
	}
}

// completed is a result that printed something.
func completed(stdout, stderr string) execution.Result {
	return execution.Result{
		State: execution.Completed, Reason: execution.Exited, ExitCode: new(0), StartedAt: moment(1), CompletedAt: moment(2),
		Duration: 1500 * time.Millisecond, Stdout: printedText(stdout), Stderr: printedText(stderr), OutputComplete: true,
		CPUTime: 20 * time.Millisecond, MaxMemory: 9 << 20,
	}
}

func printedText(s string) execution.Output {
	return execution.Output{Head: []byte(s), Bytes: int64(len(s))}
}

func moment(s int64) time.Time { return time.Unix(1_738_022_400+s, 0).UTC() }

func delivery(e execution.Execution, r execution.Result) *execution.Delivery {
	return &execution.Delivery{Body: callback.Body(e, r, inline), CreatedAt: r.CompletedAt, NextAt: r.CompletedAt}
}

// cancelled is how an execution ends that never started.
func cancelled(e execution.Execution) (execution.Result, *execution.Delivery) {
	r := execution.Result{
		State: execution.Cancelled, Reason: execution.WasCancelled, CompletedAt: time.Now(), OutputComplete: true,
		Error: "The execution was cancelled before it started.",
	}
	if e.Callback.URL == "" {
		return r, nil
	}
	return r, delivery(e, r)
}

// typewriter is what programs have printed so far.
type typewriter struct {
	mu    sync.Mutex
	texts map[string][]byte
	grown chan struct{}
}

func (w *typewriter) print(id execution.ID, stream execution.Stream, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.texts == nil {
		w.texts = map[string][]byte{}
	}
	w.texts[string(id)+string(stream)] = append(w.texts[string(id)+string(stream)], text...)
	if w.grown != nil {
		close(w.grown)
		w.grown = nil
	}
}

func (w *typewriter) Follow(id execution.ID) (read func(execution.Stream) ([]byte, <-chan struct{}), release func()) {
	return func(stream execution.Stream) ([]byte, <-chan struct{}) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.grown == nil {
			w.grown = make(chan struct{})
		}
		return slices.Clip(w.texts[string(id)+string(stream)]), w.grown // only ever appended to
	}, func() {}
}

func (w *typewriter) Live(id execution.ID, stream execution.Stream) ([]byte, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text, ok := w.texts[string(id)+string(stream)]
	return bytes.Clone(text), ok
}

// cellar is the store as the API knows it.
type cellar struct{ *store.Store }

func (c cellar) NewBlob(ctx context.Context) (BlobWriter, error) { return c.Store.NewBlob(ctx) }
