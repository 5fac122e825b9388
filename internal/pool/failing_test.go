package pool_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"boomerang/internal/pool"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
)

// failingSandbox fails to make containers while err is set.
type failingSandbox struct {
	sandbox.Sandbox
	err   atomic.Pointer[error]
	calls atomic.Int64
}

func (f *failingSandbox) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	f.calls.Add(1)
	if err := f.err.Load(); err != nil {
		return nil, fmt.Errorf("create container: %w", *err)
	}
	return f.Sandbox.Prepare(ctx, spec)
}

func TestTheBackOffDependsOnTheKindOfError(t *testing.T) {
	for name, c := range map[string]struct {
		err         error
		least, most int64         // makings within ten minutes
		back        time.Duration // time until a warm container after the engine has recovered
	}{
		"refused":         {sandbox.ErrRefused, 9, 11, time.Minute},
		"failed":          {sandbox.ErrTemporary, 14, 17, time.Minute},
		"unknown":         {errors.New("unknown"), 14, 17, time.Minute},
		"no image":        {errors.Join(sandbox.ErrImageUnavailable, sandbox.ErrRefused), 14, 17, time.Minute},
		"does not answer": {sandbox.ErrUnavailable, 100, 121, 6 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine := sandboxtest.New(sandboxtest.Script{})
				box := &failingSandbox{Sandbox: engine}
				box.err.Store(&c.err)
				h := newHarnessOn(t, config(), engine, box, pool.Want{Spec: spec("a"), Size: 1})
				<-time.After(10 * time.Minute)
				synctest.Wait()
				if n := box.calls.Load(); n < c.least || n > c.most {
					t.Errorf("%d makings within ten minutes, want %d to %d", n, c.least, c.most)
				}
				box.err.Store(nil)
				<-time.After(c.back + 5*time.Second) // and a review
				h.wantWaiting(map[string]int{"a": 1})
			})
		})
	}
}

func TestTheRecoveryOfAnEngineIsNoticedSoonAfterOtherFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		box := &failingSandbox{Sandbox: engine}
		failed, away := sandbox.ErrTemporary, sandbox.ErrUnavailable
		box.err.Store(&failed)
		h := newHarnessOn(t, config(), engine, box, pool.Want{Spec: spec("a"), Size: 1})
		<-time.After(10 * time.Minute)
		box.err.Store(&away)
		<-time.After(2 * time.Minute)
		box.err.Store(nil)
		<-time.After(6 * time.Second) // a review
		h.wantWaiting(map[string]int{"a": 1})
	})
}

func TestATryIsNoDemandAndLeavesNoContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, config(), sandboxtest.Script{Prepare: []error{sandbox.ErrTemporary}},
			pool.Want{Spec: spec("a"), Size: pool.Auto})
		if err := h.Try(t.Context(), spec("a")); !errors.Is(err, sandbox.ErrTemporary) {
			t.Errorf("try = %v, want the error of the engine", err)
		}
		if err := h.Try(t.Context(), spec("a")); err != nil {
			t.Errorf("try = %v, want nil", err)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if n := len(h.containers()); n != 0 || len(h.warm) != 0 {
			t.Errorf("%d containers exist and %d were handed out, want none", n, len(h.warm))
		}
		first := h.take(spec("a"))
		defer h.remove(first)
		found, err := h.engine.Containers(t.Context())
		if err != nil || found[0].Slot != 0 {
			t.Errorf("the slot of the next is %+v, %v; want that of the try", found, err)
		}
	})
}

func TestATryWaitsForTheContainersOfAnEarlierProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		p := pool.New(config(),
			pool.Deps{Sandbox: engine, Wants: func() []pool.Want { return nil }, HandedOut: func(string, bool) {}})
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, errors.New("never asked"))
		defer cancel()
		if err := p.Try(ctx, spec("a")); err == nil || err.Error() != "try a container: never asked" {
			t.Errorf("try = %v before Containers; want it to wait", err)
		}
	})
}
