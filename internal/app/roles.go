package app

import (
	"context"
	"strings"
	"time"

	"boomerang/internal/capture"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/gateway"
	"boomerang/internal/httpapi"
	"boomerang/internal/store"
)

// Two processes, one that listens and one that holds the engine's socket, share the store and nothing else. Here is what
// each tells the other through it.

// published reads what the runner's programs have printed so far.
type published struct{ records *store.Store }

// publishedTimeout is how long the record of what a program printed is waited for.
const publishedTimeout = 2 * time.Second

// Live implements gateway.Live.
func (p published) Live(id execution.ID, stream execution.Stream) ([]byte, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), publishedTimeout)
	defer cancel()
	kept, err := p.records.Published(ctx, id, stream, 0)
	return kept, err == nil
}

// publishedCeiling bounds what is kept of a stream in memory while it is followed. The runner publishes far less.
const publishedCeiling = 128 << 20

// Follow implements gateway.Live. What is published is read once, however many follow.
func (p published) Follow(id execution.ID) (read func(execution.Stream) (kept []byte, grown <-chan struct{}), release func()) {
	m := capture.NewMirror(context.Background(), func(ctx context.Context, stream execution.Stream, from int64) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, publishedTimeout)
		defer cancel()
		return p.records.Published(ctx, id, stream, from)
	}, publishedCeiling)
	return m.Bytes, m.Close
}

// reported are the checks of an API that knows the engine by what the runner says of it.
func reported(records *store.Store) []httpapi.Check {
	checks := []httpapi.Check{{Name: "store", Run: records.Writable}}
	for _, name := range []string{"docker", "images", "networks", "engine"} {
		checks = append(checks, httpapi.Check{Name: name, Run: func(ctx context.Context) error { return records.Reported(ctx, name) }})
	}
	return checks
}

// notesReport is the name of the runner's report of its warnings, one in a line.
const notesReport = "warnings"

// noted are the warnings that the runner reported. While it reports nothing there are none; the checks say why.
func noted(records *store.Store) func(context.Context) []string {
	return func(ctx context.Context) []string {
		text, err := records.LastReport(ctx, notesReport)
		if err != nil || text == "" {
			return nil
		}
		return strings.Split(text, "\n")
	}
}

const (
	reportEvery   = 5 * time.Second
	reportTimeout = 5 * time.Second // of one check
)

// report tells the API how the runner's checks go, until ctx ends.
func (a *App) report(ctx context.Context, records *store.Store, checks []httpapi.Check) error {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		for _, c := range checks {
			if err := reportOne(ctx, records, c); err != nil && ctx.Err() == nil {
				a.log.WithError(err).WithField("check", c.Name).Warn("keep report")
			}
		}
		if err := reportNotes(ctx, records, a.notes); err != nil && ctx.Err() == nil {
			a.log.WithError(err).WithField("check", notesReport).Warn("keep report")
		}
		if err := reportAbsent(ctx, records, a.stock); err != nil && ctx.Err() == nil {
			a.log.WithError(err).WithField("check", absentReport).Warn("keep report")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func reportOne(ctx context.Context, records *store.Store, c httpapi.Check) error {
	checked, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	sentence := ""
	if err := c.Run(checked); err != nil {
		sentence = fault.Of(err).Sentence
	}
	return records.Report(ctx, c.Name, sentence)
}

func reportNotes(ctx context.Context, records *store.Store, notes func(context.Context) []string) error {
	bounded, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	return records.Report(ctx, notesReport, strings.Join(notes(bounded), "\n"))
}

// reportAbsent says nothing while the engine does not.
func reportAbsent(ctx context.Context, records *store.Store, from missingImages) error {
	checked, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	absent, err := from.absent(checked)
	if err != nil {
		return nil // the check of the images says it
	}
	return records.Report(ctx, absentReport, strings.Join(absent, " "))
}

// workspaces is the store as the API knows it.
type workspaces struct{ *store.Store }

// NewBlob implements gateway.Workspaces.
func (w workspaces) NewBlob(ctx context.Context) (gateway.BlobWriter, error) {
	return w.Store.NewBlob(ctx)
}
