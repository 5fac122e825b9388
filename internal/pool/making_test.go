package pool_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"boomerang/internal/pool"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
)

func TestNoLanguageUsesAllMakings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		h := newHarnessOn(t, config(), engine, &slowSandbox{Sandbox: engine},
			pool.Want{Spec: spec("a"), Size: 50}, pool.Want{Spec: spec("b"), Size: 2},
			pool.Want{Spec: spec("c"), Size: 1})
		h.wantWaiting(map[string]int{"a": 3, "b": 2, "c": 1}) // six containers are made in a second
	})
}

func TestAPoolWithAFailingEngineRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sick := errors.New("sick")
		h := newHarness(t, config(), sandboxtest.Script{Prepare: []error{sick, sick, nil, sick}},
			pool.Want{Spec: spec("a"), Size: 1})
		h.wantWaiting(map[string]int{}) // the first one failed
		time.Sleep(5 * time.Second)     // the second failed, too
		h.wantWaiting(map[string]int{})
		h.remove(h.take(spec("a")))
		if h.warm[0] {
			t.Error("warm, want cold")
		}
		time.Sleep(5 * time.Second)
		h.wantWaiting(map[string]int{})
		time.Sleep(time.Minute)
		h.wantWaiting(map[string]int{"a": 1})
	})
}

func TestNoContainerIsMadeBeforeThoseOfAnEarlierProcessAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		p := pool.New(config(), pool.Deps{
			Sandbox: engine, Wants: func() []pool.Want {
				return []pool.Want{{
					Spec: spec("a"),
					Size: 1,
				}}
			}, HandedOut: func(string, bool) {},
		})
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		if err := p.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if found, _ := engine.Containers(t.Context()); len(found) != 0 {
			t.Errorf("made: %v, want none while the taken slots are unknown", found)
		}
	})
}

// slowSandbox needs 300 ms for each container, and hangs for the image "hangs".
type slowSandbox struct {
	sandbox.Sandbox
	mu        sync.Mutex // guards the fields below
	now, most int
}

// count adds to the number of containers in the making.
func (s *slowSandbox) count(more int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now += more
	s.most = max(s.most, s.now)
}

func (s *slowSandbox) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	s.count(1)
	defer s.count(-1)
	if spec.Image == "hangs" {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	time.Sleep(300 * time.Millisecond)
	return s.Sandbox.Prepare(ctx, spec)
}

func TestMakingsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &slowSandbox{Sandbox: sandboxtest.New(sandboxtest.Script{})}
		p := pool.New(config(),
			pool.Deps{Sandbox: engine, Wants: func() []pool.Want { return nil }, HandedOut: func(string, bool) {}})
		var makings sync.WaitGroup
		for range 200 { // half a minute of makings
			makings.Go(func() {
				if _, err := p.Prepare(t.Context(), spec("a")); err != nil {
					t.Error(err)
				}
			})
		}
		makings.Wait()
		if got := engine.most; got != 2 {
			t.Errorf("%d containers were made at the same time, want 2", got)
		}
	})
}

func TestAHangingMakingDoesNotBlockOthersForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &slowSandbox{Sandbox: sandboxtest.New(sandboxtest.Script{})}
		p := pool.New(config(),
			pool.Deps{Sandbox: engine, Wants: func() []pool.Want { return nil }, HandedOut: func(string, bool) {}})
		ctx, giveUp := context.WithCancel(t.Context())
		var hanging sync.WaitGroup
		for range 2 {
			hanging.Go(func() {
				hangs := spec("a")
				hangs.Image = "hangs"
				_, _ = p.Prepare(ctx, hangs)
			})
		}
		synctest.Wait()
		began := time.Now()
		for range 20 {
			if _, err := p.Prepare(t.Context(), spec("a")); err != nil || time.Since(began) > 10*time.Second {
				t.Errorf("prepare: %v after %s, want containers within seconds", err, time.Since(began))
			}
		}
		giveUp()
		hanging.Wait()
	})
}

func TestTheOldestWarmContainerIsHandedOutFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, config(), sandboxtest.Script{}, pool.Want{Spec: spec("a"), Size: 1})
		first := h.containers()
		h.wants.Store(&[]pool.Want{{Spec: spec("a"), Size: 2}})
		time.Sleep(10 * time.Second)
		h.wantWaiting(map[string]int{"a": 2})
		b := h.take(spec("a"))
		defer h.remove(b)
		if _, ok := first[b.ID()]; !ok {
			t.Errorf("taken: %s, want one of %v", b.ID(), first)
		}
	})
}

