package enginecheck

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/fault"
	"boomerang/internal/sandbox"
)

// fakeEngine is an engine whose answers a test sets.
type fakeEngine struct {
	starts *starts

	mu    sync.Mutex // guards the fields below
	errs  map[string]error
	tried []string
}

func newFakeEngine(errs map[string]error) *fakeEngine {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return &fakeEngine{starts: newStarts(logrus.NewEntry(log)), errs: errs}
}

func (f *fakeEngine) setErrors(errs map[string]error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs = errs
}

// try makes a container and removes it.
func (f *fakeEngine) try(_ context.Context, spec sandbox.Spec) error {
	f.mu.Lock()
	f.tried = append(f.tried, spec.Language)
	err := f.errs[spec.Language]
	f.mu.Unlock()
	f.starts.record(err)
	return err
}

func (f *fakeEngine) tries() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.tried)
}

// run proves with the languages a, b and c, the smallest image first.
func (f *fakeEngine) run(t *testing.T, warm bool) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.starts.run(ctx, prover{
			try: f.try, warm: func() bool { return warm },
			specs: func(context.Context) ([]sandbox.Spec, error) {
				return []sandbox.Spec{{Language: "a"}, {Language: "b"}, {Language: "c"}}, nil
			},
		})
	}()
	t.Cleanup(func() { stop(); <-done })
	synctest.Wait()
}

// want checks the state: "warns", "fails" or "proven".
func (f *fakeEngine) want(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	got := "proven"
	if len(f.starts.warnings()) > 0 {
		got = "warns"
	}
	if f.starts.check("") != nil {
		got = "fails"
	}
	if got != want {
		t.Errorf("got %q after the tries %v, want %q", got, f.tries(), want)
	}
}

func all(err error) map[string]error { return map[string]error{"a": err, "b": err, "c": err} }

func TestTheFirstContainerProvesTheEngine(t *testing.T) {
	for name, c := range map[string]struct {
		errs  map[string]error
		want  string
		tried string // languages tried at once
	}{
		"it starts":                     {nil, "proven", "a"},
		"one language is refused":       {map[string]error{"a": sandbox.ErrRefused}, "proven", "ab"},
		"one image has gone":            {map[string]error{"a": sandbox.ErrImageUnavailable}, "proven", "ab"},
		"all are refused":               {all(sandbox.ErrRefused), "fails", "abc"},
		"all fail":                      {all(sandbox.ErrTemporary), "fails", "abc"},
		"all fail for an unknown cause": {all(errors.New("unknown")), "fails", "abc"},
		"the engine does not answer":    {all(sandbox.ErrUnavailable), "warns", "a"},
		"no image is there":             {all(sandbox.ErrImageUnavailable), "warns", "abc"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeEngine(c.errs)
				f.want(t, "warns")
				f.run(t, false)
				f.want(t, c.want)
				if got := strings.Join(f.tries(), ""); got != c.tried {
					t.Errorf("tried %s, want %s", got, c.tried)
				}
			})
		})
	}
}

func TestAFailedProofIsRepeatedWithABackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeEngine(all(sandbox.ErrRefused))
		f.run(t, false)
		<-time.After(10 * time.Minute)
		f.want(t, "fails")
		if n := len(f.tries()) / 3; n < 13 || n > 16 {
			t.Errorf("tried %d times in ten minutes, want growing pauses of a minute at most", n)
		}
		f.setErrors(nil)
		<-time.After(time.Minute)
		f.want(t, "proven")
		n := len(f.tries())
		<-time.After(time.Hour)
		if len(f.tries()) != n {
			t.Errorf("tried %d times more after the proof", len(f.tries())-n)
		}
	})
}

func TestAContainerThatStartsPassesTheCheckAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeEngine(all(sandbox.ErrTemporary))
		f.run(t, false)
		<-time.After(10 * time.Minute)
		f.setErrors(nil)
		f.starts.record(nil)
		f.want(t, "proven")
	})
}

func TestAWarmContainerIsTheProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeEngine(nil)
		f.run(t, true)
		f.want(t, "warns")
		f.starts.record(nil)
		<-time.After(time.Hour)
		f.want(t, "proven")
		if len(f.tries()) != 0 {
			t.Errorf("tried %v beside the warm one", f.tries())
		}
	})
}

func TestWithoutAWarmContainerTheProverTries(t *testing.T) {
	for name, event := range map[string]func(*starts){
		"fails":         func(s *starts) { s.record(sandbox.ErrTemporary) },
		"does not come": func(*starts) { time.Sleep(warmTimeout) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeEngine(all(sandbox.ErrRefused))
				f.run(t, true)
				f.want(t, "warns")
				event(f.starts)
				f.want(t, "fails")
			})
		})
	}
}

func TestADoubtIsSettledByAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeEngine(nil)
		f.run(t, false)
		<-time.After(10 * time.Minute)
		f.setErrors(map[string]error{"c": sandbox.ErrRefused})
		for range 100 {
			f.starts.record(sandbox.ErrRefused) // as executions of one language do
			<-time.After(time.Second)
		}
		f.want(t, "proven")
		if n := len(f.tries()); n > 4 {
			t.Errorf("tried %d times within 100 s, want once a minute", n)
		}
		f.setErrors(all(sandbox.ErrTemporary))
		f.starts.record(sandbox.ErrTemporary)
		<-time.After(2 * time.Minute)
		f.want(t, "fails")
	})
}

func TestTheCheckHasAPublicSentenceAndTheReason(t *testing.T) {
	for _, c := range []struct {
		err  error
		says string
	}{
		{errors.Join(sandbox.ErrRefused, errors.New("open /var/lib/SECRET")), "refuses every container"},
		{errors.Join(sandbox.ErrTemporary, errors.New("open /var/lib/SECRET")), "fails to start containers"},
	} {
		f := newFakeEngine(nil)
		f.starts.recordFailure(c.err)
		got := fault.Of(f.starts.check("Podman is not supported.")).Sentence
		if !strings.Contains(got, c.says) || !strings.HasSuffix(got, "Podman is not supported.") ||
			strings.Contains(got, "SECRET") {
			t.Errorf("%q, want a sentence with %q and the reason, without the engine's words", got, c.says)
		}
	}
}
