package pool_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"boomerang/internal/pool"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
)

func TestAWarmContainerIsResizedToOtherLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		small := func() sandbox.Spec {
			s := spec("a")
			s.Limits.Memory, s.Limits.CPUs, s.Limits.PIDs, s.Limits.Output = 64<<20, 0.5, 16, 1<<10
			return s
		}
		h := newHarness(t, config(), sandboxtest.Script{}, pool.Want{Spec: spec("a"), Size: 1})
		if h.remove(h.take(small())); !h.warm[0] {
			t.Error("less memory, CPUs, PIDs and output: made anew, want a resized one")
		}
		h.wantWaiting(map[string]int{"a": 1})
		other := small()
		other.Limits.Workspace *= 2
		if h.remove(h.take(other)); h.warm[1] {
			t.Error("another size of workspace: warm, want one that is made for it")
		}
		more := spec("a")
		more.Limits.Output *= 2
		if h.remove(h.take(more)); h.warm[2] {
			t.Error("more output than its log holds: warm, want one that is made for it")
		}
		onNetwork := spec("a")
		onNetwork.Network = "egress"
		if h.remove(h.take(onNetwork)); h.warm[3] {
			t.Error("another network: warm, want one that is made for it")
		}
	})
}

func TestAContainerWhoseResizeFailsIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, config(), sandboxtest.Script{Resize: []error{errors.New("no cgroups")}},
			pool.Want{Spec: spec("a"), Size: 1})
		before := h.containers()
		s := spec("a")
		s.Limits.Memory /= 2
		b := h.take(s)
		if _, waited := before[b.ID()]; waited || h.warm[0] {
			t.Error("the container whose resize failed was handed out")
		}
		h.wantWaiting(map[string]int{"a": 1})
		for id := range before {
			if _, there := h.containers()[id]; there {
				t.Error("it was not removed")
			}
		}
		h.remove(b)
		before = h.containers()
		h.remove(h.take(s))
		if after := h.containers(); h.warm[1] ||
			!maps.EqualFunc(before, after, func(a, b sandbox.Found) bool { return a.Container == b.Container }) {
			t.Errorf("the next that asks: warm = %t, %v became %v; want a new one, and nothing that waits to be lost",
				h.warm[1], before, after)
		}
		time.Sleep(11 * time.Minute)
		if h.remove(h.take(s)); !h.warm[2] {
			t.Error("after a while it is not tried again")
		}
	})
}

func TestAnOutageDuringAResizeDoesNotStopResizing(t *testing.T) {
	for name, lose := range map[string]func(*harness) error{
		"the engine is busy": func(*harness) error { return fmt.Errorf("update: %w", sandbox.ErrUnavailable) },
		"the container has died": func(h *harness) error {
			for _, f := range h.containers() {
				_ = f.Container.Stop(h.Context())
			}
			return errors.New("no such container")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine := sandboxtest.New(sandboxtest.Script{})
				var h *harness
				box := &unresized{Sandbox: engine, once: func() error { return lose(h) }}
				h = newHarnessOn(t, config(), engine, box, pool.Want{Spec: spec("a"), Size: 1})
				small := spec("a")
				small.Limits.Memory /= 2
				h.remove(h.take(small))
				time.Sleep(2 * time.Second)
				h.wantWaiting(map[string]int{"a": 1})
				if h.remove(h.take(small)); h.warm[0] || !h.warm[1] {
					t.Errorf("warm = %v, want the second", h.warm)
				}
			})
		})
	}
}

// unresized makes containers; the resize of the first fails.
type unresized struct {
	sandbox.Sandbox
	once func() error
}

func (u *unresized) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	b, err := u.Sandbox.Prepare(ctx, spec)
	return unresizedContainer{b, u}, err
}

type unresizedContainer struct {
	sandbox.Container
	box *unresized
}

func (b unresizedContainer) Resize(ctx context.Context, l sandbox.Limits) error {
	if once := b.box.once; once != nil {
		b.box.once = nil
		return once()
	}
	return b.Container.Resize(ctx, l)
}
