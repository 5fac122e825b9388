package enginecheck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/fault"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/docker"
)

// facts caches the warnings about the engine. An operator may replace the engine while the server runs, so the cache
// expires after factsMaxAge.
type facts struct {
	engine *docker.Docker
	strict bool
	log    *logrus.Entry

	mu       sync.Mutex // held while the engine is asked; guards the fields below
	asked    time.Time
	warnings []sandbox.Fact
}

const factsMaxAge = time.Minute

func (f *facts) checkAtStart(ctx context.Context) error {
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
		f.log.WithFields(logrus.Fields{"fact": w.Name, "value": w.Value, "advice": w.Advice}).
			Warn("the engine leaves something open")
	}
	if warnings := aboutEngine(f.warnings); f.strict && len(warnings) > 0 {
		first := warnings[0]
		return fmt.Errorf("docker.strict: %d warnings on the engine; the first: %s %s: %s",
			len(warnings), first.Name, first.Value, first.Advice)
	}
	return nil
}

// names returns the public names of the warnings, and the reason if the engine is not supported. Values and advice are
// not public; they are in the log and in the report of boomerang doctor.
func (f *facts) names(ctx context.Context) []string {
	var names []string
	for _, w := range f.fresh(ctx) {
		names = append(names, "engine: "+cmp.Or(w.Public, w.Name))
	}
	return names
}

// unsupported returns the reason why the engine is not supported; empty if it is, or if it does not answer.
func (f *facts) unsupported(ctx context.Context) string {
	for _, w := range f.fresh(ctx) {
		if w.Public != "" {
			return w.Public
		}
	}
	return ""
}

// check returns a fault if the engine has warnings and the operator is strict.
func (f *facts) check(ctx context.Context) error {
	if !f.strict {
		return nil
	}
	warnings := aboutEngine(f.fresh(ctx))
	if len(warnings) == 0 {
		return nil
	}
	names := make([]string, len(warnings))
	for i, w := range warnings {
		names[i] = w.Name
	}
	return fault.New(fault.ServiceUnavailable, "The engine has warnings (%s); boomerang doctor tells them.",
		strings.Join(names, ", "))
}

// aboutEngine returns the warnings that a change of the engine can mend: those that docker.strict refuses.
func aboutEngine(warnings []sandbox.Fact) []sandbox.Fact {
	return slices.DeleteFunc(slices.Clone(warnings), func(f sandbox.Fact) bool { return f.Own })
}

// fresh returns the warnings, at most factsMaxAge old, or the last known ones while the engine does not answer.
func (f *facts) fresh(ctx context.Context) []sandbox.Fact {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.asked) < factsMaxAge {
		return f.warnings
	}
	if facts, err := f.engine.Facts(ctx); err == nil {
		f.asked, f.warnings = time.Now(), sandbox.Warnings(facts)
	}
	return f.warnings
}
