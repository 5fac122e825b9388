package enginecheck

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

// starts knows whether the engine starts containers. The first container that starts is the proof. Before it there is a
// warning; if no language's container can be started, the check of the engine fails.
type starts struct {
	log     *logrus.Entry
	outcome chan struct{} // capacity 1: a container was started, or could not be

	mu      sync.Mutex // guards the fields below
	proven  bool       // a container was started
	doubted bool       // a later container could not be started
	failure error      // of the last attempt with all languages; nil before it and after a success
}

func newStarts(log *logrus.Entry) *starts { return &starts{log: log, outcome: make(chan struct{}, 1)} }

// watched is a sandbox that records the outcome of each preparation.
type watched struct {
	sandbox.Sandbox
	starts *starts
}

// Prepare implements sandbox.Sandbox.
func (w watched) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	c, err := w.Sandbox.Prepare(ctx, spec)
	if ctx.Err() == nil {
		w.starts.record(err)
	}
	return c, err
}

// record records the outcome of a preparation. An error only raises a doubt: it may be caused by one language.
func (s *starts) record(err error) {
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

// needsProof tells whether an attempt is due.
func (s *starts) needsProof() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.proven || s.doubted
}

// recordFailure records that no language's container could be started.
func (s *starts) recordFailure(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		s.log.WithError(err).Error("the engine starts no container; it is tried again")
	}
	s.proven, s.doubted, s.failure = false, false, err
}

// check returns a fault while the engine starts no containers. The sentence ends with the reason why the engine is not
// supported; unsupported is empty if it is supported.
func (s *starts) check(unsupported string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		return nil
	}
	sentence := "The engine answers and fails to start containers. " +
		"Executions are tried for two minutes and end as start_failed; the log has the engine's words."
	if errors.Is(s.failure, sandbox.ErrRefused) {
		sentence = "The engine answers and refuses every container. " +
			"Executions end as start_failed; the log has the engine's words."
	}
	if unsupported != "" {
		sentence += " " + unsupported
	}
	return fault.New(fault.ServiceUnavailable, "%s", sentence).Because(s.failure)
}

func (s *starts) warnings() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proven || s.failure != nil {
		return nil
	}
	return []string{"engine: no container was started yet"}
}

// prover are the functions that a proof uses.
type prover struct {
	try   func(context.Context, sandbox.Spec) error     // makes a container and removes it
	specs func(context.Context) ([]sandbox.Spec, error) // of the languages whose image is present, the smallest first
	warm  func() bool                                   // whether the pool makes warm containers
}

const (
	warmTimeout   = 10 * time.Second // the longest wait for the first warm container
	minProofPause = time.Second      // after a failed attempt; doubles with each failure
	maxProofPause = time.Minute
	doubtPause    = time.Minute // between two attempts that settle a doubt
)

// run proves that containers start, again after each failure, until ctx ends. It returns nil.
func (s *starts) run(ctx context.Context, p prover) error {
	if p.warm() {
		wait(ctx, warmTimeout, s.outcome)
	}
	for pause := minProofPause; ctx.Err() == nil; {
		if s.needsProof() {
			if !s.prove(ctx, p) {
				s.waitForProof(ctx, pause)
				pause = min(2*pause, maxProofPause)
				continue
			}
			pause = minProofPause
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

// prove tries one language after another, the smallest image first, until a container starts. Only if all fail, the
// engine fails: the error of one language may be caused by its settings.
func (s *starts) prove(ctx context.Context, p prover) bool {
	specs, err := p.specs(ctx)
	if err != nil || len(specs) == 0 {
		return false // the checks of the ping and of the images fail
	}
	var first error
	for _, spec := range specs {
		switch err := p.try(ctx, spec); {
		case err == nil:
			return true
		case ctx.Err() != nil, errors.Is(err, sandbox.ErrUnavailable):
			return false
		case errors.Is(err, sandbox.ErrImageUnavailable): // the image was removed meanwhile
		case first == nil:
			first = fmt.Errorf("language %s: %w", spec.Language, err)
		}
	}
	if first != nil {
		s.recordFailure(first)
	}
	return false
}

// waitForProof waits for the pause, or until a container was started.
func (s *starts) waitForProof(ctx context.Context, pause time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	for s.needsProof() && ctx.Err() == nil {
		wait(ctx, pause, s.outcome)
	}
}

func (s *starts) drain() {
	select {
	case <-s.outcome:
	default:
	}
}

// wait waits for the pause, a signal, or the end of ctx.
func wait(ctx context.Context, pause time.Duration, signal <-chan struct{}) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-signal:
	}
}
