package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/fault"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/docker"
)

// engineFacts remembers what the engine said of itself: an engine can be exchanged while the server runs.
type engineFacts struct {
	engine *docker.Docker
	strict bool
	log    *logrus.Entry

	mu       sync.Mutex // held while the engine is asked; guards all below
	asked    time.Time
	warnings []sandbox.Fact
}

const factsFresh = time.Minute

// atStart logs the facts. A setting that does not fit the engine is an error. Where the operator is strict, an engine with warnings is an error, and so is one that does
// not answer: nobody knows what it is.
func (f *engineFacts) atStart(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	facts, err := f.engine.Facts(ctx)
	if err != nil {
		switch {
		case errors.Is(err, docker.ErrUnfit):
			return err
		case f.strict:
			return fmt.Errorf("docker.strict: %w", err)
		}
		f.log.WithError(err).Warn("the engine does not tell what it is")
		return nil
	}
	f.asked, f.warnings = time.Now(), sandbox.Warnings(facts)
	values := logrus.Fields{}
	for _, fact := range facts {
		values[strings.ReplaceAll(strings.ReplaceAll(fact.Name, "'s", ""), " ", "_")] = fact.Value
	}
	f.log.WithFields(values).Info("what the engine is")
	for _, w := range f.warnings {
		f.log.WithFields(logrus.Fields{"fact": w.Name, "value": w.Value, "advice": w.Advice}).Warn("the engine leaves something open")
	}
	if f.strict && len(f.warnings) > 0 {
		first := f.warnings[0]
		return fmt.Errorf("docker.strict: %d warnings on the engine; the first: %s %s: %s", len(f.warnings), first.Name, first.Value, first.Advice)
	}
	return nil
}

// notes are, for anybody to read, the names of the facts that the operator should look at, and the reason why an engine is not
// supported. The rest is in the log and in the doctor's report.
func (f *engineFacts) notes(ctx context.Context) []string {
	var names []string
	for _, w := range f.fresh(ctx) {
		names = append(names, "engine: "+cmp.Or(w.Public, w.Name))
	}
	return names
}

// unsupported returns the reason why the engine is not supported; empty if it is, or if it does not tell.
func (f *engineFacts) unsupported(ctx context.Context) string {
	for _, w := range f.fresh(ctx) {
		if w.Public != "" {
			return w.Public
		}
	}
	return ""
}

// check fails for warnings where the operator is strict: an engine can be exchanged while the server runs.
func (f *engineFacts) check(ctx context.Context) error {
	if !f.strict {
		return nil
	}
	warnings := f.fresh(ctx)
	if len(warnings) == 0 {
		return nil
	}
	names := make([]string, len(warnings))
	for i, w := range warnings {
		names[i] = w.Name
	}
	return fault.New(fault.ServiceUnavailable, "The engine has warnings (%s); boomerang doctor tells them.", strings.Join(names, ", "))
}

// fresh are the warnings, a minute old at most. While the engine does not answer they are those of before: that it does
// not is for another check to say.
func (f *engineFacts) fresh(ctx context.Context) []sandbox.Fact {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.asked) < factsFresh {
		return f.warnings
	}
	if facts, err := f.engine.Facts(ctx); err == nil {
		f.asked, f.warnings = time.Now(), sandbox.Warnings(facts)
	}
	return f.warnings
}
