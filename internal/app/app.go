// Package app wires the packages into one server, and starts and stops the parts of the server in order.
//
// It knows the constructor of every package and none of their rules.
package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"

	"boomerang/internal/auth"
	"boomerang/internal/callback"
	"boomerang/internal/config"
	"boomerang/internal/dispatch"
	"boomerang/internal/enginecheck"
	"boomerang/internal/execution"
	"boomerang/internal/language"
	"boomerang/internal/metrics"
	"boomerang/internal/networkcheck"
	"boomerang/internal/pool"
	"boomerang/internal/quota"
	"boomerang/internal/report"
	"boomerang/internal/sandbox/docker"
	"boomerang/internal/seal"
	"boomerang/internal/server"
	"boomerang/internal/store"
	"boomerang/internal/upkeep"
)

// App is one server, ready to run.
type App struct {
	config  config.Config
	version string
	log     *logrus.Entry

	store     *store.Store
	keys      *seal.Keyring
	quotas    *quota.Quotas
	catalogue *language.Catalogue
	offer     *language.Offer // the languages of the catalogue that new executions can use
	payload   dispatch.Payload
	metrics   *metrics.Metrics

	*runner // nil in the API role
	*api    // nil in the runner role

	parts   []part   // in start order
	closers []closer // in the order of opening
}

// runner is the half of the server that runs executions.
type runner struct {
	engine     *docker.Docker
	health     *enginecheck.Checker
	networks   *networkcheck.Checker
	pool       *pool.Pool
	slots      int
	dispatcher *dispatch.Dispatcher
}

// api is the half of the server that accepts executions and sends callbacks.
type api struct {
	tokens    *auth.Auth
	deliverer *callback.Deliverer
	server    *http.Server
	cert      *server.Certificate
	listener  net.Listener
}

// storeParts is the part of the store's work that each role does.
var storeParts = map[config.Role]store.Part{
	config.Everything: store.Whole, config.API: store.Front, config.Runner: store.Back,
}

