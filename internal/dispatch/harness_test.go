package dispatch_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/dispatch"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/language"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
	"boomerang/internal/store"
	"boomerang/internal/store/storetest"
)

// catalogue has one language; the fake sandbox runs its programs.
type catalogue struct{}

func (catalogue) Find(name string) (language.Language, error) {
	if name != "play" {
		return language.Language{}, fault.New(fault.UnsupportedLanguage, "There is no language %q.", name)
	}
	return language.Language{
		Name: name, Image: "player", File: "program.json", Command: []string{sandboxtest.Player, "{file}"},
		Limits: sandbox.Limits{Output: 1 << 20, Tail: 64 << 10, Artifacts: 1<<20 + 5},
	}, nil
}

// noEncryption is an Unsealer for fields that are not encrypted.
type noEncryption struct{}

func (noEncryption) Unseal(_ execution.ID, _ string, sealed execution.Sealed) ([]byte, error) {
	return sealed, nil
}

// harness is a dispatcher with a real store and a fake sandbox. It can be stopped and started again.
type harness struct {
	t       *testing.T
	dir     string
	slots   int
	sandbox sandbox.Sandbox
	store   *store.Store
	wrap    func(dispatch.Store) dispatch.Store
	blobs   dispatch.Blobs // those of the store if nil

	dispatcher *dispatch.Dispatcher
	stop       context.CancelFunc
	done       chan error
}

func newHarness(t *testing.T, slots int, box sandbox.Sandbox) *harness {
	t.Helper()
	return &harness{
		t: t, dir: storetest.Dir(t), slots: slots, sandbox: box,
		wrap: func(s dispatch.Store) dispatch.Store { return s },
	}
}

// payload makes the body of every callback.
var payload = dispatch.Payload{Body: func(e execution.Execution, r execution.Result) []byte {
	return fmt.Appendf(nil, "%s %s", e.ID, r.State)
}}

// start opens the store and runs a dispatcher, as a new process would.
func (h *harness) start() {
	h.t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	entry := logrus.NewEntry(log)
	var err error
	if h.store, err = store.Open(h.t.Context(), h.dir, store.Defaults(), entry); err != nil {
		h.t.Fatal(err)
	}
	if h.blobs == nil {
		h.blobs = func(ctx context.Context) (dispatch.BlobWriter, error) { return h.store.NewBlob(ctx) }
	}
	h.dispatcher = dispatch.New(h.slots, dispatch.Deps{
		Store: h.wrap(h.store), Sandbox: h.sandbox, Languages: catalogue{}, Unsealer: noEncryption{},
		Payload: payload, Blobs: h.blobs,
		Node: h.store.Node(), Epoch: h.store.Epoch(), Log: entry,
	})
	ctx, stop := context.WithCancel(context.WithoutCancel(h.t.Context()))
	h.stop, h.done = stop, make(chan error, 1)
	go func() { h.done <- h.dispatcher.Run(ctx) }()
}

// shutdown stops the dispatcher and closes the store.
func (h *harness) shutdown() {
	h.t.Helper()
	h.stop()
	if err := <-h.done; err != nil {
		h.t.Errorf("run: %v", err)
	}
	if err := h.store.Close(); err != nil {
		h.t.Errorf("close store: %v", err)
	}
}

func (h *harness) submit(subject string, steps ...sandboxtest.Step) execution.ID {
	h.t.Helper()
	return h.enqueue(subject, execution.Options{}, steps)
}

// submitFor submits an execution that asks for artifacts.
func (h *harness) submitFor(globs []string, steps ...sandboxtest.Step) execution.ID {
	h.t.Helper()
	return h.enqueue("a", execution.Options{Artifacts: globs}, steps)
}

func (h *harness) enqueue(subject string, options execution.Options, steps []sandboxtest.Step) execution.ID {
	h.t.Helper()
	e := execution.Execution{
		ID: execution.NewID(time.Now()), Subject: subject, Language: "play",
		WorkingDir: "/workspace", Timeout: time.Hour,
		Code: execution.Sealed(sandboxtest.Program(steps).Code()), CreatedAt: time.Now(), State: execution.Queued,
		Callback: execution.Callback{URL: "https://receiver.example/hook"}, Options: options,
	}
	if _, _, err := h.store.Enqueue(h.t.Context(), e, nil, execution.QueueLimits{}); err != nil {
		h.t.Fatal(err)
	}
	return e.ID
}

func (h *harness) get(id execution.ID) execution.Execution {
	h.t.Helper()
	e, err := h.store.Get(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return e
}

// ended waits until the execution has ended and all goroutines are idle.
func (h *harness) ended(id execution.ID) execution.Execution {
	h.t.Helper()
	ch, release := h.store.Ended(id)
	defer release()
	if e := h.get(id); e.State.Terminal() {
		return e
	}
	<-ch
	synctest.Wait()
	return h.get(id)
}

func (h *harness) containers() int {
	h.t.Helper()
	found, err := h.sandbox.Containers(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return len(found)
}

// stdout returns the kept output of an ended execution.
func (h *harness) stdout(id execution.ID) string {
	h.t.Helper()
	p, err := h.store.Output(h.t.Context(), id, execution.Stdout)
	if err != nil {
		h.t.Fatal(err)
	}
	kept, err := p.Kept()
	if err != nil {
		h.t.Fatal(err)
	}
	return kept.String()
}

// expect checks the result of an execution and its pending delivery.
func (h *harness) expect(e execution.Execution, state execution.State, reason execution.Reason, stdout string) {
	h.t.Helper()
	if e.Result == nil {
		h.t.Fatalf("execution %s is %s and has no result", e.ID, e.State)
	}
	if kept := h.stdout(e.ID); e.State != state || e.Result.Reason != reason || kept != stdout {
		h.t.Errorf("got %s/%s, stdout %q; want %s/%s, %q", e.State, e.Result.Reason, kept, state, reason, stdout)
	}
	d, err := h.store.Delivery(h.t.Context(), e.ID)
	if err != nil {
		h.t.Fatal(err)
	}
	if want := fmt.Sprintf("%s %s", e.ID, state); d.State != execution.Pending || string(d.Body) != want {
		h.t.Errorf("the delivery is %s with %q, want pending with %q", d.State, d.Body, want)
	}
}
