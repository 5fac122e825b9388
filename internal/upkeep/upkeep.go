// Package upkeep is garbage collection: it removes old executions, unused blobs, idle workspaces and leftover
// containers.
//
// It does not know how executions are stored and how a container is made.
package upkeep

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alecthomas/units"
	"github.com/sirupsen/logrus"

	"boomerang/internal/sandbox"
)

// Config is the retention of executions.
type Config struct {
	// Keep is the retention of an ended execution and its output.
	Keep time.Duration `yaml:"keep"`
	// KeepDead is the retention of an execution whose callback is dead, if it is longer than Keep. The callback can be
	// sent again meanwhile.
	KeepDead time.Duration `yaml:"keep_dead"`
	// KeepSize bounds the size of the database; above it, executions are removed earlier, the oldest end first. 0 means
	// no bound.
	KeepSize units.Base2Bytes `yaml:"keep_size"`
	// Interval is the time between two rounds.
	Interval time.Duration `yaml:"interval"`
}

// Defaults is a retention of 30 days and 10 GiB.
func Defaults() Config {
	const month = 30 * 24 * time.Hour
	return Config{Keep: month, KeepDead: month, KeepSize: 10 * units.GiB, Interval: 10 * time.Minute}
}

// Validate returns an error that names the wrong key.
func (c Config) Validate() error {
	switch {
	case c.Keep < time.Minute:
		return fmt.Errorf("keep must be at least 1m, not %s", c.Keep)
	case c.KeepDead < time.Minute:
		return fmt.Errorf("keep_dead must be at least 1m, not %s", c.KeepDead)
	case c.KeepSize < 0 || c.KeepSize > 0 && c.KeepSize < units.MiB:
		return fmt.Errorf("keep_size must be 0 or at least 1MiB, not %s", c.KeepSize)
	case c.Interval < time.Second:
		return fmt.Errorf("interval must be at least 1s, not %s", c.Interval)
	}
	return nil
}

// Store removes stored data. Its methods may be called at the same time as all others of the store.
type Store interface {
	// Remove removes up to limit executions that ended before ended, the oldest end first. An execution with a dead
	// delivery is removed only if the delivery died before dead, one with a pending delivery never. Fewer than limit
	// removed executions mean that there are no more.
	Remove(ctx context.Context, ended, dead time.Time, limit int) (removed int, err error)
	// Sweep removes up to limit blobs that no execution or workspace uses and that were begun before made. Fewer than
	// limit removed blobs mean that there are no more.
	Sweep(ctx context.Context, made time.Time, limit int) (removed int, err error)
	// RemoveIdle removes up to limit workspaces that were last used before used. Fewer than limit removed workspaces
	// mean that there are no more.
	RemoveIdle(ctx context.Context, used time.Time, limit int) (removed int, err error)
	// Size returns the number of bytes in use.
	Size(ctx context.Context) (int64, error)
}

// Sandbox lists the containers of this node.
type Sandbox interface {
	Containers(ctx context.Context) ([]sandbox.Found, error)
}

// Holder knows which containers this process uses.
type Holder interface {
	Holds(f sandbox.Found) bool
}

// Deps are the collaborators and settings of an Upkeep. In a process with one role only, another process removes the
// rest: Store is nil in the runner, Sandbox and Holder are nil in the API.
type Deps struct {
	Store         Store
	WorkspaceIdle time.Duration // the retention of an unused workspace; 0 means for ever
	Sandbox       Sandbox
	Holder        Holder
	Log           *logrus.Entry
}

// Upkeep removes data and containers in rounds.
type Upkeep struct {
	Deps
	config Config
}

// New makes the upkeep of one node; c must be valid.
func New(c Config, deps Deps) *Upkeep { return &Upkeep{Deps: deps, config: c} }

// A batch is small and a pause follows it, so that other writers of the store never wait long.
const (
	batch = 50
	pause = 20 * time.Millisecond
)

// blobGrace is the age at which an unused blob is removed. A younger blob may belong to a result that is not written
// yet, because the engine or the store is failing.
const blobGrace = 24 * time.Hour

// Run makes rounds until ctx ends, and returns nil then. The first round follows after one interval, because a process
// that starts has other work to do.
func (u *Upkeep) Run(ctx context.Context) error {
	tick := time.NewTicker(u.config.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		tasks := make(map[string]func(context.Context) error)
		if u.Store != nil {
			tasks["remove old executions"] = u.removeExecutions
			tasks["remove idle workspaces"] = u.removeWorkspaces
		}
		if u.Sandbox != nil {
			tasks["sweep containers"] = u.removeContainers
		}
		for act, task := range tasks {
			if err := task(ctx); err != nil && ctx.Err() == nil {
				u.Log.WithError(err).Warn(act)
			}
		}
	}
}

// removeExecutions removes executions past their retention, then those with the oldest end while the database is larger
// than KeepSize.
func (u *Upkeep) removeExecutions(ctx context.Context) error {
	now := time.Now()
	dead := now.Add(-max(u.config.Keep, u.config.KeepDead))
	removed, err := repeat(ctx, func() (int, error) {
		return u.Store.Remove(ctx, now.Add(-u.config.Keep), dead, batch)
	})
	if err != nil {
		return err
	}
	if err := u.removeBlobs(ctx); err != nil {
		return err
	}
	forSize, err := repeat(ctx, func() (int, error) {
		size, err := u.Store.Size(ctx)
		if err != nil || u.config.KeepSize == 0 || size <= int64(u.config.KeepSize) {
			return 0, err
		}
		n, err := u.Store.Remove(ctx, now, dead, batch)
		return n, errors.Join(err, u.removeBlobs(ctx)) // the size shrinks only when the blobs are removed
	})
	if removed += forSize; removed > 0 {
		u.Log.WithFields(logrus.Fields{"removed": removed, "for_size": forSize}).Info("old executions removed")
	}
	return err
}

// removeBlobs removes unused blobs.
func (u *Upkeep) removeBlobs(ctx context.Context) error {
	_, err := repeat(ctx, func() (int, error) { return u.Store.Sweep(ctx, time.Now().Add(-blobGrace), batch) })
	return err
}

// removeWorkspaces removes idle workspaces.
func (u *Upkeep) removeWorkspaces(ctx context.Context) error {
	if u.WorkspaceIdle == 0 {
		return nil
	}
	removed, err := repeat(ctx, func() (int, error) {
		return u.Store.RemoveIdle(ctx, time.Now().Add(-u.WorkspaceIdle), batch)
	})
	if removed > 0 {
		u.Log.WithField("removed", removed).Info("idle workspaces removed")
	}
	return err
}

// repeat removes batches until one is not full.
func repeat(ctx context.Context, remove func() (int, error)) (removed int, err error) {
	for {
		n, err := remove()
		removed += n
		if err != nil || n < batch {
			return removed, err
		}
		select {
		case <-ctx.Done():
			return removed, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// removeContainers removes the containers of this node that the process does not use. The list is read first: a
// container in it that is not in use afterwards is a leftover, because it is in use from before it is made until it is
// removed.
func (u *Upkeep) removeContainers(ctx context.Context) error {
	containers, err := u.Sandbox.Containers(ctx)
	if err != nil {
		return err
	}
	for _, f := range containers {
		if u.Holder.Holds(f) {
			continue
		}
		log := u.Log.WithFields(logrus.Fields{"execution_id": f.Execution, "container": f.Container.ID()})
		if err := f.Container.Remove(ctx); err != nil {
			log.WithError(err).Warn("remove leftover container")
			continue
		}
		log.Warn("leftover container removed")
	}
	return nil
}
