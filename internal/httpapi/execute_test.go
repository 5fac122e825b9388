package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"boomerang/internal/admission"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// waiting makes h tell when somebody begins to wait for an end.
func waiting(at chan execution.ID) func(*Config, *Deps) {
	return func(_ *Config, d *Deps) { d.Records = subscribed{d.Records, at} }
}

// execute sends a program that is waited for; the answer comes by the channel.
func (h *house) execute(ctx context.Context, body string, headers ...string) <-chan answer {
	h.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url+"/execute", strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+h.ann)
	r.Header.Set("Content-Type", "application/json")
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	answers := make(chan answer, 1)
	go func() {
		defer close(answers)
		if ctx != h.t.Context() { // it will leave
			if response, err := http.DefaultTransport.RoundTrip(r); err == nil {
				_ = response.Body.Close()
			}
			return
		}
		a := h.send(r)
		h.validateResponse(h.t, r, a)
		answers <- a
	}()
	return answers
}

func TestExecuteAnswersWithTheResultHoweverItEnded(t *testing.T) {
	at := make(chan execution.ID, 1)
	h := open(t, waiting(at))
	failed, late := completed("", "NameError\n"), completed("so far\n", "")
	failed.State, failed.ExitCode, failed.Error = execution.Failed, new(1), "The program exited with code 1."
	late.State, late.Reason, late.ExitCode, late.Error = execution.Timeout, execution.TimedOut, new(124), "It took too long."
	for name, r := range map[string]execution.Result{"completed": completed("1\n", ""), "failed": failed, "timeout": late} {
		answers := h.execute(t.Context(), `{"code":"print(1)","callback_url":"not even a URL","workdir":"/tmp"}`)
		id := <-at
		h.start(id)
		h.finish(id, r)
		a := <-answers
		want := map[string]any{
			"execution_id": string(id), "status": string(r.State), "success": r.State == execution.Completed, "stdout": string(r.Stdout.Head),
			"stderr": string(r.Stderr.Head), "exit_code": float64(*r.ExitCode), "execution_time": 1.5, "language": "python",
			"timestamp": "2025-01-28T00:00:02Z", "reason": string(r.Reason),
		}
		got := a.json(t)
		for field := range got {
			if _, asked := want[field]; !asked {
				delete(got, field)
			}
		}
		if diff := cmp.Diff(want, got); a.status != http.StatusOK || diff != "" {
			t.Errorf("%s: got %d, -want +got:\n%s", name, a.status, diff)
		}
		e, err := h.store.Get(t.Context(), id)
		if err != nil || e.Timeout != 2*time.Minute || e.WorkingDir != "/tmp" || e.Callback.URL != "" {
			t.Errorf("%s: stored %+v, %v; want it for two minutes without a callback", name, e, err)
		}
	}
}

// The program takes longer than any other request may.
func TestExecuteIsHeldLongerThanOtherRequests(t *testing.T) {
	at := make(chan execution.ID, 1)
	h := open(t, waiting(at), func(c *Config, _ *Deps) { c.Timeout = time.Second })
	answers := h.execute(t.Context(), `{"code":"1"}`)
	id := <-at
	h.start(id)
	<-time.After(2 * time.Second)
	h.finish(id, completed("at last", ""))
	if a := <-answers; a.status != http.StatusOK || a.json(t)["stdout"] != "at last" {
		t.Errorf("got %d %s; want the result", a.status, a.body)
	}
}

