package pool_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/pool"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
)

// spec returns the container spec of an execution in a language.
func spec(language string) sandbox.Spec {
	return sandbox.Spec{
		Language: language, Image: "test", Network: "none",
		Limits: sandbox.Limits{
			Memory: 256 << 20, CPUs: 1, PIDs: 64, Files: 256,
			Workspace: 64 << 20, Tmp: 16 << 20, Output: 1 << 20, Tail: 64 << 10, Artifacts: 4 << 20,
		},
	}
}

// harness is a pool over a fake engine.
type harness struct {
	*testing.T
	*pool.Pool
	engine *sandboxtest.Fake
	wants  atomic.Pointer[[]pool.Want]
	asked  atomic.Pointer[func()] // called when the pool asks for the wants
	taken  sync.Mutex             // guards warm
	warm   []bool                 // of each container that was handed out
	stop   func()
}

// newHarness runs a pool with wants, inside a synctest bubble.
func newHarness(t *testing.T, c pool.Config, script sandboxtest.Script, wants ...pool.Want) *harness {
	t.Helper()
	fake := sandboxtest.New(script)
	return newHarnessOn(t, c, fake, fake, wants...)
}

// newHarnessOn runs a pool over a sandbox that wraps the engine.
func newHarnessOn(
	t *testing.T, c pool.Config, engine *sandboxtest.Fake, box sandbox.Sandbox, wants ...pool.Want,
) *harness {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	h := &harness{T: t, engine: engine}
	h.wants.Store(&wants)
	h.Pool = pool.New(c, pool.Deps{
		Sandbox: box, Wants: func() []pool.Want {
			if asked := h.asked.Load(); asked != nil {
				(*asked)()
			}
			return *h.wants.Load()
		},
		HandedOut: func(_ string, warm bool) {
			h.taken.Lock()
			defer h.taken.Unlock()
			h.warm = append(h.warm, warm)
		},
		Log: logrus.NewEntry(log),
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.Pool.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(h.stop)
	if _, err := h.Containers(t.Context()); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return h
}

func config() pool.Config { return pool.Defaults().For(2, 16<<30, 4) }

func (h *harness) take(s sandbox.Spec) sandbox.Container {
	h.Helper()
	b, err := h.Prepare(h.Context(), s)
	if err != nil {
		h.Fatalf("prepare: %v", err)
	}
	return b
}

// takeAtOnce takes n containers at the same time and removes them.
func (h *harness) takeAtOnce(n int, s sandbox.Spec) {
	h.Helper()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			b, err := h.Prepare(h.Context(), s)
			if err == nil {
				err = b.Remove(h.Context())
			}
			if err != nil {
				h.Error(err)
			}
		})
	}
	all.Wait()
}

func (h *harness) remove(containers ...sandbox.Container) {
	h.Helper()
	for _, b := range containers {
		if err := b.Remove(h.Context()); err != nil {
			h.Errorf("remove: %v", err)
		}
	}
}

// wantWaiting checks the numbers of warm containers when all goroutines are idle.
func (h *harness) wantWaiting(want map[string]int) {
	h.Helper()
	time.Sleep(time.Second)
	synctest.Wait()
	got := h.Waiting()
	maps.DeleteFunc(got, func(_ string, n int) bool { return n == 0 })
	if !maps.Equal(got, want) {
		h.Errorf("waiting = %v, want %v", got, want)
	}
}