func TestNoContainerIsMadeInTheFirstMomentsOfAProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, config(), sandboxtest.Script{}, pool.Want{Spec: spec("a"), Size: 2})
		h.wantWaiting(map[string]int{"a": 2})
		defer h.remove(h.take(spec("a")))
		time.Sleep(99 * time.Millisecond)
		synctest.Wait()
		if n := len(h.containers()); n != 2 {
			t.Errorf("%d containers exist, want one in use and one warm", n)
		}
		h.wantWaiting(map[string]int{"a": 2})
	})
}

func TestASpecThatNoWarmContainerFitsIsNoDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, config(), sandboxtest.Script{}, pool.Want{Spec: spec("a"), Size: pool.Auto})
		onNetwork := spec("a")
		onNetwork.Network = "egress"
		h.remove(h.take(onNetwork))
		h.wantWaiting(map[string]int{})
	})
}

func TestAContainerBegunForAnOldWantIsNotHandedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		h := newHarnessOn(t, config(), engine, &slowSandbox{Sandbox: engine}, pool.Want{Spec: spec("a"), Size: 1},
			pool.Want{Spec: spec("b"), Size: pool.Auto})
		time.Sleep(200 * time.Millisecond) // the container is in the making
		changed := spec("a")
		changed.Image = "newer"
		h.wants.Store(&[]pool.Want{{Spec: changed, Size: 1}, {Spec: spec("b"), Size: pool.Auto}})
		given, giveUp := context.WithCancel(t.Context())
		var b sync.WaitGroup
		b.Go(func() { _, _ = h.Prepare(given, spec("b")) }) // wakes the pool
		synctest.Wait()
		giveUp()
		take := func() { // after the first container is made and before the pool reconciles
			h.asked.Store(nil)
			h.remove(h.take(changed))
		}
		h.asked.Store(&take)
		b.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(h.warm) != 1 || h.warm[0] {
			t.Errorf("warm = %v, want one cold container", h.warm)
		}
	})
}

func TestAContainerIsResizedOnlyIfItsLimitsDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sick := errors.New("sick")
		h := newHarness(t, config(), sandboxtest.Script{Resize: []error{sick}}, pool.Want{Spec: spec("a"), Size: 2})
		h.wantWaiting(map[string]int{"a": 2})
		less := spec("a")
		less.Limits.Output /= 2
		h.remove(h.take(spec("a")), h.take(less))
		less.Limits.Memory /= 2
		h.wantWaiting(map[string]int{"a": 2})
		h.remove(h.take(less)) // the resize fails
		h.wantWaiting(map[string]int{"a": 2})
		h.remove(h.take(spec("a")))
		for i, want := range []bool{true, true, false, true} {
			if h.warm[i] != want {
				t.Errorf("warm = %v, want only the third container to be cold", h.warm)
			}
		}
	})
}

func TestAFixedStockUsesNoMemoryOfAutoStocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.Memory = 3 * pool.Footprint
		engine := sandboxtest.New(sandboxtest.Script{})
		h := newHarnessOn(t, c, engine, &slowSandbox{Sandbox: engine}, pool.Want{Spec: spec("a"), Size: pool.Auto},
			pool.Want{Spec: spec("b"), Size: 3})
		h.wantWaiting(map[string]int{"b": 3})
		h.remove(h.take(spec("b")))
		h.takeAtOnce(3, spec("a"))
		h.wantWaiting(map[string]int{"a": 3, "b": 3})
	})
}

// failingRemoval makes containers whose removal fails a few times, and records their specs.
type failingRemoval struct {
	sandbox.Sandbox
	failures atomic.Int64 // number of removals that fail
	mu       sync.Mutex   // guards specs
	specs    []sandbox.Spec
	deaf     bool // a making ignores that ctx ended
}

func (c *failingRemoval) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	c.mu.Lock()
	c.specs = append(c.specs, spec)
	c.mu.Unlock()
	if c.deaf {
		time.Sleep(300 * time.Millisecond)
		ctx = context.WithoutCancel(ctx)
	}
	b, err := c.Sandbox.Prepare(ctx, spec)
	if err != nil {
		return nil, err
	}
	return failingRemovalContainer{b, c}, nil
}