func TestWhoHangsUpEndsTheProgramButNotWithAKey(t *testing.T) {
	at, cancels := make(chan execution.ID, 1), make(chan execution.ID, 1)
	h := open(t, waiting(at), func(_ *Config, d *Deps) {
		cancel := d.Cancel
		d.Cancel = func(ctx context.Context, id execution.ID) (execution.Execution, error) {
			e, err := cancel(ctx, id)
			cancels <- id
			return e, err
		}
	})
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	keyed := h.execute(ctx, `{"code":"1"}`, "Idempotency-Key: k")
	kept := <-at
	bare := h.execute(ctx, `{"code":"1"}`)
	lost := <-at
	hangUp()
	<-keyed
	<-bare
	if id := <-cancels; id != lost {
		t.Errorf("%s was cancelled; want %s", id, lost)
	}
	if e, err := h.store.Get(t.Context(), lost); err != nil || e.State != execution.Cancelled {
		t.Errorf("without a key: got %s, %v; want it cancelled", e.State, err)
	}

	answers := h.execute(t.Context(), `{"code":"1"}`, "Idempotency-Key: k")
	if id := <-at; id != kept {
		t.Errorf("the same key led to %s; want %s", id, kept)
	}
	h.start(kept)
	h.finish(kept, completed("1\n", ""))
	if a := <-answers; a.status != http.StatusOK || a.json(t)["stdout"] != "1\n" || a.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("got %d %s; want the result of the first", a.status, a.body)
	}
	again := h.execute(t.Context(), `{"code":"1"}`, "Idempotency-Key: k")
	<-at
	if a := <-again; a.json(t)["execution_id"] != string(kept) || a.json(t)["success"] != true {
		t.Errorf("after the end: got %s; want the result at once", a.body)
	}
	select {
	case id := <-cancels:
		t.Errorf("%s was cancelled, too", id)
	default:
	}
}

func TestAServerThatStopsSaysThatTheProgramGoesOn(t *testing.T) {
	at := make(chan execution.ID, 1)
	h := open(t, waiting(at))
	answers := h.execute(t.Context(), `{"code":"1"}`)
	id := <-at
	h.start(id)
	h.live.print(id, execution.Stdout, "so far")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := h.server.Shutdown(ctx); err != nil {
		t.Errorf("the server waited for the program: %v", err)
	}
	a := <-answers
	got := a.json(t)
	if a.status != http.StatusOK || got["success"] != false || got["status"] != "running" || got["stdout"] != "so far" || got["exit_code"] != nil ||
		!strings.Contains(fmt.Sprint(got["error"]), "/executions/"+string(id)) {
		t.Errorf("got %d %s; want what is known so far", a.status, a.body)
	}
	if e, err := h.store.Get(t.Context(), id); err != nil || e.CancelRequested {
		t.Errorf("got %+v, %v; want it to go on", e, err)
	}
}

// forgetful is a record that cannot be read.
type forgetful struct{ Records }

func (forgetful) Get(context.Context, execution.ID) (execution.Execution, error) {
	return execution.Execution{}, errors.New("disk")
}

func TestNothingThatGoesWrongAfterEnqueuingIsA5xx(t *testing.T) {
	at := make(chan execution.ID, 1)
	h := open(t, waiting(at), func(_ *Config, d *Deps) { d.Records = forgetful{d.Records} })
	answers := h.execute(t.Context(), `{"code":"1"}`)
	id := <-at
	h.start(id)
	h.finish(id, completed("1\n", ""))
	if a := <-answers; a.status != http.StatusOK || a.json(t)["execution_id"] != string(id) || a.json(t)["success"] != false {
		t.Errorf("got %d %s; want a 200 that names the execution", a.status, a.body)
	}
}

