package app

import (
	"context"
	"runtime"
	"slices"

	"boomerang/internal/config"
	"boomerang/internal/dispatch"
	"boomerang/internal/enginecheck"
	"boomerang/internal/httpapi"
	"boomerang/internal/language"
	"boomerang/internal/networkcheck"
	"boomerang/internal/pool"
	"boomerang/internal/report"
	"boomerang/internal/sandbox/docker"
)

// openRunner opens the half of the server that runs executions. The dispatcher follows when the metrics exist.
func (a *App) openRunner(ctx context.Context) (err error) {
	c, r := a.config, &runner{}
	if r.engine, err = docker.New(c.Docker, a.store.Node(), a.store.Epoch(), a.log); err != nil {
		return err
	}
	a.onClose("engine", r.engine.Close)
	r.networks, err = networkcheck.New(networkcheck.Deps{
		Config:    c.Docker,
		Engine:    r.engine,
		Node:      a.store.Node(),
		Epoch:     a.store.Epoch(),
		Languages: a.catalogue.Languages,
		Log:       a.log,
	})
	if err != nil {
		return err
	}
	a.onClose("network check", r.networks.Close)
	r.health = enginecheck.New(enginecheck.Deps{
		Engine:    r.engine,
		Catalogue: a.catalogue,
		Limits:    c.Workspaces.Limits(),
		Strict:    c.Docker.Strict,
		Pull:      c.Docker.Pull,
		Log:       a.log,
	})
	if err := r.health.CheckAtStart(ctx); err != nil {
		return err
	}
	a.newOfferKeeper(r.health.MissingImages).Refresh(ctx)
	cpus, memory := a.measure(ctx, r)
	r.pool = pool.New(c.Pool.For(cpus, memory, r.slots+dispatch.ReserveFor(r.slots)), pool.Deps{
		Sandbox:   r.health.Watch(r.engine),
		Wants:     a.wants,
		HandedOut: func(language string, warm bool) { a.metrics.Taken(language, warm) },
		Log:       a.log,
	})
	a.runner = r
	return nil
}

// measure returns the CPUs and the memory of the engine in bytes, and sets the number of slots: the configured number,
// or the number that fits the engine and the largest offered language. An engine that is down counts as large as this
// machine.
func (a *App) measure(ctx context.Context, r *runner) (cpus int, memory int64) {
	cpus, memory, err := r.engine.Capacity(ctx)
	if err != nil {
		cpus, memory = runtime.NumCPU(), 0
	}
	switch {
	case a.config.Dispatch.Slots > 0:
		r.slots = a.config.Dispatch.Slots
	case err != nil:
		a.log.WithError(err).Warn("the engine does not tell its size; slots follow this machine's CPUs")
		r.slots = 2 * cpus
	default:
		need := int64(0)
		for _, l := range a.offer.Languages() {
			need = max(need, l.Most().Memory)
		}
		r.slots = dispatch.SlotsFor(cpus, memory, need)
	}
	return cpus, memory
}

// wants returns the warm containers to keep: some of every language.
func (a *App) wants() []pool.Want {
	var wants []pool.Want
	for _, l := range a.catalogue.Languages() {
		w := pool.Want{Spec: language.Waiting(l, a.config.Workspaces.Limits()), Size: l.Warm}
		if l.Warm == language.Auto {
			w.Size = pool.Auto
		}
		wants = append(wants, w)
	}
	return wants
}

func (a *App) proveStarts(ctx context.Context) error {
	return a.health.ProveStarts(ctx, a.pool.Try, func() bool {
		return slices.ContainsFunc(a.wants(), func(w pool.Want) bool { return w.Size > 0 })
	})
}

func (a *App) newDispatcher() *dispatch.Dispatcher {
	deps := dispatch.Deps{
		Store:      instrumented{a.store, a.metrics},
		Sandbox:    a.networks.Guard(a.pool),
		Languages:  a.catalogue,
		Unsealer:   a.keys,
		Blobs:      func(ctx context.Context) (dispatch.BlobWriter, error) { return a.store.NewBlob(ctx) },
		Workspaces: a.store,
		Limits:     a.config.Workspaces.Limits(),
		Payload:    a.payload,
		MaxRunning: func(subject string) int { return a.quotas.Of(subject).Running },
		Node:       a.store.Node(),
		Epoch:      a.store.Epoch(),
		Log:        a.log,
	}
	if a.config.Role == config.Runner {
		deps.Publisher = a.store
	}
	return dispatch.New(a.slots, deps)
}

// checks returns the checks of /readyz in a process that has the engine.
func (a *App) checks() []httpapi.Check {
	return []httpapi.Check{
		{Name: "docker", Run: a.health.CheckPing},
		{Name: "store", Run: a.store.Writable},
		{Name: "images", Run: a.health.CheckImages},
		{Name: "networks", Run: a.networks.Check},
		{Name: "engine", Run: a.health.CheckEngine},
	}
}

func (a *App) newReportWriter() report.Writer {
	return report.Writer{
		Store:         a.store,
		Checks:        a.checks(),
		Warnings:      a.health.Warnings,
		MissingImages: a.health.MissingImages,
		Log:           a.log,
	}
}
