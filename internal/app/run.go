package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
)

// part is a component that runs until its context ends.
type part struct {
	name string
	run  func(context.Context) error
}

// closer releases a resource.
type closer struct {
	name  string
	close func() error
}

func (a *App) onClose(name string, f func() error) { a.closers = append(a.closers, closer{name, f}) }

// close calls the closers, the last opened first.
func (a *App) close() error {
	var errs []error
	for _, c := range slices.Backward(a.closers) {
		if err := c.close(); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", c.name, err))
		}
	}
	a.closers = nil
	return errors.Join(errs...)
}

// Run serves until ctx ends or a part fails, then stops the parts one after another, the last started first.
func (a *App) Run(ctx context.Context) error {
	type running struct {
		part
		stop context.CancelFunc
		done chan error
	}
	ended := make(chan struct{}, len(a.parts))
	started := make([]running, 0, len(a.parts))
	for _, p := range a.parts {
		partCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
		r := running{part: p, stop: stop, done: make(chan error, 1)}
		started = append(started, r)
		go func() {
			r.done <- r.run(partCtx)
			ended <- struct{}{}
		}()
	}
	a.log.WithFields(logrus.Fields{"role": a.config.Role, "addr": a.Addr()}).Info("boomerang serves")
	select {
	case <-ctx.Done():
	case <-ended:
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

func (a *App) listen(ctx context.Context, name, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	a.onClose(name, func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) { // the HTTP server has closed it, if it was served
			return err
		}
		return nil
	})
	return l, nil
}

func (a *App) runTokens(ctx context.Context) error { return a.tokens.Run(ctx, a.log) }

func (a *App) followRevocations(ctx context.Context) error {
	return a.tokens.FollowRevocations(ctx, a.store, a.log)
}

func (a *App) serveAPI(ctx context.Context) error {
	return a.serve(ctx, a.server, func() error { return a.cert.Serve(a.server, a.listener) })
}

func (a *App) serveMetrics(ctx context.Context, l net.Listener) error {
	server := a.metrics.Server()
	server.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	return a.serve(ctx, server, func() error { return server.Serve(l) })
}

// shutdownTimeout bounds how long requests may continue when the server stops.
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
	if unhook() { // the server ended before ctx
		return err
	}
	if err := <-stopped; err != nil {
		a.log.WithError(err).Warn("requests were cut off")
		return server.Close()
	}
	return nil
}
