//go:build integration

package app

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alecthomas/units"
	"github.com/sirupsen/logrus"

	"boomerang/internal/callback"
	"boomerang/internal/dispatch"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/language"
	"boomerang/internal/pool"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
	"boomerang/internal/store"
	"boomerang/internal/upkeep"
)

// player is a catalogue with one language, whose programs the fake sandbox runs, and an Unsealer.
type player struct{}

func (player) Find(name string) (language.Language, error) {
	if name != "play" {
		return language.Language{}, fault.New(fault.UnsupportedLanguage, "There is no language %q.", name)
	}
	return language.Language{
		Name: name, Image: "player", File: "program.json", Command: []string{sandboxtest.Player, "{file}"},
		Limits: sandbox.Limits{Output: 64 << 10, Tail: 1 << 10},
	}, nil
}

func (player) Unseal(_ execution.ID, _ string, sealed execution.Sealed) ([]byte, error) {
	return sealed, nil
}

// usage is the resource usage of the process at one moment.
type usage struct {
	at                                  time.Duration
	goroutines, files, containers, rows int
	heap                                uint64 // bytes in use after a garbage collection
}

func (u usage) String() string {
	return fmt.Sprintf("%8s  %3d goroutines  %3d files  %2d containers  %4d executions stored  %6d KiB of heap",
		u.at.Round(time.Second), u.goroutines, u.files, u.containers, u.rows, u.heap>>10)
}

// TestResourceUsageStaysConstantForTwoHours runs everything behind the API for two hours of a fake clock: mixed
// programs in all slots, some cancelled, callbacks that fail at once, old executions removed. The usage after the first
// twenty minutes must not grow.
func TestResourceUsageStaysConstantForTwoHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger := logrus.New()
		logger.SetOutput(io.Discard)
		log := logrus.NewEntry(logger)
		settings := store.Defaults()
		settings.Readers = 1 // a second reader would open its files at an unpredictable time
		records, err := store.Open(t.Context(), t.TempDir(), settings, log)
		if err != nil {
			t.Fatal(err)
		}
		box := sandboxtest.New(sandboxtest.Script{})
		c := callback.Defaults()
		policy, err := callback.NewPolicy(c)
		if err != nil {
			t.Fatal(err)
		}
		body := func(e execution.Execution, r execution.Result) []byte { return callback.Body(e, r, 4<<10) }
		payload := dispatch.Payload{Body: body}
		played, _ := player{}.Find("play")
		warm := pool.New(pool.Defaults().For(2, 1<<30, 4), pool.Deps{
			Sandbox: box, HandedOut: func(string, bool) {}, Log: log,
			Wants: func() []pool.Want {
				return []pool.Want{{Spec: language.Waiting(played, execution.WorkspaceLimits{}), Size: pool.Auto}}
			},
		})
		dispatcher := dispatch.New(4, dispatch.Deps{
			Store: records, Sandbox: warm, Languages: player{}, Unsealer: player{}, Payload: payload,
			Node: records.Node(), Epoch: records.Epoch(), Log: log,
		})
		keep := upkeep.Config{
			Keep: 5 * time.Minute, KeepDead: 5 * time.Minute,
			KeepSize: units.GiB, Interval: time.Minute,
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		deliverer := callback.NewDeliverer(c, callback.Deps{
			Store: records, Unsealer: player{}, Policy: policy, Version: "test", Log: log,
		})
		parts := []func(context.Context) error{
			warm.Run, dispatcher.Run, deliverer.Run,
			upkeep.New(keep, upkeep.Deps{
				Store: records, Quota: func(string) int64 { return int64(units.GiB) },
				Sandbox: box, Holder: warm, Log: log,
			}).Run,
		}
		for _, run := range parts {
			go func() { done <- run(ctx) }()
		}

		measure := func(begin time.Time) usage {
			runtime.GC()
			var memory runtime.MemStats
			runtime.ReadMemStats(&memory)
			files, err := os.ReadDir("/proc/self/fd")
			if err != nil {
				t.Fatal(err)
			}
			containers, err := box.Containers(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			rows, err := records.List(t.Context(), execution.Filter{Limit: 10_000})
			if err != nil {
				t.Fatal(err)
			}
			u := usage{
				time.Since(begin), runtime.NumGoroutine(), len(files), len(containers), len(rows.Executions),
				memory.HeapAlloc,
			}
			t.Log(u)
			return u
		}
		chance := rand.New(rand.NewPCG(1, 2))
		begin := time.Now()
		var early, late usage
		for n := 0; time.Since(begin) < 2*time.Hour; n++ {
			submit(t, records, chance, n)
			if n%7 == 0 {
				if err := cancelOne(t.Context(), records, payload); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(6 * time.Second)
			synctest.Wait()
			switch elapsed := time.Since(begin); {
			case elapsed == 20*time.Minute:
				early = measure(begin)
			case elapsed%(20*time.Minute) == 0:
				late = measure(begin)
			}
		}
		time.Sleep(20 * time.Minute) // until the last execution has ended and is removed
		synctest.Wait()
		if end := measure(begin); end.containers != 0 || end.rows != 0 {
			t.Errorf("at the end: %s, want no containers and no executions", end)
		}
		if late.goroutines > early.goroutines+8 || late.files > early.files+2 || late.containers > 8 ||
			late.heap > early.heap*3/2+(4<<20) {
			t.Errorf("after two hours:\n%s, after twenty minutes:\n%s", late, early)
		}
		stop()
		for range parts {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if err := records.Close(); err != nil {
			t.Error(err)
		}
	})
}

// submit enqueues a program of a random kind.
func submit(t *testing.T, records *store.Store, chance *rand.Rand, n int) {
	t.Helper()
	nap := sandboxtest.Sleep(time.Duration(chance.IntN(20)) * time.Second)
	kinds := []sandboxtest.Program{
		{sandboxtest.Out("hello\n"), nap},
		{
			sandboxtest.Times(500, sandboxtest.Out("a line that is not so short\n")),
			sandboxtest.Err("and a complaint\n"), sandboxtest.Exit(3),
		},
		{sandboxtest.Times(4, sandboxtest.Out(string(make([]byte, 32<<10)))), nap},
		{sandboxtest.Out("up\n"), sandboxtest.Hang()},
		{sandboxtest.IgnoreTerm(), sandboxtest.Hang()},
		{nap, sandboxtest.Die(11)},
	}
	e := execution.Execution{
		ID: execution.NewID(time.Now()), Subject: fmt.Sprintf("s%d", n%5), Language: "play", WorkingDir: "/workspace",
		Timeout: 20 * time.Second, Code: execution.Sealed(kinds[chance.IntN(len(kinds))].Code()),
		CreatedAt: time.Now(), State: execution.Queued,
		Callback: execution.Callback{URL: "http://10.0.0.1/closed"}, // a refused address, so no packet is sent
	}
	if _, _, err := records.Enqueue(t.Context(), e, nil, execution.QueueLimits{}); err != nil {
		t.Fatal(err)
	}
}

// cancelOne cancels the newest execution.
func cancelOne(ctx context.Context, records *store.Store, payload dispatch.Payload) error {
	newest, err := records.List(ctx, execution.Filter{Limit: 1})
	if err != nil {
		return err
	}
	_, err = records.Cancel(ctx, newest.Executions[0].ID, time.Now(), payload.Cancelled)
	return err
}
