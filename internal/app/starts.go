package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/fault"
	"boomerang/internal/sandbox"
)

// starts knows whether the engine starts containers. The first container that starts is the proof. Until then /readyz has a
// warning; when no container of any language can be started, the check "engine" fails.
type starts struct {
	log     *logrus.Entry
	outcome chan struct{} // cap 1: a container was started or not

	mu      sync.Mutex // guards all below
	proven  bool       // a container was started
	doubted bool       // another one was not, since
	failure error      // of the last try; nil while there was none, and after a success
}

func newStarts(log *logrus.Entry) *starts { return &starts{log: log, outcome: make(chan struct{}, 1)} }

// watched is a sandbox whose preparations are seen by starts.
type watched struct {
	sandbox.Sandbox
	starts *starts
}

// Prepare implements sandbox.Sandbox.
func (w watched) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Berth, error) {
	b, err := w.Sandbox.Prepare(ctx, spec)
	if ctx.Err() == nil {
		w.starts.see(err)
	}
	return b, err
}

// see notes the outcome of a preparation. An error is no more than a doubt: it may be the fault of one language.
func (s *starts) see(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		if s.failure != nil {
			s.log.Info("the engine starts containers again")
		} else if !s.proven {
			s.log.Info("the engine is proven: it started a container")
		}
		s.proven, s.doubted, s.failure = true, false, nil
	case errors.Is(err, sandbox.ErrUnavailable), errors.Is(err, sandbox.ErrImageUnavailable):
		return
	default:
		s.doubted = true
	}
	select {
	case s.outcome <- struct{}{}:
	default:
	}
}

// needed tells whether a try is due.
func (s *starts) needed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.proven || s.doubted
}

// fail notes that no language's container could be started.
func (s *starts) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		s.log.WithError(err).Error("the engine starts no container; it is tried again")
	}
	s.proven, s.doubted, s.failure = false, false, err
}

// check returns a fault with a sentence while the engine starts no container. Unsupported is the reason why the engine is not
// supported; empty if it is.
func (s *starts) check(unsupported string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		return nil
	}
	sentence := "The engine answers and fails to start containers. Executions are tried for two minutes and end as start_failed; the log has the engine's words."
	if errors.Is(s.failure, sandbox.ErrRefused) {
		sentence = "The engine answers and refuses every container. Executions end as start_failed; the log has the engine's words."
	}
	if unsupported != "" {
		sentence += " " + unsupported
	}
	return fault.New(fault.ServiceUnavailable, "%s", sentence).Because(s.failure)
}

// notes are the warnings for /readyz.
func (s *starts) notes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proven || s.failure != nil {
		return nil
	}
	return []string{"engine: no container was started yet"}
}

// attempt is what a proof is made with.
type attempt struct {
	try   func(context.Context, sandbox.Spec) error     // starts a container for nobody and removes it
	specs func(context.Context) ([]sandbox.Spec, error) // of the languages whose image is there, the smallest first
	warm  func() bool                                   // containers are made to wait, whoever asks: the first is the proof
}

const (
	warmPatience  = 10 * time.Second // how long the first warm container is waited for
	firstTryPause = time.Second      // after a try that failed; it doubles
	longTryPause  = time.Minute
	doubtPause    = time.Minute // between two tries to settle a doubt
)

// run proves, again after each failure, until ctx ends. It returns nil.
func (s *starts) run(ctx context.Context, p attempt) error {
	if p.warm() {
		wait(ctx, warmPatience, s.outcome)
	}
	for pause := firstTryPause; ctx.Err() == nil; {
		if s.needed() {
			if !s.prove(ctx, p) {
				s.await(ctx, pause)
				pause = min(2*pause, longTryPause)
				continue
			}
			pause = firstTryPause
			s.drain()
			wait(ctx, doubtPause, nil)
		}
		select {
		case <-ctx.Done():
		case <-s.outcome:
		}
	}
	return nil
}

// prove tries the languages, the smallest image first, until a container starts. An error of one language is no failure of the
// engine: it may be that language's settings.
func (s *starts) prove(ctx context.Context, p attempt) bool {
	specs, err := p.specs(ctx)
	if err != nil || len(specs) == 0 {
		return false // the checks "docker" and "images" say so
	}
	var first error
	for _, spec := range specs {
		switch err := p.try(ctx, spec); {
		case err == nil:
			return true
		case ctx.Err() != nil, errors.Is(err, sandbox.ErrUnavailable):
			return false
		case errors.Is(err, sandbox.ErrImageUnavailable): // it has gone meanwhile
		case first == nil:
			first = fmt.Errorf("language %s: %w", spec.Language, err)
		}
	}
	if first != nil {
		s.fail(first)
	}
	return false
}

// await waits for d, or until a container was started.
func (s *starts) await(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for s.needed() && ctx.Err() == nil {
		wait(ctx, d, s.outcome)
	}
}

func (s *starts) drain() {
	select {
	case <-s.outcome:
	default:
	}
}

// wait waits for d, for a signal, or for the end of ctx.
func wait(ctx context.Context, d time.Duration, signal <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-signal:
	}
}
