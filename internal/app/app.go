// Package app wires the rooms into one server and stops them in order.
//
// It knows every room's constructor and no room's business.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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
	"boomerang/internal/metrics"
	"boomerang/internal/pool"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/docker"
	"boomerang/internal/seal"
	"boomerang/internal/store"
	"boomerang/internal/upkeep"
)

// App is one server, ready to run.
type App struct {
	log       *logrus.Entry
	role      config.Role
	listener  net.Listener
	server    *http.Server
	cert      *httpapi.Certificate
	catalogue *language.Catalogue
	offer     *language.Offer // of it, to clients
	keys      *seal.Keyring
	numbers   *metrics.Metrics
	engine    *docker.Docker // nil: this role has no access to it
	facts     *engineFacts   // of it
	stock     imageStock     // the same
	networks  *networks      // of it
	pool      *pool.Pool     // of its containers
	starts    *starts        // the proof that it starts containers
	slots     int
	limits    execution.WorkspaceLimits
	tokens    *auth.Auth
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
	a := &App{log: log, role: c.Role, limits: c.Workspaces.Limits()}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	records, err := store.OpenPart(ctx, c.DataDir, shares[c.Role], c.Store, log)
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, records.Close)
	if a.keys, err = seal.Open(filepath.Join(c.DataDir, "seal.key")); err != nil {
		return nil, err
	}
	if a.catalogue, err = language.Open(c.Languages); err != nil {
		return nil, err
	}
	a.offer = a.catalogue.Offer()
	payload := dispatch.Payload{
		Body: func(e execution.Execution, r execution.Result) []byte {
			return callback.Body(e, r, int(c.Callback.InlineOutput))
		},
		Summary: callback.Summary,
	}
	if c.Role != config.API {
		if err := a.openBack(ctx, c, records); err != nil {
			return nil, err
		}
	}
	facts := metrics.Facts{Version: version, Slots: a.slots, Tally: records.Tally}
	if a.pool != nil {
		facts.Waiting = a.pool.Waiting
	}
	a.numbers = metrics.New(facts)
	if err := a.serveMetrics(ctx, c.Metrics); err != nil {
		return nil, err
	}
	switch c.Role {
	case config.Runner:
		a.parts = append(a.parts,
			part{"pool", a.pool.Run},
			part{"starts", a.proveStarts},
			part{"dispatcher", a.newDispatcher(records, payload, records).Run},
			part{"upkeep", upkeep.New(c.Upkeep, c.Workspaces.Keep, nil, a.engine, a.pool, log).Run},
			part{"reports", func(ctx context.Context) error { return a.report(ctx, records, a.checks(records)) }})
	case config.API:
		deliverer, err := a.openFront(ctx, c, version, records, payload, published{records}, reported(records))
		if err != nil {
			return nil, err
		}
		a.parts = append(a.parts,
			part{"deliverer", deliverer.Run},
			part{"offer", a.keepOffer(runnerReport{records})},
			part{"upkeep", upkeep.New(c.Upkeep, c.Workspaces.Keep, records, nil, nil, log).Run})
	case config.Everything:
		dispatcher := a.newDispatcher(records, payload, nil)
		deliverer, err := a.openFront(ctx, c, version, records, payload, dispatcher, a.checks(records))
		if err != nil {
			return nil, err
		}
		a.parts = append(a.parts,
			part{"deliverer", deliverer.Run},
			part{"offer", a.keepOffer(a.stock)},
			part{"pool", a.pool.Run},
			part{"starts", a.proveStarts},
			part{"dispatcher", dispatcher.Run},
			part{"upkeep", upkeep.New(c.Upkeep, c.Workspaces.Keep, records, a.engine, a.pool, log).Run})
	}
	if c.Role != config.Runner {
		a.parts = append(a.parts,
			part{"tokens", func(ctx context.Context) error { return a.tokens.Run(ctx, log) }},
			part{"http", func(ctx context.Context) error {
				return a.serve(ctx, a.server, func() error { return a.cert.Serve(a.server, a.listener) })
			}})
	}
	return a, nil
}

// shares are what the roles do of the store's work.
var shares = map[config.Role]store.Part{config.Everything: store.Whole, config.API: store.Front, config.Runner: store.Back}

