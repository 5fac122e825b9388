// Package apitest is a fixture for tests of the HTTP API: all front doors on a real connection, before a real store.
package apitest

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
	"boomerang/internal/gateway"
	"boomerang/internal/hopx"
	"boomerang/internal/httpapi"
	"boomerang/internal/language"
	"boomerang/internal/quota"
	"boomerang/internal/seal"
	"boomerang/internal/server"
	"boomerang/internal/store"
	"boomerang/internal/store/storetest"
	"boomerang/internal/workspace"
)

// Inline is the number of bytes of each stream that a record shows; small, so that a test can print more.
const Inline = 64

// Hello is a minimal submission.
const Hello = `{"code":"print('hello')","callback_url":"https://example.com/hook"}`

// AsJSON is the header of a body in JSON.
const AsJSON = "Content-Type: application/json"

// Admission is the part of admission that the front doors use.
type Admission interface {
	gateway.Admission
	httpapi.Admission
	hopx.Environments
}

// Records is the part of the store that the front doors read.
type Records interface {
	gateway.Records
	httpapi.Records
	hopx.Records
}

// Deps are the dependencies that a test may replace.
type Deps struct {
	Quota     quota.Config
	Admission Admission
	Admit     func(admission.Config, admission.Policy) Admission // makes another one
	Records   Records
	Callbacks httpapi.Deliveries
	Artifacts httpapi.ArtifactStore
	Contents  gateway.Workspaces
	Live      gateway.Live
	Cancel    func(ctx context.Context, id execution.ID) (execution.Execution, error)
	Try       func(ctx context.Context, s callback.Sample) (callback.Trial, error)
	Checks    []httpapi.Check
	Notes     func(ctx context.Context) []string
	Inline    int
	Now       func() time.Time
	Extra     server.Group // further routes
}

// Fixture is the API on a real connection, before a real store, policy, catalogue and authenticator. It validates every
// answer against openapi.yaml.
type Fixture struct {
	T        *testing.T
	Handler  http.Handler
	Config   server.Config
	URL      string
	Server   *http.Server
	Routes   []server.Route
	Store    *store.Store
	Keys     *seal.Keyring
	Live     *Typewriter
	Log      *logtest.Hook
	Answered sync.Map // "GET /executions 200"

	Ann, Bob, Admin  string // tokens
	AnnKey, AdminKey string // API keys

	executions *gateway.Executions
	entry      *logrus.Entry
}

// Answer is an answer, read completely.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// JSON decodes the body.
func (a Answer) JSON(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.Body), &v); err != nil {
		t.Fatalf("decode %q: %v", a.Body, err)
	}
	return v
}

// ID returns the execution_id of the answer.
func (a Answer) ID(t *testing.T) execution.ID {
	t.Helper()
	return execution.ID(fmt.Sprint(a.JSON(t)["execution_id"]))
}