// New opens everything that the server needs and binds its addresses; port 0 binds a free port. The engine need not be
// up. On an error nothing stays open.
func New(ctx context.Context, c config.Config, version string, log *logrus.Entry) (_ *App, err error) {
	a := &App{config: c, version: version, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	if err := a.openShared(ctx); err != nil {
		return nil, err
	}
	if c.Role != config.API {
		if err := a.openRunner(ctx); err != nil {
			return nil, err
		}
	}
	metricsPart, err := a.openMetrics(ctx)
	if err != nil {
		return nil, err
	}
	if c.Role != config.API {
		a.dispatcher = a.newDispatcher()
	}
	if c.Role != config.Runner {
		if err := a.openAPI(ctx); err != nil {
			return nil, err
		}
	}
	a.parts = a.partsOf(c.Role, metricsPart)
	return a, nil
}

// partsOf lists the parts of a role in start order. Run stops them in the reverse order: first the requests, then the
// executions (their containers keep running), then the callbacks.
func (a *App) partsOf(role config.Role, metricsPart part) []part {
	switch role {
	case config.Runner:
		return []part{
			{"networks", a.networks.Run},
			metricsPart,
			{"pool", a.pool.Run},
			{"starts", a.proveStarts},
			{"dispatcher", a.dispatcher.Run},
			{"upkeep", a.newUpkeep(upkeep.Deps{Sandbox: a.engine, Holder: a.pool}).Run},
			{"reports", a.newReportWriter().Run},
		}
	case config.API:
		return []part{
			metricsPart,
			{"deliverer", a.deliverer.Run},
			{"offer", a.newOfferKeeper(report.Reader{Store: a.store}.MissingImages).Run},
			{"upkeep", a.newUpkeep(upkeep.Deps{Store: a.store}).Run},
			{"tokens", a.runTokens},
			{"revocations", a.followRevocations},
			{"http", a.serveAPI},
		}
	case config.Everything:
		return []part{
			{"networks", a.networks.Run},
			metricsPart,
			{"deliverer", a.deliverer.Run},
			{"offer", a.newOfferKeeper(a.health.MissingImages).Run},
			{"pool", a.pool.Run},
			{"starts", a.proveStarts},
			{"dispatcher", a.dispatcher.Run},
			{"upkeep", a.newUpkeep(upkeep.Deps{Store: a.store, Sandbox: a.engine, Holder: a.pool}).Run},
			{"tokens", a.runTokens},
			{"revocations", a.followRevocations},
			{"http", a.serveAPI},
		}
	}
	return nil
}

// openShared opens the store, the keys, the quotas and the catalogue, which both halves of the server use.
func (a *App) openShared(ctx context.Context) (err error) {
	c := a.config
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if a.store, err = store.OpenPart(ctx, c.DataDir, storeParts[c.Role], c.Store, a.log); err != nil {
		return err
	}
	a.onClose("store", a.store.Close)
	if a.keys, err = seal.Open(filepath.Join(c.DataDir, "seal.key")); err != nil {
		return err
	}
	if a.quotas, err = quota.New(c.Quota); err != nil {
		return err
	}
	if a.catalogue, err = language.Open(c.Languages); err != nil {
		return err
	}
	a.offer = a.catalogue.Offer()
	a.payload = dispatch.Payload{
		Body: func(e execution.Execution, r execution.Result) []byte {
			return callback.Body(e, r, int(c.Callback.InlineOutput))
		},
		Summary: callback.Summary,
	}
	return nil
}

// openMetrics makes the counters and binds the address of the metrics. Without an address the part does nothing.
func (a *App) openMetrics(ctx context.Context) (part, error) {
	facts := metrics.Facts{Version: a.version, Tally: a.store.Tally}
	if a.runner != nil {
		facts.Slots, facts.Waiting = a.slots, a.pool.Waiting
	}
	a.metrics = metrics.New(facts)
	if a.config.Metrics.Addr == "" {
		return part{"metrics", func(ctx context.Context) error { <-ctx.Done(); return nil }}, nil
	}
	l, err := a.listen(ctx, "metrics listener", a.config.Metrics.Addr)
	if err != nil {
		return part{}, fmt.Errorf("metrics: %w", err)
	}
	a.log.WithField("addr", l.Addr().String()).Info("metrics are served")
	return part{"metrics", func(ctx context.Context) error { return a.serveMetrics(ctx, l) }}, nil
}

func (a *App) newOfferKeeper(missing func(context.Context) ([]string, error)) enginecheck.OfferKeeper {
	return enginecheck.OfferKeeper{Offer: a.offer, MissingImages: missing, Log: a.log}
}

func (a *App) newUpkeep(deps upkeep.Deps) *upkeep.Upkeep {
	deps.WorkspaceIdle, deps.Log = a.config.Workspaces.Keep, a.log
	deps.Quota = func(subject string) int64 { return int64(a.quotas.Of(subject).StoredSize) }
	return upkeep.New(a.config.Upkeep, deps)
}

// Addr returns the address that the API listens on; empty in the runner role.
func (a *App) Addr() string {
	if a.api == nil {
		return ""
	}
	return a.listener.Addr().String()
}

// Reload takes the API keys and the quotas from c, and reads the catalogue of languages, the files of token keys and
// the TLS certificate again. If a file cannot be read, its old content stays in use. Reload also replaces all warm
// containers, so that new images come into use.
func (a *App) Reload(c config.Config) error {
	err := errors.Join(a.catalogue.Reload(), a.quotas.Reload(c.Quota))
	if a.runner != nil {
		a.engine.LookAnew()
		a.pool.Renew()
	}
	if a.api != nil {
		err = errors.Join(err, a.tokens.Reload(c.Auth), a.cert.Reload())
	}
	return err
}