// openBack opens what runs executions.
func (a *App) openBack(ctx context.Context, c config.Config, records *store.Store) (err error) {
	if a.engine, err = docker.New(c.Docker, records.Node(), records.Epoch(), a.log); err != nil {
		return err
	}
	a.closers = append(a.closers, a.engine.Close)
	if err := a.openNetworks(c.Docker, records); err != nil {
		return err
	}
	a.facts = &engineFacts{engine: a.engine, strict: c.Docker.Strict, log: a.log}
	if err := a.facts.atStart(ctx); err != nil {
		return err
	}
	a.stock = imageStock{engine: a.engine, catalogue: a.catalogue, pull: c.Docker.Pull}
	a.refreshOffer(ctx, a.stock)
	cpus, memory, slots := a.measure(ctx, c)
	a.slots = slots
	a.starts = newStarts(a.log)
	a.pool = pool.New(c.Pool.For(cpus, memory, slots), pool.Deps{
		Sandbox:   watched{crashContainers(a.engine), a.starts},
		Wants:     a.wants,
		HandedOut: func(language string, warm bool) { a.numbers.Taken(language, warm) },
		Log:       a.log,
	})
	return nil
}

// wants are the containers that should wait: some of every language.
func (a *App) wants() []pool.Want {
	var wants []pool.Want
	for _, l := range a.catalogue.Languages() {
		w := pool.Want{Spec: language.Waiting(l, a.limits), Size: l.Warm}
		if l.Warm == language.Auto {
			w.Size = pool.Auto
		}
		wants = append(wants, w)
	}
	return wants
}

// openNetworks makes what proves that networks are closed. What an earlier process left of it is removed first.
func (a *App) openNetworks(c docker.Config, records *store.Store) error {
	n, prober, err := openNetworks(c, a.engine, records.Node(), records.Epoch(), a.catalogue.Languages, a.log)
	if err != nil {
		return err
	}
	a.networks = n
	a.closers = append(a.closers, prober.Close)
	a.parts = append(a.parts, part{"networks", func(ctx context.Context) error {
		if len(n.used()) > 0 {
			if err := prober.Dismantle(ctx); err != nil && ctx.Err() == nil {
				a.log.WithError(err).Warn("remove what was left of proving networks")
			}
		}
		return n.Run(ctx)
	}})
	return nil
}

func (a *App) newDispatcher(records *store.Store, payload dispatch.Payload, publisher dispatch.Publisher) *dispatch.Dispatcher {
	return dispatch.New(a.slots, dispatch.Deps{
		Store: instrumented{crashBack(records), a.numbers}, Sandbox: provenOnly{a.pool, a.networks}, Publisher: publisher, Languages: a.catalogue,
		Blobs:    func(ctx context.Context) (dispatch.BlobWriter, error) { return records.NewBlob(ctx) },
		Unsealer: a.keys, Payload: payload,
		Workspaces: records, Limits: a.limits,
		Node: records.Node(), Epoch: records.Epoch(), Log: a.log,
	})
}

// openFront makes what takes executions in and sends their results, and binds the address.
func (a *App) openFront(
	ctx context.Context, c config.Config, version string, records *store.Store, payload dispatch.Payload, live httpapi.Live, checks []httpapi.Check,
) (_ *callback.Deliverer, err error) {
	if a.tokens, err = auth.New(c.Auth, c.DataDir); err != nil {
		return nil, err
	}
	policy, err := callback.NewPolicy(c.Callback)
	if err != nil {
		return nil, err
	}
	fetcher, err := callback.NewFetcher(c.Callback, c.Admission.Files.URLAllowCIDRs, version)
	if err != nil {
		return nil, err
	}
	notes := noted(records)
	if a.facts != nil {
		notes = a.notes
	}
	ledger := instrumented{crashFront(records), a.numbers}
	deliverer := callback.NewDeliverer(c.Callback, callback.Deps{
		Store: ledger, Unsealer: a.keys, Policy: policy, Version: version, Log: a.log,
	})
	admitter := admission.New(c.Admission, admission.Deps{
		Workspaces: c.Workspaces,
		Languages:  admitted{a.offer},
		Policy:     policy,
		Fetcher:    fetcher,
		Sealer:     a.keys,
		Store:      ledger,
		Now:        time.Now,
	})
	if err := admitter.Reseal(ctx); err != nil {
		a.log.WithError(err).Warn("not every environment is sealed with the key of today")
	}
	handler, err := httpapi.New(c.HTTP, httpapi.Deps{
		Admission:     admitter,
		Records:       records,
		Deliveries:    records,
		Artifacts:     records,
		Live:          live,
		Authenticator: a.tokens,
		Languages:     a.offer,
		Workspaces:    workspaces{records},
		Limits:        c.Workspaces.Limits(),
		Cancel: func(ctx context.Context, id execution.ID) (execution.Execution, error) {
			return ledger.Cancel(ctx, id, time.Now(), payload.Cancelled)
		},
		Try:      deliverer.Try,
		Checks:   append(checks, httpapi.Check{Name: "tokens", Run: a.tokens.Ready}),
		Inline:   int(c.Callback.InlineOutput),
		Version:  version,
		Notes:    notes,
		Answered: a.numbers.Answered,
		Log:      a.log,
		Now:      time.Now,
	})
	if err != nil {
		return nil, err
	}
	a.server = httpapi.Server(c.HTTP, handler, a.log)
	if a.cert, err = httpapi.OpenCertificate(c.HTTP); err != nil {
		return nil, err
	}
	if a.listener, err = a.listen(ctx, c.HTTP.Addr); err != nil {
		return nil, err
	}
	return deliverer, nil
}

