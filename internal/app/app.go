// Package app wires the rooms into one server and stops them in order.
//
// It knows every room's constructor and no room's business.
package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/callback"
	"boomerang/internal/config"
	"boomerang/internal/dispatch"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/httpapi"
	"boomerang/internal/language"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/docker"
	"boomerang/internal/seal"
	"boomerang/internal/store"
	"boomerang/internal/upkeep"
)

// App is one server, ready to run.
type App struct {
	log       *logrus.Entry
	listener  net.Listener
	server    *http.Server
	catalogue *language.Catalogue
	parts     []part         // in the order of their start
	closers   []func() error // in the order of their opening
}

// part is something that runs until its context ends.
type part struct {
	name string
	run  func(context.Context) error
}

// New opens everything that the server needs and binds its address; port 0 binds a free one. The engine need not be
// up. On an error nothing stays open.
func New(ctx context.Context, c config.Config, version string, log *logrus.Entry) (_ *App, err error) {
	a := &App{log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	records, err := store.Open(ctx, c.DataDir, c.Store, log)
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, records.Close)
	keys, err := seal.Open(filepath.Join(c.DataDir, "seal.key"))
	if err != nil {
		return nil, err
	}
	tokens, err := auth.New(c.Auth, c.DataDir)
	if err != nil {
		return nil, err
	}
	if a.catalogue, err = language.Open(c.Languages); err != nil {
		return nil, err
	}
	policy, err := callback.NewPolicy(c.Callback)
	if err != nil {
		return nil, err
	}
	engine, err := docker.New(c.Docker, records.Node(), records.Epoch(), log)
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, engine.Close)
	facts := &engineFacts{engine: engine, strict: c.Docker.Strict, log: log}
	if err := facts.atStart(ctx); err != nil {
		return nil, err
	}

	ledger, berths := mortal(records, engine)
	dispatcher := dispatch.New(a.slots(ctx, c, engine), dispatch.Deps{
		Store: ledger, Sandbox: berths, Languages: a.catalogue, Unsealer: keys,
		Payload: func(e execution.Execution, r execution.Result) []byte {
			return callback.Body(e, r, int(c.Callback.InlineOutput))
		},
		Node: records.Node(), Epoch: records.Epoch(), Log: log,
	})
	deliverer := callback.NewDeliverer(c.Callback, ledger, keys, policy, version, log)
	handler, err := httpapi.New(c.HTTP, httpapi.Deps{
		Admission:     admission.New(c.Admission, a.catalogue, policy, keys, ledger, time.Now),
		Records:       records,
		Live:          dispatcher,
		Authenticator: tokens,
		Languages:     a.catalogue,
		Cancel: func(ctx context.Context, id execution.ID) (execution.Execution, error) {
			return ledger.Cancel(ctx, id, time.Now(), dispatcher.Cancelled)
		},
		Checks:  append(a.checks(engine, records, c.Docker.Pull), facts.checks()...),
		Notes:   facts.notes,
		Inline:  int(c.Callback.InlineOutput),
		Version: version,
		Log:     log,
		Now:     time.Now,
	})
	if err != nil {
		return nil, err
	}
	a.server = httpapi.Server(c.HTTP, handler)
	if a.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", c.HTTP.Addr); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	a.closers = append(a.closers, func() error { return ignoreClosed(a.listener.Close()) })
	a.parts = []part{
		{"deliverer", deliverer.Run},
		{"dispatcher", dispatcher.Run},
		{"upkeep", upkeep.New(c.Upkeep, records, engine, dispatcher, log).Run},
		{"http", a.serve},
	}
	return a, nil
}

