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

func TestNoLanguageTakesAllMakings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		h := enterOn(t, config(), engine, &slow{Sandbox: engine},
			pool.Want{Spec: spec("a"), Size: 50}, pool.Want{Spec: spec("b"), Size: 2}, pool.Want{Spec: spec("c"), Size: 1})
		h.wantWaiting(map[string]int{"a": 3, "b": 2, "c": 1}) // six are made in a second
	})
}

func TestAPoolThatCannotFillMakesNewOnesAndTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sick := errors.New("sick")
		h := enter(t, config(), sandboxtest.Script{Prepare: []error{sick, sick, nil, sick}}, pool.Want{Spec: spec("a"), Size: 1})
		h.wantWaiting(map[string]int{}) // the first one failed
		time.Sleep(5 * time.Second)     // the second, too
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

func TestNothingIsMadeBeforeThePastIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		p := pool.New(config(), pool.Deps{
			Sandbox: engine, Wants: func() []pool.Want { return []pool.Want{{Spec: spec("a"), Size: 1}} }, HandedOut: func(string, bool) {},
		})
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		if err := p.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if found, _ := engine.Containers(t.Context()); len(found) != 0 {
			t.Errorf("made: %v, want nothing as long as slots may be taken that nobody knows of", found)
		}
	})
}

// slow takes long over each container, and for ever over some.
type slow struct {
	sandbox.Sandbox
	mu        sync.Mutex // guards what follows
	now, most int
}

// count counts those that are being made.
func (s *slow) count(more int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now += more
	s.most = max(s.most, s.now)
}

func (s *slow) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	s.count(1)
	defer s.count(-1)
	if spec.Image == "hangs" {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	time.Sleep(300 * time.Millisecond)
	return s.Sandbox.Prepare(ctx, spec)
}

func TestNoMoreAreMadeAtATimeThanTheEngineHasProcessorsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &slow{Sandbox: sandboxtest.New(sandboxtest.Script{})}
		p := pool.New(config(), pool.Deps{Sandbox: engine, Wants: func() []pool.Want { return nil }, HandedOut: func(string, bool) {}})
		var makings sync.WaitGroup
		for range 200 { // they take half a minute
			makings.Go(func() {
				if _, err := p.Prepare(t.Context(), spec("a")); err != nil {
					t.Error(err)
				}
			})
		}
		makings.Wait()
		if got := engine.most; got != 2 {
			t.Errorf("%d were made at a time, want 2", got)
		}
	})
}

func TestAMakingThatHangsHoldsUpNobodyForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &slow{Sandbox: sandboxtest.New(sandboxtest.Script{})}
		p := pool.New(config(), pool.Deps{Sandbox: engine, Wants: func() []pool.Want { return nil }, HandedOut: func(string, bool) {}})
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

func TestTheLongestWaitingIsTakenFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := enter(t, config(), sandboxtest.Script{}, pool.Want{Spec: spec("a"), Size: 1})
		first := h.there()
		h.wants.Store(&[]pool.Want{{Spec: spec("a"), Size: 2}})
		time.Sleep(10 * time.Second)
		h.wantWaiting(map[string]int{"a": 2})
		b := h.take(spec("a"))
		defer h.remove(b)
		if _, ok := first[b.ID()]; !ok {
			t.Errorf("taken: %s, want the one of %v", b.ID(), first)
		}
	})
}

func TestNothingIsMadeInTheFirstMomentOfAProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := enter(t, config(), sandboxtest.Script{}, pool.Want{Spec: spec("a"), Size: 2})
		h.wantWaiting(map[string]int{"a": 2})
		defer h.remove(h.take(spec("a")))
		time.Sleep(99 * time.Millisecond)
		synctest.Wait()
		if n := len(h.there()); n != 2 {
			t.Errorf("%d are there, want the one that was taken and the one that waits", n)
		}
		h.wantWaiting(map[string]int{"a": 2})
	})
}

func TestWhatNoContainerCouldServeIsNoDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := enter(t, config(), sandboxtest.Script{}, pool.Want{Spec: spec("a"), Size: pool.Auto})
		onNetwork := spec("a")
		onNetwork.Network = "egress"
		h.remove(h.take(onNetwork))
		h.wantWaiting(map[string]int{})
	})
}

func TestOneThatWasBegunForAnotherWantIsNotHandedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		h := enterOn(t, config(), engine, &slow{Sandbox: engine}, pool.Want{Spec: spec("a"), Size: 1}, pool.Want{Spec: spec("b"), Size: pool.Auto})
		time.Sleep(200 * time.Millisecond) // it is in the making
		changed := spec("a")
		changed.Image = "newer"
		h.wants.Store(&[]pool.Want{{Spec: changed, Size: 1}, {Spec: spec("b"), Size: pool.Auto}})
		given, giveUp := context.WithCancel(t.Context())
		var b sync.WaitGroup
		b.Go(func() { _, _ = h.Prepare(given, spec("b")) }) // has the pool look
		synctest.Wait()
		giveUp()
		take := func() { // when the first is made, and before the pool has looked at it
			h.asked.Store(nil)
			h.remove(h.take(changed))
		}
		h.asked.Store(&take)
		b.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(h.warm) != 1 || h.warm[0] {
			t.Errorf("warm = %v, want that it was asked for once, and none of another image", h.warm)
		}
	})
}

func TestAContainerIsNotResizedWithoutNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sick := errors.New("sick")
		h := enter(t, config(), sandboxtest.Script{Resize: []error{sick}}, pool.Want{Spec: spec("a"), Size: 2})
		h.wantWaiting(map[string]int{"a": 2})
		less := spec("a")
		less.Limits.Output /= 2
		h.remove(h.take(spec("a")), h.take(less))
		less.Limits.Memory /= 2
		h.wantWaiting(map[string]int{"a": 2})
		h.remove(h.take(less)) // it cannot be, as is learnt now
		h.wantWaiting(map[string]int{"a": 2})
		h.remove(h.take(spec("a")))
		for i, want := range []bool{true, true, false, true} {
			if h.warm[i] != want {
				t.Errorf("warm = %v, want only what is resized to be made anew", h.warm)
			}
		}
	})
}

func TestWhatWaitsByNumberTakesNothingFromTheMemoryOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.Memory = 3 * pool.Footprint
		engine := sandboxtest.New(sandboxtest.Script{})
		h := enterOn(t, c, engine, &slow{Sandbox: engine}, pool.Want{Spec: spec("a"), Size: pool.Auto}, pool.Want{Spec: spec("b"), Size: 3})
		h.wantWaiting(map[string]int{"b": 3})
		h.remove(h.take(spec("b")))
		h.takeAtOnce(3, spec("a"))
		h.wantWaiting(map[string]int{"a": 3, "b": 3})
	})
}

// clinging has containers that cannot be removed for a while, and tells with which specs they were made.
type clinging struct {
	sandbox.Sandbox
	clings atomic.Int64 // how many removals fail
	mu     sync.Mutex   // guards specs
	specs  []sandbox.Spec
	deaf   bool // a making that is called off goes on
}

func (c *clinging) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
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
	return clingingContainer{b, c}, nil
}

type clingingContainer struct {
	sandbox.Container
	box *clinging
}

func (b clingingContainer) Remove(ctx context.Context) error {
	if b.box.clings.Add(-1) >= 0 {
		return fmt.Errorf("remove: %w", sandbox.ErrUnavailable)
	}
	return b.Container.Remove(ctx)
}

func TestASlotIsFreeWhenItsContainerIsGoneAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{Prepare: []error{errors.New("sick")}})
		box := &clinging{Sandbox: engine}
		h := enterOn(t, config(), engine, box)
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
		box.clings.Store(1)
		if err := first.Remove(t.Context()); err == nil {
			t.Error("remove: want an error")
		}
		third := h.take(spec("a")) // the first is there
		h.remove(first, first, first)
		fourth, fifth := h.take(spec("a")), h.take(spec("a"))
		if got, want := slots(), "[0 0 1 2 0 3]"; got != want {
			t.Errorf("slots = %s, want %s", got, want)
		}
		h.remove(second, third, fourth, fifth)
	})
}

func TestWhatCannotBeRemovedIsTriedAgainAndHoldsUpNoEnd(t *testing.T) {
	for clings, left := range map[int64]int{3: 0, 1 << 40: 1} {
		synctest.Test(t, func(t *testing.T) {
			engine := sandboxtest.New(sandboxtest.Script{})
			box := &clinging{Sandbox: engine}
			h := enterOn(t, config(), engine, box, pool.Want{Spec: spec("a"), Size: 1})
			h.wantWaiting(map[string]int{"a": 1})
			box.clings.Store(clings)
			began := time.Now()
			h.stop()
			if took := time.Since(began); took > 20*time.Second || len(h.there()) != left {
				t.Errorf("after %d removals that fail: it took %s, and %d are left; want %d", clings, took, len(h.there()), left)
			}
		})
	}
}

func TestOneThatIsMadeAfterTheEndIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		h := enterOn(t, config(), engine, &clinging{Sandbox: engine, deaf: true}, pool.Want{Spec: spec("a"), Size: 1})
		time.Sleep(100 * time.Millisecond) // it is in the making
		h.stop()
		if left := h.there(); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}

func TestOneInTheMakingIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		h := enterOn(t, config(), engine, &clinging{Sandbox: engine, deaf: true}, pool.Want{Spec: spec("a"), Size: 1})
		time.Sleep(100 * time.Millisecond)
		unnamed, err := sandboxtest.New(sandboxtest.Script{}).Prepare(t.Context(), spec("a")) // the engine has it before we know its name
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

// stranger is a container that did not come through the pool.
type stranger struct{ sandbox.Container }

func (stranger) ID() string { return "stranger" }

func TestWhatIsMadeOnTheSpotDoesNotRehearse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		box := &clinging{Sandbox: engine}
		rehearsing := spec("a")
		rehearsing.Rehearsal = []string{"warm", "up"}
		h := enterOn(t, config(), engine, box, pool.Want{Spec: rehearsing, Size: 1})
		h.wantWaiting(map[string]int{"a": 1})
		h.remove(h.take(rehearsing), h.take(rehearsing))
		if n := len(box.specs); n != 2 || len(box.specs[0].Rehearsal) != 2 || len(box.specs[1].Rehearsal) != 0 {
			t.Errorf("made: %+v, want one that rehearses, and one on the spot that does not", box.specs)
		}
	})
}