func TestExecuteIsRefusedBeforeAnythingIsStored(t *testing.T) {
	h := open(t, func(_ *Config, d *Deps) {
		a := d.Admission
		d.Admission = crowded{a}
	})
	if a := <-h.execute(t.Context(), `{"code":"full"}`); a.status != http.StatusTooManyRequests || a.json(t)["code"] != "QUEUE_FULL" {
		t.Errorf("got %d %s; want 429 QUEUE_FULL", a.status, a.body)
	}
	for body, field := range map[string]string{
		`{"code":"1","timeout":301}`: "timeout", `{"code":"1","timeout":-1}`: "timeout", `{}`: "code", `{"code":"1","env":{"A":1}}`: "env",
		`{"code":"1","workdir":"/etc"}`: "working_dir", `{"code":"1","language":"cobol"}`: "language",
	} {
		a := <-h.execute(t.Context(), body)
		details, _ := a.json(t)["details"].(map[string]any)
		if a.status != http.StatusBadRequest || details["field"] != field {
			t.Errorf("%s: got %d %s; want 400 for %s", body, a.status, a.body, field)
		}
	}
	if list, err := h.store.List(t.Context(), execution.Filter{Limit: 10}); err != nil || len(list) != 0 {
		t.Errorf("stored %d, %v; want none", len(list), err)
	}
}

func TestAsManyAreWaitedForAsMayFollow(t *testing.T) {
	at := make(chan execution.ID, 1)
	h := open(t, waiting(at), func(c *Config, _ *Deps) { c.Streams = 1 })
	first := h.execute(t.Context(), `{"code":"1"}`)
	id := <-at
	a := <-h.execute(t.Context(), `{"code":"2"}`)
	if list, err := h.store.List(t.Context(), execution.Filter{Limit: 10}); a.status != http.StatusTooManyRequests || err != nil || len(list) != 1 {
		t.Errorf("got %d %s with %d stored, %v; want 429 and one", a.status, a.body, len(list), err)
	}
	h.start(id)
	h.finish(id, completed("", ""))
	<-first
	third := h.execute(t.Context(), `{"code":"3"}`)
	id = <-at
	h.start(id)
	h.finish(id, completed("", ""))
	if a := <-third; a.status != http.StatusOK {
		t.Errorf("after the first: got %d %s; want its result", a.status, a.body)
	}
}

// crowded has no room for code that says so.
type crowded struct{ Admission }

func (c crowded) Admit(ctx context.Context, s admission.Submission) (execution.Execution, bool, error) {
	if s.Code == "full" {
		return execution.Execution{}, false, fault.New(fault.QueueFull, "The queue is full.")
	}
	return c.Admission.Admit(ctx, s)
}

// silentRecord is one execution that waits in the queue for ever.
type silentRecord struct {
	Records
	mu    sync.Mutex
	e     execution.Execution
	ended chan struct{}
}

func (s *silentRecord) Get(context.Context, execution.ID) (execution.Execution, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.e, nil
}

func (s *silentRecord) Ended(execution.ID) (<-chan struct{}, func()) { return s.ended, func() {} }

func (s *silentRecord) cancel(context.Context, execution.ID) (execution.Execution, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, _ := cancelled(s.e)
	s.e.State, s.e.Result = execution.Cancelled, &r
	close(s.ended)
	return s.e, nil
}

func TestWhatHasNotItsTurnInTimeIsCancelledUnlessItHasAKey(t *testing.T) {
	for returns, want := range map[bool]string{false: `"status":"cancelled"`, true: `"status":"queued"`} {
		synctest.Test(t, func(t *testing.T) {
			logger, _ := logtest.NewNullLogger()
			s := &silentRecord{
				e:     execution.Execution{ID: execution.NewID(time.Now()), State: execution.Queued, Timeout: time.Minute, Language: "python"},
				ended: make(chan struct{}),
			}
			a := &api{whole: wholeRecords{Records: s}, Deps: Deps{Records: s, Cancel: s.cancel, Live: &typewriter{}, Inline: inline, Log: logrus.NewEntry(logger), Now: time.Now}}
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(context.WithValue(t.Context(), exchangeKey{}, &exchange{}), http.MethodPost, "/execute", nil)
			began := time.Now()
			if err := a.hold(w, r, s.e, returns); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took != time.Minute+queueing || w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
				t.Errorf("with a key %v: got %d %s after %s; want %s", returns, w.Code, w.Body, took, want)
			}
		})
	}
}
