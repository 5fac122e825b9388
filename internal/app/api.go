package app

import (
	"context"
	"time"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/callback"
	"boomerang/internal/crash"
	"boomerang/internal/execution"
	"boomerang/internal/gateway"
	"boomerang/internal/hopx"
	"boomerang/internal/httpapi"
	"boomerang/internal/language"
	"boomerang/internal/report"
	"boomerang/internal/server"
	"boomerang/internal/store"
)

// openAPI opens the half of the server that accepts executions and sends callbacks, and binds its address.
func (a *App) openAPI(ctx context.Context) (err error) {
	c, h := a.config, &api{}
	if h.tokens, err = auth.New(c.Auth, c.DataDir); err != nil {
		return err
	}
	if err := h.tokens.ReadRevocations(ctx, a.store); err != nil {
		return err
	}
	policy, err := callback.NewPolicy(c.Callback)
	if err != nil {
		return err
	}
	if open := c.Callback.Unlimited(); len(open) > 0 {
		a.log.WithField("entries", open).Warn("exceptions without ports let callbacks go to every port there")
	}
	fetcher, err := callback.NewFetcher(c.Callback, c.Admission.Files.URLAllowCIDRs, a.version)
	if err != nil {
		return err
	}
	ledger := instrumented{a.store, a.metrics}
	h.deliverer = callback.NewDeliverer(c.Callback, callback.Deps{
		Store: ledger, Unsealer: a.keys, Policy: policy, Version: a.version, Log: a.log,
	})
	admitter := admission.New(c.Admission, admission.Deps{
		Quotas:     a.quotas,
		MaxStored:  int64(c.Upkeep.KeepSize),
		Workspaces: c.Workspaces,
		Languages:  offered{a.offer},
		Policy:     policy,
		Fetcher:    fetcher,
		Sealer:     a.keys,
		Store:      ledger,
		Now:        time.Now,
	})
	if err := admitter.Reseal(ctx); err != nil {
		a.log.WithError(err).Warn("not every environment is sealed with the key of today")
	}
	live, checks, warnings := a.engineView()
	executions := gateway.New(gateway.Deps{
		Quotas:    a.quotas,
		Admission: admitter,
		Records:   a.store,
		Artifacts: a.store,
		Live:      live,
		Cancel: func(ctx context.Context, id execution.ID) (execution.Execution, error) {
			defer crash.Point("after-cancel")
			return ledger.Cancel(ctx, id, time.Now(), a.payload.Cancelled)
		},
		Inline: int(c.Callback.InlineOutput),
		Log:    a.log,
	})
	files := gateway.NewFiles(workspaces{a.store}, c.Workspaces.Limits(), time.Now)
	handler := server.New(c.HTTP, server.Deps{
		Authenticator: h.tokens,
		Answered:      a.metrics.Answered,
		Log:           a.log,
		Now:           time.Now,
	}, httpapi.New(httpapi.Deps{
		Executions: executions,
		Files:      files,
		Admission:  admitter,
		Records:    a.store,
		Deliveries: a.store,
		Artifacts:  a.store,
		Languages:  a.offer,
		Workspaces: a.store,
		Try:        h.deliverer.Try,
		Checks:     append(checks, httpapi.Check{Name: "tokens", Run: h.tokens.Ready}),
		Notes:      warnings,
		Log:        a.log,
		Now:        time.Now,
	}), hopx.New(hopx.Deps{
		Executions:   executions,
		Files:        files,
		Records:      a.store,
		Environments: admitter,
		Issuer:       h.tokens,
		Workspaces:   a.store,
		Languages:    a.offer,
		Version:      a.version,
		Log:          a.log,
		Now:          time.Now,
	}))
	h.server = server.NewHTTP(c.HTTP, handler, a.log)
	if h.cert, err = server.OpenCertificate(c.HTTP); err != nil {
		return err
	}
	if h.listener, err = a.listen(ctx, "listener", c.HTTP.Addr); err != nil {
		return err
	}
	a.api = h
	return nil
}

// engineView returns the output of running programs, the checks and the warnings: from this process if it has the
// engine, otherwise from the reports of the runner.
func (a *App) engineView() (gateway.Live, []httpapi.Check, func(context.Context) []string) {
	if a.runner != nil {
		return a.dispatcher, a.checks(), a.health.Warnings
	}
	runner := report.Reader{Store: a.store}
	checks := []httpapi.Check{{Name: "store", Run: a.store.Writable}}
	return runner, append(checks, runner.Checks("docker", "images", "networks", "engine")...), runner.Warnings
}

// offered are the languages that a new execution can use: those in the offer. The catalogue also runs executions that
// were admitted earlier.
type offered struct{ *language.Offer }

// Find implements admission.Languages.
func (o offered) Find(name string) (language.Language, error) { return o.Offered(name) }

// workspaces adapts the store to gateway.Workspaces.
type workspaces struct{ *store.Store }

// NewBlob implements gateway.Workspaces.
func (w workspaces) NewBlob(ctx context.Context) (gateway.BlobWriter, error) {
	return w.Store.NewBlob(ctx)
}
