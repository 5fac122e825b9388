// Package report carries the state of the runner to the API when the two roles run in separate processes: the results
// of the runner's checks, its warnings, the missing images, and the output of running programs. The two processes share
// only the store.
//
// It does not know the meaning of a check, SQL and Docker.
package report

import (
	"context"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/capture"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/httpapi"
)

// Store keeps reports by name. Its methods may be called at the same time.
type Store interface {
	// Report stores the text of a report and the time.
	Report(ctx context.Context, name, text string) error
	// LastReport returns the text of the last report. Errors: a fault SERVICE_UNAVAILABLE if the report is too old.
	LastReport(ctx context.Context, name string) (text string, err error)
	// Reported returns nil if the last report is recent and empty. Errors: a fault SERVICE_UNAVAILABLE with the text of
	// the report, or that of LastReport.
	Reported(ctx context.Context, name string) error
	// Published returns the published bytes of a stream, from an offset on.
	Published(ctx context.Context, id execution.ID, stream execution.Stream, from int64) ([]byte, error)
}

// Names of the reports that are not checks. Another version of boomerang may read the reports, so the names stay.
const (
	warningsReport = "warnings" // one warning per line
	missingReport  = "absent"   // names of languages, separated by spaces
)

const (
	interval = 5 * time.Second
	timeout  = 5 * time.Second // of one check
)

// Writer reports the state of the runner.
type Writer struct {
	Store    Store
	Checks   []httpapi.Check
	Warnings func(context.Context) []string
	// MissingImages returns the names of the languages without an image.
	MissingImages func(context.Context) ([]string, error)
	Log           *logrus.Entry
}

// Run writes all reports again and again until ctx ends. It returns nil.
func (w Writer) Run(ctx context.Context) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		for _, c := range w.Checks {
			w.write(ctx, c.Name, func(ctx context.Context) (string, bool) { return sentence(c.Run(ctx)), true })
		}
		w.write(ctx, warningsReport, func(ctx context.Context) (string, bool) {
			return strings.Join(w.Warnings(ctx), "\n"), true
		})
		w.write(ctx, missingReport, func(ctx context.Context) (string, bool) {
			missing, err := w.MissingImages(ctx)
			return strings.Join(missing, " "), err == nil // the check of the images reports the error
		})
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// write stores one report, unless its text cannot be found out within the timeout.
func (w Writer) write(ctx context.Context, name string, find func(context.Context) (text string, ok bool)) {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	text, ok := find(bounded)
	if !ok {
		return
	}
	if err := w.Store.Report(ctx, name, text); err != nil && ctx.Err() == nil {
		w.Log.WithError(err).WithField("check", name).Warn("keep report")
	}
}

// sentence returns the public sentence of an error; empty for nil.
func sentence(err error) string {
	if err == nil {
		return ""
	}
	return fault.Of(err).Sentence
}

// Reader reads the state of the runner for the API.
type Reader struct{ Store Store }

// Checks returns checks that fail if those of the runner with the same names fail.
func (r Reader) Checks(names ...string) []httpapi.Check {
	var checks []httpapi.Check
	for _, name := range names {
		checks = append(checks, httpapi.Check{
			Name: name, Run: func(ctx context.Context) error { return r.Store.Reported(ctx, name) },
		})
	}
	return checks
}

// Warnings returns the warnings of the runner. While the runner reports nothing there are none; the checks fail then.
func (r Reader) Warnings(ctx context.Context) []string {
	text, err := r.Store.LastReport(ctx, warningsReport)
	if err != nil || text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// MissingImages returns the names of the languages without an image. Errors: those of Store.LastReport.
func (r Reader) MissingImages(ctx context.Context) ([]string, error) {
	text, err := r.Store.LastReport(ctx, missingReport)
	return strings.Fields(text), err
}

// publishedTimeout bounds one read of published output.
const publishedTimeout = 2 * time.Second

// Live implements gateway.Live.
func (r Reader) Live(id execution.ID, stream execution.Stream) ([]byte, bool) {
	kept, err := r.published(context.Background(), id, stream, 0)
	return kept, err == nil
}

// publishedCeiling bounds the bytes of one stream in memory while clients follow it. The runner publishes far less.
const publishedCeiling = 128 << 20

// Follow implements gateway.Live. It reads published output once for all followers of a stream.
func (r Reader) Follow(id execution.ID) (
	read func(execution.Stream) (kept []byte, grown <-chan struct{}), release func(),
) {
	source := func(ctx context.Context, stream execution.Stream, from int64) ([]byte, error) {
		return r.published(ctx, id, stream, from)
	}
	m := capture.NewMirror(context.Background(), source, publishedCeiling)
	return m.Bytes, m.Close
}

func (r Reader) published(
	ctx context.Context, id execution.ID, stream execution.Stream, from int64,
) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, publishedTimeout)
	defer cancel()
	return r.Store.Published(ctx, id, stream, from)
}
