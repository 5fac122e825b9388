package report_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/httpapi"
	"boomerang/internal/report"
	"boomerang/internal/store"
	"boomerang/internal/store/storetest"
)

// harness is a runner that reports through a real store, and the API's reader.
type harness struct {
	report.Reader
	runner atomic.Pointer[runnerState]
}

// runnerState is the state that the runner finds when it reports.
type runnerState struct {
	checkErr   error
	warnings   []string
	missing    []string
	missingErr error
}

// newHarness runs a writer until the test ends, inside a synctest bubble.
func newHarness(t *testing.T) *harness {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	records, err := store.Open(t.Context(), storetest.Dir(t), store.Defaults(), logrus.NewEntry(log))
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{Reader: report.Reader{Store: records}}
	h.runner.Store(&runnerState{})
	w := report.Writer{
		Store: records,
		Checks: []httpapi.Check{{Name: "engine", Run: func(context.Context) error {
			return h.runner.Load().checkErr
		}}},
		Warnings:      func(context.Context) []string { return h.runner.Load().warnings },
		MissingImages: func(context.Context) ([]string, error) { s := h.runner.Load(); return s.missing, s.missingErr },
		Log:           logrus.NewEntry(log),
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := records.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	synctest.Wait()
	return h
}

func TestTheReaderHasTheReportsOfTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		check := h.Checks("engine")[0]
		if err := check.Run(t.Context()); err != nil || check.Name != "engine" {
			t.Errorf("check %s of a healthy runner: %v", check.Name, err)
		}
		if got := h.Warnings(t.Context()); len(got) != 0 {
			t.Errorf("warnings = %q, want none", got)
		}

		h.runner.Store(&runnerState{
			checkErr: fault.New(fault.ServiceUnavailable, "It is down.").Because(errors.New("private")),
			warnings: []string{"engine: runc", "second"}, missing: []string{"go", "ruby"},
		})
		time.Sleep(6 * time.Second)
		if got := fault.Of(check.Run(t.Context())).Sentence; got != "It is down." {
			t.Errorf("the check says %q, want the public sentence of the runner", got)
		}
		if diff := cmp.Diff([]string{"engine: runc", "second"}, h.Warnings(t.Context())); diff != "" {
			t.Errorf("warnings: -want +got\n%s", diff)
		}
		missing, err := h.MissingImages(t.Context())
		if diff := cmp.Diff([]string{"go", "ruby"}, missing); diff != "" || err != nil {
			t.Errorf("missing images: %v, -want +got\n%s", err, diff)
		}
	})
}

func TestUnknownImagesAreNotReportedAsPresent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.runner.Store(&runnerState{missing: []string{"go"}})
		time.Sleep(6 * time.Second)
		h.runner.Store(&runnerState{missingErr: errors.New("the engine does not answer")})
		time.Sleep(6 * time.Second)
		if missing, err := h.MissingImages(t.Context()); len(missing) != 1 || err != nil {
			t.Errorf("missing images = %q, %v, want the last known", missing, err)
		}
	})
}

func TestASilentRunnerFailsTheChecks(t *testing.T) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	records, err := store.Open(t.Context(), storetest.Dir(t), store.Defaults(), logrus.NewEntry(log))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = records.Close() }()
	r := report.Reader{Store: records}
	if err := r.Checks("docker")[0].Run(t.Context()); err == nil {
		t.Error("the check passes without a report")
	}
	if _, err := r.MissingImages(t.Context()); err == nil {
		t.Error("no error although the missing images are unknown")
	}
	if got := r.Warnings(t.Context()); got != nil {
		t.Errorf("warnings = %q without a report", got)
	}
	if kept, ok := r.Live(execution.NewID(time.Now()), execution.Stdout); !ok || len(kept) != 0 {
		t.Errorf("live output of an unknown execution: %q, %t", kept, ok)
	}
}