// Open makes a fixture; changes may replace its parts.
func Open(t *testing.T, changes ...func(*server.Config, *Deps)) *Fixture {
	t.Helper()
	logger, hook := logtest.NewNullLogger()
	logger.SetLevel(logrus.TraceLevel)
	log := logrus.NewEntry(logger)
	records, err := store.Open(t.Context(), storetest.Dir(t), store.Defaults(), log)
	ok(t, err)
	t.Cleanup(func() { _ = records.Close() })
	catalogue := Languages(t)
	policy, err := callback.NewPolicy(callback.Defaults())
	ok(t, err)
	annKey, ann, err := auth.NewAPIKey("ann")
	ok(t, err)
	adminKey, admin, err := auth.NewAPIKey("root", auth.ScopeAdmin)
	ok(t, err)
	tokens, err := auth.New(auth.Config{APIKeys: []auth.APIKey{ann, admin}}, t.TempDir())
	ok(t, err)
	keys, err := seal.Open(filepath.Join(t.TempDir(), "seal.key"))
	ok(t, err)
	f := &Fixture{
		T: t, Keys: keys, Store: records, Live: &Typewriter{}, Log: hook, AnnKey: annKey, AdminKey: adminKey,
		entry:  log,
		Config: server.Defaults(),
	}
	quotas, err := quota.New(quota.DefaultConfig())
	ok(t, err)
	admit := func(c admission.Config, p admission.Policy) Admission {
		return admission.New(c, admission.Deps{
			Quotas: quotas, Workspaces: workspace.Defaults(), Languages: catalogue, Policy: p, Sealer: keys,
			Store: records, Now: time.Now,
		})
	}
	d := Deps{
		Quota:     quota.DefaultConfig(),
		Admission: admit(admission.Defaults(), policy),
		Admit:     admit,
		Records:   records,
		Callbacks: records,
		Artifacts: records,
		Contents:  workspaces{records},
		Live:      f.Live,
		Cancel: func(ctx context.Context, id execution.ID) (execution.Execution, error) {
			return records.Cancel(ctx, id, time.Now(), cancelled)
		},
		Inline: Inline,
		Now:    time.Now,
	}
	for _, change := range changes {
		change(&f.Config, &d)
	}
	ok(t, quotas.Reload(d.Quota))
	f.executions = gateway.New(gateway.Deps{
		Quotas: quotas, Admission: d.Admission, Records: d.Records, Artifacts: d.Artifacts, Live: d.Live,
		Cancel: d.Cancel, Inline: d.Inline, Log: log,
	})
	limits := execution.WorkspaceLimits{Size: 1 << 20, Entries: 10, Count: 3, Total: 3 << 19}
	files := gateway.NewFiles(d.Contents, limits, d.Now)
	groups := []server.Group{
		httpapi.New(httpapi.Deps{
			Executions: f.executions, Files: files, Admission: d.Admission, Records: d.Records, Deliveries: d.Callbacks,
			Artifacts: d.Artifacts, Languages: catalogue, Workspaces: records, Try: d.Try, Checks: d.Checks,
			Notes: d.Notes, Log: log, Now: d.Now,
		}),
		hopx.New(hopx.Deps{
			Executions: f.executions, Files: files, Records: d.Records, Environments: d.Admission, Issuer: tokens,
			Workspaces: records, Languages: catalogue, Version: "1.2.3", Log: log, Now: d.Now,
		}),
	}
	for _, g := range groups {
		f.Routes = append(f.Routes, g.Routes...)
	}
	f.Handler = server.New(f.Config, server.Deps{
		Authenticator: tokens,
		Answered: func(method, route string, status int, _ time.Duration) {
			f.Answered.Store(fmt.Sprint(method, " ", route, " ", status), true)
		},
		Log: log,
		Now: d.Now,
	}, append(groups, d.Extra)...)
	listener := f.Listener()
	listener.Start()
	f.URL, f.Server = listener.URL, listener.Config
	for token, scopes := range map[*string][]string{
		&f.Ann: {"ann"}, &f.Bob: {"bob"},
		&f.Admin: {"root", auth.ScopeAdmin},
	} {
		*token, err = tokens.Issue(scopes[0], time.Hour, scopes[1:]...)
		ok(t, err)
	}
	return f
}

// Listener makes a further listener for the API, which the caller starts.
func (f *Fixture) Listener() *httptest.Server {
	listener := httptest.NewUnstartedServer(nil)
	listener.Config = server.NewHTTP(f.Config, f.Handler, f.entry)
	f.T.Cleanup(func() {
		if listener.URL != "" { // it was started
			listener.Close()
		}
	})
	return listener
}

// OpenStreams returns the number of streams that a subject has open.
func (f *Fixture) OpenStreams(subject string) int { return f.executions.OpenStreams(subject) }

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Languages is the catalogue of the fixture.
func Languages(t *testing.T) *language.Catalogue {
	t.Helper()
	catalogue, err := language.Open(language.Defaults())
	ok(t, err)
	return catalogue
}

// Call sends a request with a token ("" = none) and further headers, written "Name: value".
func (f *Fixture) Call(method, path, token, body string, headers ...string) Answer {
	f.T.Helper()
	r, err := http.NewRequestWithContext(f.T.Context(), method, f.URL+path, strings.NewReader(body))
	if err != nil {
		f.T.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Add(name, value)
	}
	a := f.Send(r)
	Description(f.T).Validate(f.T, r, a)
	return a
}

// Send sends a request and reads the answer.
func (f *Fixture) Send(r *http.Request) Answer {
	f.T.Helper()
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		f.T.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(response.Body)
	if err != nil {
		f.T.Fatal(err)
	}
	return Answer{response.StatusCode, response.Header, string(body)}
}

// Get sends a GET.
func (f *Fixture) Get(path, token string, headers ...string) Answer {
	f.T.Helper()
	return f.Call(http.MethodGet, path, token, "", headers...)
}

// Submit submits a body, which must be accepted, and returns the id.
func (f *Fixture) Submit(token, body string) execution.ID {
	f.T.Helper()
	a := f.Call(http.MethodPost, "/execute/async", token, body, AsJSON)
	if a.Status != http.StatusOK {
		f.T.Fatalf("got %d: %s", a.Status, a.Body)
	}
	return a.ID(f.T)
}