// containers returns the containers of the engine by ID.
func (h *harness) containers() map[string]sandbox.Found {
	h.Helper()
	found, err := h.engine.Containers(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	all := make(map[string]sandbox.Found, len(found))
	for _, f := range found {
		all[f.Container.ID()] = f
	}
	return all
}

func TestAPoolIsASandbox(t *testing.T) {
	for name, size := range map[string]int{"cold": 0, "warm": 3} {
		t.Run(name, func(t *testing.T) {
			engine := sandboxtest.New(sandboxtest.Script{Images: []string{"test"}})
			sandboxtest.Contract(t,
				sandboxtest.Harness{Image: "test", Pooled: true, Open: func(t *testing.T) sandbox.Sandbox {
					t.Helper()
					want := spec("test")
					log := logrus.New()
					log.SetOutput(io.Discard)
					p := pool.New(config(), pool.Deps{
						Sandbox: engine, Wants: func() []pool.Want { return []pool.Want{{Spec: want, Size: size}} },
						HandedOut: func(string, bool) {}, Log: logrus.NewEntry(log),
					})
					ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
					done := make(chan error, 1)
					go func() { done <- p.Run(ctx) }()
					t.Cleanup(func() {
						stop()
						if err := <-done; err != nil {
							t.Error(err)
						}
					})
					if _, err := p.Containers(t.Context()); err != nil {
						t.Fatal(err)
					}
					return p
				}})
		})
	}
}

func TestAWarmContainerIsHandedOutOnceAndReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, config(), sandboxtest.Script{}, pool.Want{Spec: spec("a"), Size: 2})
		h.wantWaiting(map[string]int{"a": 2})
		before := h.containers()
		one, other := h.take(spec("a")), h.take(spec("a"))
		third := h.take(spec("a")) // there was no time to make a replacement
		if _, ok := before[one.ID()]; !ok || one.ID() == other.ID() {
			t.Errorf("taken: %s and %s, want the two of %v", one.ID(), other.ID(), before)
		}
		if want := []bool{true, true, false}; len(h.warm) != 3 || h.warm[0] != want[0] ||
			h.warm[1] != want[1] || h.warm[2] != want[2] {
			t.Errorf("warm = %v, want %v", h.warm, want)
		}
		h.wantWaiting(map[string]int{"a": 2})
		h.remove(one, other, third)
		h.stop()
		if left := h.containers(); len(left) != 0 {
			t.Errorf("left when the pool has ended: %v", left)
		}
	})
}

func TestNoTwoContainersShareASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, config(), sandboxtest.Script{}, pool.Want{Spec: spec("a"), Size: 2},
			pool.Want{Spec: spec("b"), Size: 1})
		taken := []sandbox.Container{h.take(spec("a")), h.take(spec("b")), h.take(spec("c"))}
		time.Sleep(time.Second) // until their replacements are warm
		synctest.Wait()
		distinct := func(n int) {
			t.Helper()
			slots := map[int]bool{}
			for _, f := range h.containers() {
				slots[f.Slot] = true
			}
			if len(slots) != n || len(h.containers()) != n {
				t.Errorf("%d slots of %d containers, want %d", len(slots), len(h.containers()), n)
			}
		}
		distinct(6)
		h.remove(taken[0], taken[2])
		taken = append(taken[1:2], h.take(spec("c")), h.take(spec("c")))
		distinct(6)
		h.remove(taken...)
	})
}

func TestAContainerOfAnEarlierProcessKeepsItsSlotUntilItIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		old := spec("a")
		old.Execution, old.Slot = "exec_old", 0
		if _, err := engine.Prepare(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		p := pool.New(config(),
			pool.Deps{Sandbox: engine, Wants: func() []pool.Want { return nil }, HandedOut: func(string, bool) {}})
		found, err := engine.Containers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !p.Holds(found[0]) {
			t.Error("not held before Containers has listed the containers of an earlier process")
		}
		mine, err := p.Containers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		next, err := p.Prepare(t.Context(), spec("a"))
		if err != nil {
			t.Fatal(err)
		}
		found, _ = engine.Containers(t.Context())
		for _, f := range found {
			if f.Container.ID() == next.ID() && f.Slot == 0 {
				t.Error("the slot was given away")
			}
			if !p.Holds(f) {
				t.Errorf("%s is not held", f.Container.ID())
			}
		}
		if err := mine[0].Container.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p.Holds(mine[0]) {
			t.Error("it is held although it is removed")
		}
		stranger := spec("a")
		stranger.Slot = 7
		b, err := engine.Prepare(t.Context(), stranger)
		if err != nil {
			t.Fatal(err)
		}
		if p.Holds(sandbox.Found{Container: b, Slot: 7}) {
			t.Error("a container that the pool did not make is held")
		}
	})
}

func TestAutoFollowsTheDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		h := newHarnessOn(t, config(), engine, &slowSandbox{Sandbox: engine},
			pool.Want{Spec: spec("a"), Size: pool.Auto},
			pool.Want{Spec: spec("b"), Size: pool.Auto})
		h.wantWaiting(map[string]int{})
		h.takeAtOnce(10, spec("a"))
		h.wantWaiting(map[string]int{"a": 4}) // at most one for each slot
		for range 5 {                         // one at a time: three containers are surplus
			time.Sleep(time.Minute)
			h.remove(h.take(spec("a")))
		}
		h.wantWaiting(map[string]int{"a": 4})
		time.Sleep(10 * time.Minute)
		h.remove(h.take(spec("a")))
		time.Sleep(10 * time.Minute)
		h.remove(h.take(spec("a")))
		h.wantWaiting(map[string]int{"a": 1})
		time.Sleep(21 * time.Minute)
		h.wantWaiting(map[string]int{})
	})
}

func TestAutoStaysWithinItsMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.Memory = 3 * pool.Footprint
		engine := sandboxtest.New(sandboxtest.Script{})
		h := newHarnessOn(t, c, engine, &slowSandbox{Sandbox: engine}, pool.Want{Spec: spec("a"), Size: pool.Auto},
			pool.Want{Spec: spec("b"), Size: pool.Auto})
		h.takeAtOnce(4, spec("a"))
		h.wantWaiting(map[string]int{"a": 3})
		time.Sleep(time.Second)
		h.remove(h.take(spec("b")))
		h.wantWaiting(map[string]int{"a": 3}) // a was in use just now
		time.Sleep(time.Minute)
		h.remove(h.take(spec("b"))) // a is idle now, so b gets the memory of one of its containers
		h.wantWaiting(map[string]int{"a": 2, "b": 1})
	})
}

func TestLanguagesInUseKeepTheirContainers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.Memory = 3 * pool.Footprint
		languages := []string{"a", "b", "c", "d"}
		var wants []pool.Want
		for _, l := range languages {
			wants = append(wants, pool.Want{Spec: spec(l), Size: pool.Auto})
		}
		h := newHarness(t, c, sandboxtest.Script{}, wants...)
		for range 30 {
			for _, l := range languages {
				h.remove(h.take(spec(l)))
				time.Sleep(time.Second)
			}
		}
		warm := 0
		for _, w := range h.warm {
			if w {
				warm++
			}
		}
		if warm < 3*29 {
			t.Errorf("%d of %d were warm, want those of the three that there is memory for", warm, len(h.warm))
		}
	})
}

func TestAnEndedContainerIsReplacedAndNeverHandedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, config(), sandboxtest.Script{}, pool.Want{Spec: spec("a"), Size: 1})
		time.Sleep(time.Minute)
		for id, f := range h.containers() {
			if err := f.Container.Stop(t.Context()); err != nil { // as an operator would
				t.Fatal(err)
			}
			b := h.take(spec("a"))
			defer h.remove(b)
			if b.ID() == id {
				t.Error("a dead container was handed out")
			}
			h.wantWaiting(map[string]int{"a": 1})
			if _, there := h.containers()[id]; there {
				t.Error("a dead container was not removed")
			}
		}
	})
}

// mayflies makes containers that end a moment after they are made, unless cured is set.
type mayflies struct {
	sandbox.Sandbox
	made  atomic.Int64
	cured atomic.Bool
}

func (m *mayflies) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	b, err := m.Sandbox.Prepare(ctx, spec)
	m.made.Add(1)
	if err == nil && !m.cured.Load() {
		time.AfterFunc(300*time.Millisecond, func() { _ = b.Stop(context.WithoutCancel(ctx)) })
	}
	return b, err
}

func TestContainersThatEndAtOnceAreMadeWithABackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		dying := &mayflies{Sandbox: engine}
		h := newHarnessOn(t, config(), engine, dying, pool.Want{Spec: spec("a"), Size: 3})
		time.Sleep(time.Hour)
		if made := dying.made.Load(); made < 30 || made > 300 {
			t.Errorf("%d were made in an hour, want a few every minute", made)
		}
		dying.cured.Store(true)
		time.Sleep(2 * time.Minute)
		h.wantWaiting(map[string]int{"a": 3})
		h.Renew() // the containers live now; Renew ends the back-off
		for range 2 {
			h.wantWaiting(map[string]int{"a": 3})
			for _, f := range h.containers() {
				if err := f.Container.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
		}
		h.wantWaiting(map[string]int{"a": 3})
	})
}

func TestAnOldContainerIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, config(), sandboxtest.Script{}, pool.Want{Spec: spec("a"), Size: 1})
		first := h.containers()
		time.Sleep(9 * time.Minute)
		h.wantWaiting(map[string]int{"a": 1})
		if !maps.EqualFunc(first, h.containers(), func(a, b sandbox.Found) bool { return a.Container == b.Container }) {
			t.Error("a young container was replaced")
		}
		time.Sleep(2 * time.Minute)
		h.wantWaiting(map[string]int{"a": 1})
		second := h.containers()
		for id := range second {
			if _, same := first[id]; same || len(second) != 1 {
				t.Errorf("after eleven minutes: %v, want another one than %v", second, first)
			}
		}
		h.Renew()
		h.wantWaiting(map[string]int{"a": 1})
		for id := range h.containers() {
			if _, same := second[id]; same {
				t.Error("a renewed pool has its old container")
			}
		}
	})
}

func TestAContainerThatIsNotWantedAnyMoreIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, config(), sandboxtest.Script{}, pool.Want{Spec: spec("a"), Size: 2},
			pool.Want{Spec: spec("b"), Size: 1})
		changed := spec("a")
		changed.Image = "newer"
		h.wants.Store(&[]pool.Want{{Spec: changed, Size: 1}})
		time.Sleep(10 * time.Second)
		h.wantWaiting(map[string]int{"a": 1})
		if n := len(h.containers()); n != 1 {
			t.Errorf("%d containers are there, want 1", n)
		}
		if h.remove(h.take(spec("a"))); h.warm[0] {
			t.Error("a container of another image was handed out")
		}
		if h.remove(h.take(changed)); !h.warm[1] {
			t.Error("the new one did not wait")
		}
	})
}

func TestRenewReplacesAllWarmContainers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, config(), sandboxtest.Script{}, pool.Want{Spec: spec("a"), Size: 1})
		changed := spec("a")
		changed.Image = "newer"
		h.wants.Store(&[]pool.Want{{Spec: changed, Size: 1}})
		h.Renew()
		h.wantWaiting(map[string]int{"a": 1})
		if h.remove(h.take(changed)); !h.warm[0] {
			t.Error("the warm container has the old spec after Renew")
		}
	})
}

func TestAContainerBegunBeforeRenewIsNotHandedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := sandboxtest.New(sandboxtest.Script{})
		h := newHarnessOn(t, config(), engine, &slowSandbox{Sandbox: engine}, pool.Want{Spec: spec("a"), Size: 2})
		h.wantWaiting(map[string]int{"a": 2})
		h.Renew()
		if h.remove(h.take(spec("a"))); h.warm[0] {
			t.Error("one that waited was handed out")
		}
		h.wantWaiting(map[string]int{"a": 2})
		h.remove(h.take(spec("a")))
		time.Sleep(200 * time.Millisecond) // one is in the making
		old := len(h.containers())
		h.Renew()
		time.Sleep(150 * time.Millisecond) // it is made
		synctest.Wait()
		if n := h.Waiting()["a"]; old != 1 || n != 0 {
			t.Errorf("%d were there before; %d wait, want none that was begun before", old, n)
		}
		h.wantWaiting(map[string]int{"a": 2})
	})
}

func TestRenewEndsTheBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sick := errors.New("sick")
		h := newHarness(t, config(), sandboxtest.Script{
			Prepare: []error{sick, sick, sick, sick, sick}, Resize: []error{sick},
		}, pool.Want{Spec: spec("a"), Size: 1})
		time.Sleep(30 * time.Second) // five makings have failed; the sixth is due in ten seconds
		h.wantWaiting(map[string]int{})
		h.Renew()
		h.wantWaiting(map[string]int{"a": 1})
		small := spec("a")
		small.Limits.Memory /= 2
		h.remove(h.take(small))
		h.Renew()
		h.wantWaiting(map[string]int{"a": 1})
		if h.remove(h.take(small)); h.warm[0] || !h.warm[1] {
			t.Errorf("warm = %v, want no resized container until Renew", h.warm)
		}
	})
}
