package hopx_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/admission"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/server"
)

// execute sends a program and returns a channel with the answer.
func execute(ctx context.Context, h *apitest.Fixture, body string, headers ...string) <-chan apitest.Answer {
	h.T.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL+"/execute", strings.NewReader(body))
	if err != nil {
		h.T.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+h.Ann)
	r.Header.Set("Content-Type", "application/json")
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	answers := make(chan apitest.Answer, 1)
	go func() {
		defer close(answers)
		if ctx != h.T.Context() { // the client hangs up
			if response, err := http.DefaultTransport.RoundTrip(r); err == nil {
				_ = response.Body.Close()
			}
			return
		}
		a := h.Send(r)
		apitest.Description(h.T).Validate(h.T, r, a)
		answers <- a
	}()
	return answers
}

func TestExecuteAnswersWithTheResultHoweverItEnded(t *testing.T) {
	at := make(chan execution.ID, 1)
	h := apitest.Open(t, apitest.Waiting(at))
	failed, late := apitest.Completed("", "NameError\n"), apitest.Completed("so far\n", "")
	failed.State, failed.ExitCode, failed.Error = execution.Failed, new(1), "The program exited with code 1."
	late.State, late.Reason, late.ExitCode, late.Error = execution.Timeout, execution.TimedOut, new(124),
		"It took too long."
	for name, r := range map[string]execution.Result{
		"completed": apitest.Completed("1\n", ""), "failed": failed,
		"timeout": late,
	} {
		answers := execute(t.Context(), h, `{"code":"print(1)","callback_url":"not even a URL","workdir":"/tmp"}`)
		id := <-at
		h.Start(id)
		h.Finish(id, r)
		a := <-answers
		want := map[string]any{
			"execution_id": string(id), "status": string(r.State), "success": r.State == execution.Completed,
			"stdout": string(r.Stdout.Head),
			"stderr": string(r.Stderr.Head), "exit_code": float64(*r.ExitCode), "execution_time": 1.5,
			"language":  "python",
			"timestamp": "2025-01-28T00:00:02Z", "reason": string(r.Reason),
		}
		got := a.JSON(t)
		for field := range got {
			if _, asked := want[field]; !asked {
				delete(got, field)
			}
		}
		if diff := cmp.Diff(want, got); a.Status != http.StatusOK || diff != "" {
			t.Errorf("%s: got %d, -want +got:\n%s", name, a.Status, diff)
		}
		e, err := h.Store.Get(t.Context(), id)
		if err != nil || e.Timeout != 2*time.Minute || e.WorkingDir != "/tmp" || e.Callback.URL != "" {
			t.Errorf("%s: stored %+v, %v; want it for two minutes without a callback", name, e, err)
		}
	}
}

// The program takes longer than any other request may.
func TestExecuteIsHeldLongerThanOtherRequests(t *testing.T) {
	at := make(chan execution.ID, 1)
	h := apitest.Open(t, apitest.Waiting(at), func(c *server.Config, _ *apitest.Deps) { c.Timeout = time.Second })
	answers := execute(t.Context(), h, `{"code":"1"}`)
	id := <-at
	h.Start(id)
	<-time.After(2 * time.Second)
	h.Finish(id, apitest.Completed("at last", ""))
	if a := <-answers; a.Status != http.StatusOK || a.JSON(t)["stdout"] != "at last" {
		t.Errorf("got %d %s; want the result", a.Status, a.Body)
	}
}

func TestHangingUpCancelsTheProgramUnlessItHasAKey(t *testing.T) {
	at, cancels := make(chan execution.ID, 1), make(chan execution.ID, 1)
	h := apitest.Open(t, apitest.Waiting(at), func(_ *server.Config, d *apitest.Deps) {
		cancel := d.Cancel
		d.Cancel = func(ctx context.Context, id execution.ID) (execution.Execution, error) {
			e, err := cancel(ctx, id)
			cancels <- id
			return e, err
		}
	})
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	keyed := execute(ctx, h, `{"code":"1"}`, "Idempotency-Key: k")
	kept := <-at
	bare := execute(ctx, h, `{"code":"1"}`)
	lost := <-at
	hangUp()
	<-keyed
	<-bare
	if id := <-cancels; id != lost {
		t.Errorf("%s was cancelled; want %s", id, lost)
	}
	if e, err := h.Store.Get(t.Context(), lost); err != nil || e.State != execution.Cancelled {
		t.Errorf("without a key: got %s, %v; want it cancelled", e.State, err)
	}

	answers := execute(t.Context(), h, `{"code":"1"}`, "Idempotency-Key: k")
	if id := <-at; id != kept {
		t.Errorf("the same key led to %s; want %s", id, kept)
	}
	h.Start(kept)
	h.Finish(kept, apitest.Completed("1\n", ""))
	if a := <-answers; a.Status != http.StatusOK || a.JSON(t)["stdout"] != "1\n" ||
		a.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("got %d %s; want the result of the first", a.Status, a.Body)
	}
	again := execute(t.Context(), h, `{"code":"1"}`, "Idempotency-Key: k")
	<-at
	if a := <-again; a.JSON(t)["execution_id"] != string(kept) || a.JSON(t)["success"] != true {
		t.Errorf("after the end: got %s; want the result at once", a.Body)
	}
	select {
	case id := <-cancels:
		t.Errorf("%s was cancelled, too", id)
	default:
	}
}