// Start takes an execution from the queue to running.
func (f *Fixture) Start(id execution.ID) {
	f.T.Helper()
	for {
		claimed, err := f.Store.Claim(f.T.Context(), 1, execution.ClaimLimits{})
		if err != nil || len(claimed) == 0 {
			f.T.Fatalf("claim %s: %v, %v", id, claimed, err)
		}
		if claimed[0].ID == id {
			break
		}
	}
	run := execution.Run{
		Node: f.Store.Node(), Epoch: f.Store.Epoch(), Container: "container", Nonce: "n0nce",
		StartedAt: Moment(1), Deadline: Moment(3601),
	}
	if err := f.Store.Start(f.T.Context(), id, run); err != nil {
		f.T.Fatal(err)
	}
}

// Finish ends an execution with r, and its delivery, if it has a callback, becomes pending.
func (f *Fixture) Finish(id execution.ID, r execution.Result) {
	f.T.Helper()
	e, err := f.Store.Get(f.T.Context(), id)
	if err != nil {
		f.T.Fatal(err)
	}
	d := delivery(e, r)
	if e.Callback.URL == "" {
		d = nil
	}
	if err := f.Store.Finish(f.T.Context(), id, r, d); err != nil {
		f.T.Fatal(err)
	}
}

// Completed is the result of a program with output.
func Completed(stdout, stderr string) execution.Result {
	return execution.Result{
		State: execution.Completed, Reason: execution.Exited, ExitCode: new(0), StartedAt: Moment(1),
		CompletedAt: Moment(2),
		Duration:    1500 * time.Millisecond, Stdout: outputOf(stdout), Stderr: outputOf(stderr), OutputComplete: true,
		CPUTime: 20 * time.Millisecond, MaxMemory: 9 << 20,
	}
}

func outputOf(s string) execution.Output {
	return execution.Output{Head: []byte(s), Bytes: int64(len(s))}
}

// Moment is a time s seconds after a fixed one.
func Moment(s int64) time.Time { return time.Unix(1_738_022_400+s, 0).UTC() }

func delivery(e execution.Execution, r execution.Result) *execution.Delivery {
	return &execution.Delivery{Body: callback.Body(e, r, Inline), CreatedAt: r.CompletedAt, NextAt: r.CompletedAt}
}

// cancelled is the end of an execution that never started.
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

// Typewriter holds the output of programs so far.
type Typewriter struct {
	mu    sync.Mutex
	texts map[string][]byte
	grown chan struct{}
}

// Print appends to a stream.
func (w *Typewriter) Print(id execution.ID, stream execution.Stream, text string) {
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

// Follow implements gateway.Live.
func (w *Typewriter) Follow(id execution.ID) (read func(execution.Stream) ([]byte, <-chan struct{}), release func()) {
	return func(stream execution.Stream) ([]byte, <-chan struct{}) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.grown == nil {
			w.grown = make(chan struct{})
		}
		return slices.Clip(w.texts[string(id)+string(stream)]), w.grown // only ever appended to
	}, func() {}
}

// Live implements gateway.Live.
func (w *Typewriter) Live(id execution.ID, stream execution.Stream) ([]byte, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text, ok := w.texts[string(id)+string(stream)]
	return bytes.Clone(text), ok
}

// workspaces adapts the store to gateway.Workspaces.
type workspaces struct{ *store.Store }

// NewBlob implements gateway.Workspaces.
func (w workspaces) NewBlob(ctx context.Context) (gateway.BlobWriter, error) {
	return w.Store.NewBlob(ctx)
}

// Background submits a program without a callback.
func (f *Fixture) Background(token, body string) execution.ID {
	f.T.Helper()
	a := f.Call(http.MethodPost, "/execute/background", token, body, AsJSON)
	if a.Status != http.StatusOK {
		f.T.Fatalf("got %d: %s", a.Status, a.Body)
	}
	return a.ID(f.T)
}

// Fail ends an execution that has no callback.
func (f *Fixture) Fail(id execution.ID, r execution.Result) {
	f.T.Helper()
	if err := f.Store.Finish(f.T.Context(), id, r, nil); err != nil {
		f.T.Fatal(err)
	}
}

