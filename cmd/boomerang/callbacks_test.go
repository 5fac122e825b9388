package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/sirupsen/logrus"

	"boomerang/internal/address"
	"boomerang/internal/app"
	"boomerang/internal/auth"
	"boomerang/internal/client"
	"boomerang/internal/config"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/wire"
)

// harness is a server without an engine, and a receiver whose answer the test chooses. Cancelling a queued execution
// produces a result, which the server posts to the receiver.
type harness struct {
	t        *testing.T
	url      string
	config   config.Config
	token    string
	receiver *httptest.Server
	status   atomic.Int32
	hold     chan struct{} // if not nil, the first attempt sends a value on arrival and waits for another one
}

// newHarness starts the server and the receiver. The options change the configuration before the start.
func newHarness(t *testing.T, options ...func(*harness)) *harness {
	t.Helper()
	h := &harness{t: t, config: config.Defaults()}
	h.config.DataDir = t.TempDir()
	h.config.HTTP.Addr = "127.0.0.1:0"
	h.config.Docker.Host = "unix:///nonexistent/docker.sock"
	h.config.Callback.AllowCIDRs = []address.Range{address.MustParseRange("127.0.0.0/8")}
	h.config.Callback.RevealExceptions = true
	for _, f := range options {
		f(h)
	}
	h.receiver = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := int(h.status.Load())
		if h.hold != nil && r.Header.Get("X-Hopx-Attempt") == "1" {
			h.hold <- struct{}{}
			<-h.hold
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(h.receiver.Close)
	log := logrus.New()
	log.SetOutput(io.Discard)
	server, err := app.New(t.Context(), h.config, "test", logrus.NewEntry(log))
	if err != nil {
		t.Fatal(err)
	}
	h.url = "http://" + server.Addr()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	h.token = h.tokenOf("me")
	return h
}

func (h *harness) tokenOf(subject string) string {
	h.t.Helper()
	tokens, err := auth.New(h.config.Auth, h.config.DataDir)
	if err != nil {
		h.t.Fatal(err)
	}
	token, err := tokens.Issue(subject, time.Hour)
	if err != nil {
		h.t.Fatal(err)
	}
	return token
}

// run runs a command line as main does, and returns the output.
func (h *harness) run(args ...string) (out string, err error) {
	h.t.Helper()
	var text strings.Builder
	exit := func(int) { h.t.Errorf("%v: the command exits", args) }
	parser, err := kong.New(&cli{}, kong.Writers(&text, io.Discard), kong.Exit(exit),
		kong.BindTo(h.t.Context(), (*context.Context)(nil)))
	if err != nil {
		h.t.Fatal(err)
	}
	command, err := parser.Parse(append(args, "--server", h.url, "--token", h.token))
	if err != nil {
		h.t.Fatalf("%v: %v", args, err)
	}
	err = command.Run()
	return text.String(), err
}

// mustRun runs a command line that must succeed, and returns the output.
func (h *harness) mustRun(args ...string) string {
	h.t.Helper()
	out, err := h.run(args...)
	if err != nil {
		h.t.Fatalf("%v: %v", args, err)
	}
	return out
}

// newEnded returns an execution that has ended and whose callback is due.
func (h *harness) newEnded() execution.ID {
	h.t.Helper()
	c, err := client.New(h.url, h.token)
	if err != nil {
		h.t.Fatal(err)
	}
	id, err := c.Submit(h.t.Context(), client.Submission{
		Code: "1", CallbackURL: h.receiver.URL + "/hook", CallbackHeaders: map[string]string{"X-A": "a"},
		Secrets: client.Secrets{"s"},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := c.Cancel(h.t.Context(), id); err != nil {
		h.t.Fatal(err)
	}
	return id
}

// shownCallback is the JSON of callbacks show --json.
type shownCallback struct {
	Callback wire.DeliveryRecord
	Attempts []wire.Attempt
}

// waitForState waits until a callback has the state.
func (h *harness) waitForState(id execution.ID, state execution.DeliveryState) (s shownCallback) {
	h.t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		decode(h.t, h.mustRun("callbacks", "show", "--json", string(id)), &s)
		if s.Callback.State == state {
			return s
		}
		if time.Now().After(end) {
			h.t.Fatalf("%s is %s, not %s", id, s.Callback.State, state)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func decode(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("got\n%s\nwant it to contain %q", text, part)
		}
	}
}

func TestADeadCallbackIsExplainedAndSentAgain(t *testing.T) {
	h := newHarness(t)
	h.status.Store(http.StatusGone)
	id := h.newEnded()
	dead := h.waitForState(id, execution.Dead)
	if dead.Callback.Explanation != "Given up: the receiver answered 410 Gone." ||
		len(dead.Attempts) != 1 || *dead.Attempts[0].StatusCode != 410 {
		t.Errorf("got %+v", dead)
	}
	line := string(id) + "  dead (gone)  1"
	contains(t, h.mustRun("callbacks", "list"), "EXECUTION", "NEXT ATTEMPT", line, h.receiver.URL+"/hook")
	filtered := h.mustRun("callbacks", "list", "--status", "dead,pending", "--since", "1h", "--to", h.receiver.URL)
	contains(t, filtered, line)
	for _, none := range [][]string{
		{"--status", "delivered"},
		{"--to", "http://127.0.0.1:1/"},
		{"--until", "1h"},
		{"--since", "2261-01-01T00:00:00Z"},
		{"--limit", "0"},
	} {
		if out := h.mustRun(append([]string{"callbacks", "list"}, none...)...); strings.Contains(out, string(id)) {
			t.Errorf("%v: got\n%s", none, out)
		}
	}
	var list []wire.Delivery
	decode(t, h.mustRun("callbacks", "list", "--json"), &list)
	if len(list) != 1 || list[0].ExecutionID != id || *list[0].Reason != execution.Gone {
		t.Errorf("got %+v", list)
	}
	contains(t, h.mustRun("callbacks", "show", string(id)),
		"Given up: the receiver answered 410 Gone.\n", "state         dead (gone)\n",
		"webhook-id    msg_"+string(id)+"\n", "headers       X-A\n", "signed        yes\n",
		"ATTEMPT  STARTED", "http_status  410     -            The receiver answered 410.  -\n")

	h.status.Store(http.StatusNoContent)
	out := h.mustRun("callbacks", "redeliver", string(id))
	contains(t, out, "execution     "+string(id)+"\n", "state         ") // the state may be delivered already
	got := h.waitForState(id, execution.Delivered)
	if got.Callback.Explanation != "Delivered at attempt 2: the receiver answered 204." || len(got.Attempts) != 2 {
		t.Errorf("got %+v", got)
	}
	var again wire.DeliveryRecord
	decode(t, h.mustRun("callbacks", "redeliver", "--json", string(id)), &again)
	if again.ExecutionID != id || again.Attempts < 2 {
		t.Errorf("got %+v", again)
	}
	h.waitForState(id, execution.Delivered)
}

// Without the redelivery the schedule would delay the second attempt by a day.
func TestARedeliveryDuringAFailingAttemptIsNotLost(t *testing.T) {
	h := newHarness(t, func(h *harness) {
		h.config.Callback.Schedule = []time.Duration{24 * time.Hour}
		h.hold = make(chan struct{})
	})
	h.status.Store(http.StatusInternalServerError)
	id := h.newEnded()
	<-h.hold
	h.status.Store(http.StatusOK)
	contains(t, h.mustRun("callbacks", "redeliver", string(id)), "No attempt has ended yet.")
	h.hold <- struct{}{}
	got := h.waitForState(id, execution.Delivered)
	if len(got.Attempts) != 2 || *got.Attempts[0].StatusCode != 500 || *got.Attempts[1].StatusCode != 200 {
		t.Errorf("got %+v; want a failure and a success", got)
	}
}

func TestRecoverSendsAllDeadCallbacksAgain(t *testing.T) {
	h := newHarness(t)
	h.status.Store(http.StatusGone)
	ids := []execution.ID{h.newEnded(), h.newEnded(), h.newEnded()}
	for _, id := range ids {
		h.waitForState(id, execution.Dead)
	}
	h.status.Store(http.StatusOK)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--to", "http://127.0.0.1:1/"}, "0 sent again\n"},
		{[]string{"--since", "0s"}, "0 sent again\n"},
		{[]string{"--since", "1h", "--to", h.receiver.URL}, "3 sent again\n"},
		{[]string{"--json"}, "{\n  \"recovered\": 0\n}\n"},
	} {
		if got := h.mustRun(append([]string{"callbacks", "recover"}, c.args...)...); got != c.want {
			t.Errorf("%v: got %q; want %q", c.args, got, c.want)
		}
	}
	for _, id := range ids {
		if got := h.waitForState(id, execution.Delivered); got.Callback.Attempts != 2 {
			t.Errorf("got %+v; want two attempts", got)
		}
	}
}

func TestCallbacksOfOtherSubjectsAreHidden(t *testing.T) {
	h := newHarness(t)
	h.status.Store(http.StatusGone)
	id := h.newEnded()
	h.waitForState(id, execution.Dead)
	h.token = h.tokenOf("another")
	for _, verb := range []string{"show", "redeliver"} {
		out, err := h.run("callbacks", verb, string(id))
		if f, ok := errors.AsType[*fault.Error](err); !ok || f.Code != fault.ExecutionNotFound || out != "" {
			t.Errorf("%s: got %q, %v; want EXECUTION_NOT_FOUND", verb, out, err)
		}
	}
	if out := h.mustRun("callbacks", "list", "--json"); out != "[]\n" {
		t.Errorf("list: got %q; want none", out)
	}
	if out := h.mustRun("callbacks", "recover"); out != "0 sent again\n" {
		t.Errorf("recover: got %q; want none", out)
	}
}

func TestCallbacksTestShowsTheOutcomeAndSetsTheExitCode(t *testing.T) {
	h := newHarness(t)
	args := []string{
		"callbacks", "test", h.receiver.URL + "/a?b=c", "--header", "X-A=1;2", "--header", "X-B=3",
		"--secret", "new", "--secret", "old",
	}
	h.status.Store(http.StatusOK)
	contains(t, h.mustRun(args...), "The receiver answered 200.\n\n", "arrived    yes\n", "outcome    delivered\n",
		"tls        -\n", "status     200\n", "signed     yes\n")

	h.status.Store(http.StatusInternalServerError)
	out, err := h.run(append(args, "--json")...)
	if code, ok := errors.AsType[exitError](err); !ok || code != 1 {
		t.Errorf("got %v; want exit code 1", err)
	}
	var trial wire.Trial
	decode(t, out, &trial)
	if trial.Arrived || *trial.StatusCode != 500 || trial.Outcome != execution.AttemptStatus || !trial.Connected {
		t.Errorf("got %+v", trial)
	}
	out, err = h.run("callbacks", "test", "http://169.254.169.254/latest")
	if f, ok := errors.AsType[*fault.Error](err); !ok || f.Code != fault.CallbackNotAllowed || out != "" {
		t.Errorf("got %q, %v; want CALLBACK_NOT_ALLOWED", out, err)
	}
}

func TestAnInstantIsATimeOrADuration(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2025-01-28T01:00:00+01:00": time.Date(2025, 1, 28, 0, 0, 0, 0, time.UTC),
		"90m":                       time.Now().Add(-90 * time.Minute),
	} {
		var i instant
		if err := i.UnmarshalText([]byte(text)); err != nil || i.Sub(want).Abs() > time.Minute {
			t.Errorf("%s: got %v, %v; want %v", text, i.Time, err, want)
		}
	}
	for _, text := range []string{"", "yesterday", "-5m", "2025-01-28"} {
		if err := new(instant).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got no error", text)
		}
	}
}

func TestAnAnswerCannotSteerTheTerminal(t *testing.T) {
	for answer, want := range map[string]string{
		"":                      "-",
		"ok\n":                  `"ok\n"`,
		"\x1b[2Jé\u202e":        `"\x1b[2Jé\u202e"`,
		strings.Repeat("ü", 61): `"` + strings.Repeat("ü", 60) + `"…`,
	} {
		if got := formatAnswer(wire.Reply{Answer: answer}); got != want {
			t.Errorf("%q: got %s; want %s", answer, got, want)
		}
	}
}