type failingRemovalContainer struct {
	sandbox.Container
	box *failingRemoval
}

func (b failingRemovalContainer) Remove(ctx context.Context) error {
	if b.box.failures.Add(-1) >= 0 {
		return fmt.Errorf("remove: %w", sandbox.ErrUnavailable)
	}
	return b.Container.Remove(ctx)
}

func TestASlotIsFreedWhenItsContainerIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{Prepare: []error{errors.New("sick")}})
		box := &failingRemoval{Sandbox: engine}
		h := newHarnessOn(t, config(), engine, box)
		slots := func() string {
			var all []int
			for _, s := range box.specs {
				all = append(all, s.Slot)
			}
			return fmt.Sprint(all)
		}
		if _, err := h.Prepare(t.Context(), spec("a")); err == nil {
			t.Fatal("prepare: want an error")
		}
		first, second := h.take(spec("a")), h.take(spec("a"))
		box.failures.Store(1)
		if err := first.Remove(t.Context()); err == nil {
			t.Error("remove: want an error")
		}
		third := h.take(spec("a")) // the first still exists
		h.remove(first, first, first)
		fourth, fifth := h.take(spec("a")), h.take(spec("a"))
		if got, want := slots(), "[0 0 1 2 0 3]"; got != want {
			t.Errorf("slots = %s, want %s", got, want)
		}
		h.remove(second, third, fourth, fifth)
	})
}

func TestAFailedRemovalIsRetriedAndDoesNotBlockShutdown(t *testing.T) {
	for failures, left := range map[int64]int{3: 0, 1 << 40: 1} {
		synctest.Test(t, func(t *testing.T) {
			engine := sandboxtest.New(sandboxtest.Script{})
			box := &failingRemoval{Sandbox: engine}
			h := newHarnessOn(t, config(), engine, box, pool.Want{Spec: spec("a"), Size: 1})
			h.wantWaiting(map[string]int{"a": 1})
			box.failures.Store(failures)
			began := time.Now()
			h.stop()
			if took := time.Since(began); took > 20*time.Second || len(h.containers()) != left {
				t.Errorf("after %d failing removals: shutdown took %s and left %d containers; want %d",
					failures, took, len(h.containers()), left)
			}
		})
	}
}

func TestAContainerThatIsMadeAfterTheEndIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		h := newHarnessOn(t, config(), engine, &failingRemoval{Sandbox: engine, deaf: true},
			pool.Want{Spec: spec("a"), Size: 1})
		time.Sleep(100 * time.Millisecond) // the container is in the making
		h.stop()
		if left := h.containers(); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}

func TestAContainerInTheMakingIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		h := newHarnessOn(t, config(), engine, &failingRemoval{Sandbox: engine, deaf: true},
			pool.Want{Spec: spec("a"), Size: 1})
		time.Sleep(100 * time.Millisecond)
		// The engine has the container before the pool knows its ID.
		unnamed, err := sandboxtest.New(sandboxtest.Script{}).Prepare(t.Context(), spec("a"))
		if err != nil {
			t.Fatal(err)
		}
		if !h.Holds(sandbox.Found{Container: unnamed, Slot: 0}) {
			t.Error("it may be swept")
		}
		time.Sleep(time.Second)
		if h.Holds(sandbox.Found{Container: stranger{}, Slot: 0}) {
			t.Error("a stranger is held although nothing is in the making")
		}
	})
}

// stranger is a container that was not made by the pool.
type stranger struct{ sandbox.Container }

func (stranger) ID() string { return "stranger" }

func TestAColdContainerDoesNotRehearse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		box := &failingRemoval{Sandbox: engine}
		rehearsing := spec("a")
		rehearsing.Rehearsal = []string{"warm", "up"}
		h := newHarnessOn(t, config(), engine, box, pool.Want{Spec: rehearsing, Size: 1})
		h.wantWaiting(map[string]int{"a": 1})
		h.remove(h.take(rehearsing), h.take(rehearsing))
		if n := len(box.specs); n != 2 || len(box.specs[0].Rehearsal) != 2 || len(box.specs[1].Rehearsal) != 0 {
			t.Errorf("made: %+v, want one that rehearses, and one on the spot that does not", box.specs)
		}
	})
}