// serveMetrics binds the second listener, if there is to be one.
func (a *App) serveMetrics(ctx context.Context, c metrics.Config) error {
	if c.Addr == "" {
		return nil
	}
	l, err := a.listen(ctx, c.Addr)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	server := a.numbers.Server()
	server.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	a.parts = append(a.parts, part{"metrics", func(ctx context.Context) error {
		return a.serve(ctx, server, func() error { return server.Serve(l) })
	}})
	a.log.WithField("addr", l.Addr().String()).Info("metrics are served")
	return nil
}

func (a *App) listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	a.closers = append(a.closers, func() error { return ignoreClosed(l.Close()) })
	return l, nil
}

// measure returns the engine's processors and memory, and as many slots as the operator says, or the engine's size and the neediest language
// that is offered suggest; an engine that is down is guessed to be as large as this machine.
func (a *App) measure(ctx context.Context, c config.Config) (cpus int, memory int64, slots int) {
	need := int64(0)
	for _, l := range a.offer.Languages() {
		need = max(need, l.Most().Memory)
	}
	cpus, memory, err := a.engine.Capacity(ctx)
	if err != nil {
		cpus, memory = runtime.NumCPU(), 0
	}
	switch {
	case c.Dispatch.Slots > 0:
		return cpus, memory, c.Dispatch.Slots
	case err != nil:
		a.log.WithError(err).Warn("the engine does not tell its size; slots follow this machine's CPUs")
		return cpus, memory, 2 * cpus
	}
	return cpus, memory, dispatch.SlotsFor(cpus, memory, need)
}

// checks are what /readyz asks; their faults are what it says, their causes go to the log.
func (a *App) checks(records *store.Store) []httpapi.Check {
	return []httpapi.Check{
		{Name: "docker", Run: func(ctx context.Context) error {
			if err := a.engine.Ping(ctx); err != nil {
				return fault.New(fault.ServiceUnavailable, "The Docker engine does not answer. Executions wait until it does.").Because(err)
			}
			return nil
		}},
		{Name: "store", Run: records.Writable},
		{Name: "images", Run: a.stock.check},
		{Name: "networks", Run: a.networks.check},
		{Name: "engine", Run: func(ctx context.Context) error {
			if err := a.starts.check(a.facts.unsupported(ctx)); err != nil {
				return err
			}
			return a.facts.check(ctx)
		}},
	}
}

// notes are the warnings of /readyz.
func (a *App) notes(ctx context.Context) []string {
	return append(a.facts.notes(ctx), a.starts.notes()...)
}

// proveStarts is the part that proves that the engine starts containers.
func (a *App) proveStarts(ctx context.Context) error {
	return a.starts.run(ctx, attempt{
		try:  a.pool.Try,
		warm: func() bool { return slices.ContainsFunc(a.wants(), func(w pool.Want) bool { return w.Size > 0 }) },
		specs: func(ctx context.Context) ([]sandbox.Spec, error) {
			return a.stock.bySize(ctx, a.limits)
		},
	})
}

// Addr is the address that the server listens on; empty when its role has no listener.
func (a *App) Addr() string {
	if a.listener == nil {
		return ""
	}
	return a.listener.Addr().String()
}

// Reload reads the catalogue of languages, the files of token keys and the TLS certificate again; what cannot be read
// stays as it was. Containers are made from the images that the engine has by then, those that wait are made anew.
func (a *App) Reload() error {
	err := a.catalogue.Reload()
	if a.pool != nil {
		a.engine.LookAnew()
		a.pool.Renew()
	}
	if a.tokens != nil {
		err = errors.Join(err, a.tokens.Reload(), a.cert.Reload())
	}
	return err
}

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
	a.log.WithFields(logrus.Fields{"role": a.role, "addr": a.Addr()}).Info("boomerang serves")
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

// shutdownTimeout is how long requests may take to end when the server stops.
const shutdownTimeout = 10 * time.Second

// serve answers requests until ctx ends.
func (a *App) serve(ctx context.Context, server *http.Server, answer func() error) error {
	stopped := make(chan error, 1)
	unhook := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		stopped <- server.Shutdown(ctx)
	})
	err := answer()
	if unhook() { // it ended by itself
		return err
	}
	if err := <-stopped; err != nil {
		a.log.WithError(err).Warn("requests were cut off")
		return server.Close()
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