// Work starts and completes queued executions until stop is called.
func (f *Fixture) Work() (stop func()) {
	f.T.Helper()
	quit := make(chan struct{})
	var worker sync.WaitGroup
	worker.Go(func() {
		for {
			claimed, err := f.Store.Claim(f.T.Context(), 1, execution.ClaimLimits{})
			if err != nil {
				f.T.Error(err)
				return
			}
			for _, e := range claimed {
				run := execution.Run{
					Node: f.Store.Node(), Epoch: f.Store.Epoch(), Container: "container", Nonce: "n0nce",
					StartedAt: time.Now(), Deadline: time.Now().Add(e.Timeout),
				}
				if err := f.Store.Start(f.T.Context(), e.ID, run); err != nil {
					f.T.Error(err)
				}
				f.Finish(e.ID, Completed("1\n", ""))
			}
			if len(claimed) > 0 {
				continue
			}
			select {
			case <-f.Store.Queued():
			case <-quit:
				return
			}
		}
	})
	return func() {
		close(quit)
		worker.Wait()
	}
}

// Keep stores content as a blob.
func (f *Fixture) Keep(content string) execution.Blob {
	f.T.Helper()
	w, err := f.Store.NewBlob(f.T.Context())
	if err != nil {
		f.T.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		f.T.Fatal(err)
	}
	b, err := w.Close()
	if err != nil {
		f.T.Fatal(err)
	}
	return b
}

// Leave makes an execution of ann that has ended and left files.
func (f *Fixture) Leave(leavings execution.Omissions, files ...execution.Artifact) execution.ID {
	f.T.Helper()
	id := f.Submit(f.Ann, `{"code":"x","callback_url":"https://example.com/hook","artifacts":["**"]}`)
	f.Start(id)
	r := Completed("", "")
	r.Artifacts = &execution.Artifacts{Files: files, Omissions: leavings}
	f.Finish(id, r)
	return id
}

// Put sends a file.
func (f *Fixture) Put(path, token, body string, headers ...string) Answer {
	f.T.Helper()
	return f.Call(http.MethodPut, path, token, body, headers...)
}

// Expect fails unless the answer has the status and, if there is one, the code.
func (a Answer) Expect(t *testing.T, status int, code string) Answer {
	t.Helper()
	if a.Status != status || code != "" && a.JSON(t)["code"] != code {
		t.Errorf("got %d %s; want %d %s", a.Status, a.Body, status, code)
	}
	return a
}

// Line returns the only line of the log about a request.
func (f *Fixture) Line(requestID string) *logrus.Entry {
	f.T.Helper()
	var found []*logrus.Entry
	for _, entry := range f.Log.AllEntries() {
		if entry.Data["request_id"] == requestID {
			found = append(found, entry)
		}
	}
	if len(found) != 1 {
		f.T.Fatalf("got %d lines about %s; want one", len(found), requestID)
	}
	return found[0]
}

// Refuses fails unless the answer is 400 INVALID_REQUEST with this sentence about this field.
func (a Answer) Refuses(t *testing.T, what, field, sentence string) {
	t.Helper()
	v := a.JSON(t)
	details, _ := v["details"].(map[string]any)
	if a.Status != http.StatusBadRequest || v["code"] != "INVALID_REQUEST" || v["message"] != sentence ||
		details["field"] != field {
		t.Errorf("%s: got %d %s; want 400 about %s: %s", what, a.Status, a.Body, field, sentence)
	}
}

// ClockAt sets the clock of the API to a time that the test moves.
func ClockAt(now *time.Time) func(*server.Config, *Deps) {
	return func(_ *server.Config, d *Deps) { d.Now = func() time.Time { return *now } }
}

// Subscribed reports each Ended on a channel.
type Subscribed struct {
	Records
	At chan<- execution.ID
}

// Ended implements gateway.Records.
func (s Subscribed) Ended(id execution.ID) (ended <-chan struct{}, release func()) {
	ended, release = s.Records.Ended(id)
	s.At <- id
	return ended, release
}

// Waiting makes the fixture report each request that begins to wait for the end of an execution.
func Waiting(at chan<- execution.ID) func(*server.Config, *Deps) {
	return func(_ *server.Config, d *Deps) { d.Records = Subscribed{d.Records, at} }
}

// Furnished is a fixture in which ann and root have a workspace "w" with a file "f", and ann an ended execution with an
// artifact "f".
func Furnished(t *testing.T) (*Fixture, execution.ID) {
	t.Helper()
	h := Open(t)
	h.Put("/workspaces/w/files/f", h.Ann, "ann's").Expect(t, http.StatusCreated, "")
	h.Put("/workspaces/w/files/f", h.Admin, "root's").Expect(t, http.StatusCreated, "")
	id := h.Leave(execution.Omissions{}, execution.Artifact{Path: "f", Mode: 0o600, Blob: h.Keep("left")})
	return h, id
}