// slots is what the operator says, or what the engine's size suggests; an engine that is down is guessed to be as large
// as this machine.
func (a *App) slots(ctx context.Context, c config.Config, engine *docker.Docker) int {
	if c.Dispatch.Slots > 0 {
		return c.Dispatch.Slots
	}
	need := int64(0)
	for _, l := range a.catalogue.Languages() {
		need = max(need, l.Limits.Memory)
	}
	cpus, memory, err := engine.Capacity(ctx)
	if err != nil {
		a.log.WithError(err).Warn("the engine does not tell its size; slots follow this machine's CPUs")
		return 2 * runtime.NumCPU()
	}
	return dispatch.SlotsFor(cpus, memory, need)
}

// checks are what /readyz asks; their faults are what it says, their causes go to the log.
func (a *App) checks(engine *docker.Docker, records *store.Store, pull docker.Pull) []httpapi.Check {
	return []httpapi.Check{
		{Name: "docker", Run: func(ctx context.Context) error {
			if err := engine.Ping(ctx); err != nil {
				return fault.New(fault.ServiceUnavailable, "The Docker engine does not answer. Executions wait until it does.").Because(err)
			}
			return nil
		}},
		{Name: "store", Run: records.Writable},
		{Name: "images", Run: func(ctx context.Context) error { return a.images(ctx, engine, pull) }},
	}
}

// images tells which languages cannot run for want of their image. One that may be pulled is as good as there.
func (a *App) images(ctx context.Context, engine *docker.Docker, pull docker.Pull) error {
	var missing []string
	for _, l := range a.catalogue.Languages() {
		if pull == docker.PullMissing && l.Pull == sandbox.PullMissing {
			continue
		}
		switch err := engine.HasImage(ctx, l.Image); {
		case errors.Is(err, sandbox.ErrImageUnavailable):
			missing = append(missing, l.Name)
		case err != nil:
			return fault.New(fault.ServiceUnavailable, "The Docker engine does not tell which images it has.").Because(err)
		}
	}
	if len(missing) > 0 {
		return fault.New(fault.ServiceUnavailable, "No image for %s: build or pull it. The other languages work.", strings.Join(missing, ", "))
	}
	return nil
}

// Addr is the address that the server listens on.
func (a *App) Addr() string { return a.listener.Addr().String() }

// Reload reads the catalogue of languages again; on an error the old one stays.
func (a *App) Reload() error { return a.catalogue.Reload() }

// Run serves until ctx ends or a part fails, then stops the parts one after another, last started first: no more
// requests, then no more executions (those that run go on without us), then no more deliveries, then the store.
func (a *App) Run(ctx context.Context) error {
	type running struct {
		part
		stop context.CancelFunc
		done chan error
	}
	failed := make(chan struct{}, len(a.parts))
	started := make([]running, 0, len(a.parts))
	for _, p := range a.parts {
		partCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
		r := running{part: p, stop: stop, done: make(chan error, 1)}
		started = append(started, r)
		go func() {
			r.done <- r.run(partCtx)
			failed <- struct{}{}
		}()
	}
	a.log.WithField("addr", a.Addr()).Info("boomerang serves")
	select {
	case <-ctx.Done():
	case <-failed:
	}
	var errs []error
	for _, p := range slices.Backward(started) {
		p.stop()
		if err := <-p.done; err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
	}
	errs = append(errs, a.close())
	a.log.Info("boomerang stopped")
	return errors.Join(errs...)
}

// farewell is how long requests may take to end when the server stops.
const farewell = 10 * time.Second

// serve answers requests until ctx ends.
func (a *App) serve(ctx context.Context) error {
	stopped := make(chan error, 1)
	unhook := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		stopped <- a.server.Shutdown(ctx)
	})
	err := a.server.Serve(a.listener)
	if unhook() { // it ended by itself
		return err
	}
	if err := <-stopped; err != nil {
		a.log.WithError(err).Warn("requests were cut off")
		return a.server.Close()
	}
	return nil
}

func (a *App) close() error {
	var errs []error
	for _, f := range slices.Backward(a.closers) {
		errs = append(errs, f())
	}
	a.closers = nil
	return errors.Join(errs...)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
