package app

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

// fickle is an engine of which a test says what it answers.
type fickle struct {
	starts *starts

	mu    sync.Mutex // guards what follows
	errs  map[string]error
	tried []string
}

func newFickle(errs map[string]error) *fickle {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return &fickle{starts: newStarts(logrus.NewEntry(log)), errs: errs}
}

func (f *fickle) now(errs map[string]error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs = errs
}

// Prepare implements sandbox.Sandbox as far as it is needed.
func (f *fickle) prepare(_ context.Context, spec sandbox.Spec) error {
	f.mu.Lock()
	f.tried = append(f.tried, spec.Language)
	err := f.errs[spec.Language]
	f.mu.Unlock()
	f.starts.see(err)
	return err
}

func (f *fickle) tries() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.tried)
}

// run proves with the languages a, b and c, the smallest first.
func (f *fickle) run(t *testing.T, warm bool) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.starts.run(ctx, attempt{
			try: f.prepare, warm: func() bool { return warm },
			specs: func(context.Context) ([]sandbox.Spec, error) {
				return []sandbox.Spec{{Language: "a"}, {Language: "b"}, {Language: "c"}}, nil
			},
		})
	}()
	t.Cleanup(func() { stop(); <-done })
	synctest.Wait()
}

// want holds what /readyz would say against what it should: "warns", "fails" or "proven".
func (f *fickle) want(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	got := "proven"
	if len(f.starts.notes()) > 0 {
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
		tried string // at once
	}{
		"it starts":                             {nil, "proven", "a"},
		"one language is refused":               {map[string]error{"a": sandbox.ErrRefused}, "proven", "ab"},
		"one image has gone":                    {map[string]error{"a": sandbox.ErrImageUnavailable}, "proven", "ab"},
		"all are refused":                       {all(sandbox.ErrRefused), "fails", "abc"},
		"all fail":                              {all(sandbox.ErrTemporary), "fails", "abc"},
		"all fail for a cause that is not told": {all(errors.New("nobody knows")), "fails", "abc"},
		"the engine does not answer":            {all(sandbox.ErrUnavailable), "warns", "a"},
		"no image is there":                     {all(sandbox.ErrImageUnavailable), "warns", "abc"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFickle(c.errs)
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

func TestAProofIsTriedAgainWithGrowingPausesAndHealsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFickle(all(sandbox.ErrRefused))
		f.run(t, false)
		<-time.After(10 * time.Minute)
		f.want(t, "fails")
		if n := len(f.tries()) / 3; n < 13 || n > 16 {
			t.Errorf("tried %d times in ten minutes, want growing pauses of a minute at most", n)
		}
		f.now(nil)
		<-time.After(time.Minute)
		f.want(t, "proven")
		n := len(f.tries())
		<-time.After(time.Hour)
		if len(f.tries()) != n {
			t.Errorf("tried %d times more after the proof", len(f.tries())-n)
		}
	})
}

func TestAnExecutionThatStartsHealsTheCheckAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFickle(all(sandbox.ErrTemporary))
		f.run(t, false)
		<-time.After(10 * time.Minute)
		f.now(nil)
		f.starts.see(nil)
		f.want(t, "proven")
	})
}

func TestAWarmContainerIsTheProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFickle(nil)
		f.run(t, true)
		f.want(t, "warns")
		f.starts.see(nil)
		<-time.After(time.Hour)
		f.want(t, "proven")
		if len(f.tries()) != 0 {
			t.Errorf("tried %v beside the warm one", f.tries())
		}
	})
}

func TestAWarmContainerThatFailsOrDoesNotComeIsReplacedByATry(t *testing.T) {
	for name, event := range map[string]func(*starts){
		"fails":         func(s *starts) { s.see(sandbox.ErrTemporary) },
		"does not come": func(*starts) { time.Sleep(warmPatience) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFickle(all(sandbox.ErrRefused))
				f.run(t, true)
				f.want(t, "warns")
				event(f.starts)
				f.want(t, "fails")
			})
		})
	}
}

func TestADoubtIsSettledByATry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFickle(nil)
		f.run(t, false)
		<-time.After(10 * time.Minute)
		f.now(map[string]error{"c": sandbox.ErrRefused})
		for range 100 {
			f.starts.see(sandbox.ErrRefused) // executions of one language
			<-time.After(time.Second)
		}
		f.want(t, "proven")
		if n := len(f.tries()); n > 4 {
			t.Errorf("tried %d times within 100 s, want once a minute", n)
		}
		f.now(all(sandbox.ErrTemporary))
		f.starts.see(sandbox.ErrTemporary)
		<-time.After(2 * time.Minute)
		f.want(t, "fails")
	})
}

func TestTheCheckSaysWhatAUserUnderstandsAndWhyTheEngineIsNot(t *testing.T) {
	for _, c := range []struct {
		err  error
		says string
	}{
		{errors.Join(sandbox.ErrRefused, errors.New("open /var/lib/SECRET")), "refuses every container"},
		{errors.Join(sandbox.ErrTemporary, errors.New("open /var/lib/SECRET")), "fails to start containers"},
	} {
		f := newFickle(nil)
		f.starts.fail(c.err)
		got := fault.Of(f.starts.check("Podman is not supported.")).Sentence
		if !strings.Contains(got, c.says) || !strings.HasSuffix(got, "Podman is not supported.") || strings.Contains(got, "SECRET") {
			t.Errorf("%q, want that it %s, the reason, and no word of the engine", got, c.says)
		}
	}
}