func TestAServerThatStopsSaysThatTheProgramGoesOn(t *testing.T) {
	at := make(chan execution.ID, 1)
	h := apitest.Open(t, apitest.Waiting(at))
	answers := execute(t.Context(), h, `{"code":"1"}`)
	id := <-at
	h.Start(id)
	h.Live.Print(id, execution.Stdout, "so far")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := h.Server.Shutdown(ctx); err != nil {
		t.Errorf("the server waited for the program: %v", err)
	}
	a := <-answers
	got := a.JSON(t)
	if a.Status != http.StatusOK || got["success"] != false || got["status"] != "running" ||
		got["stdout"] != "so far" || got["exit_code"] != nil ||
		!strings.Contains(fmt.Sprint(got["error"]), "/executions/"+string(id)) {
		t.Errorf("got %d %s; want what is known so far", a.Status, a.Body)
	}
	if e, err := h.Store.Get(t.Context(), id); err != nil || e.CancelRequested {
		t.Errorf("got %+v, %v; want it to go on", e, err)
	}
}

// forgetful are records that cannot be read.
type forgetful struct{ apitest.Records }

func (forgetful) Get(context.Context, execution.ID) (execution.Execution, error) {
	return execution.Execution{}, errors.New("disk")
}

func TestNothingThatGoesWrongAfterEnqueuingIsA5xx(t *testing.T) {
	at := make(chan execution.ID, 1)
	h := apitest.Open(t, apitest.Waiting(at),
		func(_ *server.Config, d *apitest.Deps) { d.Records = forgetful{d.Records} })
	answers := execute(t.Context(), h, `{"code":"1"}`)
	id := <-at
	h.Start(id)
	h.Finish(id, apitest.Completed("1\n", ""))
	if a := <-answers; a.Status != http.StatusOK || a.JSON(t)["execution_id"] != string(id) ||
		a.JSON(t)["success"] != false {
		t.Errorf("got %d %s; want a 200 that names the execution", a.Status, a.Body)
	}
}

func TestExecuteIsRefusedBeforeAnythingIsStored(t *testing.T) {
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) {
		a := d.Admission
		d.Admission = crowded{a}
	})
	if a := <-execute(t.Context(), h, `{"code":"full"}`); a.Status != http.StatusTooManyRequests ||
		a.JSON(t)["code"] != "QUEUE_FULL" {
		t.Errorf("got %d %s; want 429 QUEUE_FULL", a.Status, a.Body)
	}
	for body, field := range map[string]string{
		`{"code":"1","timeout":301}`: "timeout", `{"code":"1","timeout":-1}`: "timeout", `{}`: "code",
		`{"code":"1","env":{"A":1}}`:    "env",
		`{"code":"1","workdir":"/etc"}`: "working_dir", `{"code":"1","language":"cobol"}`: "language",
	} {
		a := <-execute(t.Context(), h, body)
		details, _ := a.JSON(t)["details"].(map[string]any)
		if a.Status != http.StatusBadRequest || details["field"] != field {
			t.Errorf("%s: got %d %s; want 400 for %s", body, a.Status, a.Body, field)
		}
	}
	if list, err := h.Store.List(t.Context(), execution.Filter{Limit: 10}); err != nil || len(list.Executions) != 0 {
		t.Errorf("stored %d, %v; want none", len(list.Executions), err)
	}
}

func TestAsManyAreWaitedForAsMayFollow(t *testing.T) {
	at := make(chan execution.ID, 1)
	h := apitest.Open(t, apitest.Waiting(at), func(_ *server.Config, d *apitest.Deps) { d.Quota.Streams = 1 })
	first := execute(t.Context(), h, `{"code":"1"}`)
	id := <-at
	a := <-execute(t.Context(), h, `{"code":"2"}`)
	if list, err := h.Store.List(t.Context(), execution.Filter{Limit: 10}); a.Status != http.StatusTooManyRequests ||
		err != nil || len(list.Executions) != 1 {
		t.Errorf("got %d %s with %d stored, %v; want 429 and one", a.Status, a.Body, len(list.Executions), err)
	}
	h.Start(id)
	h.Finish(id, apitest.Completed("", ""))
	<-first
	third := execute(t.Context(), h, `{"code":"3"}`)
	id = <-at
	h.Start(id)
	h.Finish(id, apitest.Completed("", ""))
	if a := <-third; a.Status != http.StatusOK {
		t.Errorf("after the first: got %d %s; want its result", a.Status, a.Body)
	}
}

// crowded refuses the code "full" with QUEUE_FULL.
type crowded struct{ apitest.Admission }

func (c crowded) Admit(ctx context.Context, s admission.Submission) (execution.Execution, bool, error) {
	if s.Code == "full" {
		return execution.Execution{}, false, fault.New(fault.QueueFull, "The queue is full.")
	}
	return c.Admission.Admit(ctx, s)
}
