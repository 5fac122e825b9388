package app

import (
	"context"
	"time"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/callback"
	"boomerang/internal/crash"
	"boomerang/internal/execution"
	"boomerang/internal/httpapi"
	"boomerang/internal/language"
	"boomerang/internal/report"
	"boomerang/internal/store"
)

// openAPI opens the half of the server that accepts executions and sends callbacks, and binds its address.
func (a *App) openAPI(ctx context.Context) (err error) {
	c, h := a.config, &api{}
	if h.tokens, err = auth.New(c.Auth, c.DataDir); err != nil {
		return err
	}
	policy, err := callback.NewPolicy(c.Callback)
	if err != nil {
		return err
	}
	fetcher, err := callback.NewFetcher(c.Callback, c.Admission.Files.URLAllowCIDRs, a.version)
	if err != nil {
		return err
	}
	ledger := instrumented{a.store, a.metrics}
	h.deliverer = callback.NewDeliverer(c.Callback, ledger, a.keys, policy, a.version, a.log)
	admitter := admission.New(c.Admission, c.Workspaces, offered{a.offer}, policy, fetcher, a.keys, ledger, time.Now)
	if err := admitter.Reseal(ctx); err != nil {
		a.log.WithError(err).Warn("not every environment is sealed with the key of today")
	}
	live, checks, warnings := a.engineView()
	handler, err := httpapi.New(c.HTTP, httpapi.Deps{
		Admission:     admitter,
		Records:       a.store,
		Deliveries:    a.store,
		Artifacts:     a.store,
		Live:          live,
		Authenticator: h.tokens,
		Languages:     a.offer,
		Workspaces:    workspaces{a.store},
		Limits:        c.Workspaces.Limits(),
		Cancel: func(ctx context.Context, id execution.ID) (execution.Execution, error) {
			defer crash.Point("after-cancel")
			return ledger.Cancel(ctx, id, time.Now(), a.payload.Cancelled)
		},
		Try:      h.deliverer.Try,
		Checks:   append(checks, httpapi.Check{Name: "tokens", Run: h.tokens.Ready}),
		Inline:   int(c.Callback.InlineOutput),
		Version:  a.version,
		Notes:    warnings,
		Answered: a.metrics.Answered,
		Log:      a.log,
		Now:      time.Now,
	})
	if err != nil {
		return err
	}
	h.server = httpapi.Server(c.HTTP, handler, a.log)
	if h.cert, err = httpapi.OpenCertificate(c.HTTP); err != nil {
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
func (a *App) engineView() (httpapi.Live, []httpapi.Check, func(context.Context) []string) {
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

// workspaces adapts the store to httpapi.Workspaces.
type workspaces struct{ *store.Store }

// NewBlob implements httpapi.Workspaces.
func (w workspaces) NewBlob(ctx context.Context) (httpapi.BlobWriter, error) {
	return w.Store.NewBlob(ctx)
}
