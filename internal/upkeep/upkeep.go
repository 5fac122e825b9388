// Package upkeep is garbage collection: it removes old executions, unused blobs, idle workspaces and leftover
// containers.
//
// It does not know how executions are stored and how a container is made.
package upkeep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/alecthomas/units"
	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
	"boomerang/internal/sandbox"
)

// Config is the retention of executions.
type Config struct {
	// Keep is the retention of an ended execution and its output.
	Keep time.Duration `yaml:"keep"`
	// KeepDead is the retention of an execution whose callback is dead, if it is longer than Keep. The callback can be
	// sent again meanwhile.
	KeepDead time.Duration `yaml:"keep_dead"`
	// KeepSize bounds the size of all results; above it, those of the subjects that store the most are removed earlier,
	// the oldest end first. 0 means no bound.
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
	// Stored lists the subjects that store something, the largest results first.
	Stored(ctx context.Context) ([]execution.Stored, error)
	// Evict frees at least excess bytes of a subject's results, the oldest end first, if it has as many to remove. It
	// removes the executions that Remove would remove if they were old. It removes the output and the artifacts of the
	// others: their callbacks keep their records and bodies. It returns the bytes that it freed.
	Evict(ctx context.Context, subject string, excess int64, dead time.Time) (freed int64, err error)
	// Grown is signalled when a subject may store more than its quota.
	Grown() <-chan struct{}
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
	Quota         func(subject string) int64 // the bytes of results and workspaces of one subject; 0 is no limit
	WorkspaceIdle time.Duration              // the retention of an unused workspace; 0 means for ever
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

// evictPause follows a look at the stored sizes, because a signal may come with each refused submission.
const evictPause = 2 * time.Second

// Run makes rounds until ctx ends, and returns nil then. The first round follows after one interval, because a process
// that starts has other work to do.
func (u *Upkeep) Run(ctx context.Context) error {
	tick := time.NewTicker(u.config.Interval)
	defer tick.Stop()
	var grown <-chan struct{}
	if u.Store != nil {
		grown = u.Store.Grown()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-grown:
			if err := u.evict(ctx); err != nil && ctx.Err() == nil {
				u.Log.WithError(err).Warn("make room for results")
			}
			pauseUntil(ctx, evictPause)
			continue
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

// removeExecutions removes executions past their retention, then those of subjects that store too much.
func (u *Upkeep) removeExecutions(ctx context.Context) error {
	now := time.Now()
	dead := now.Add(-max(u.config.Keep, u.config.KeepDead))
	removed, err := repeat(ctx, func() (int, error) {
		return u.Store.Remove(ctx, now.Add(-u.config.Keep), dead, batch)
	})
	if err != nil {
		return err
	}
	if removed > 0 {
		u.Log.WithField("removed", removed).Info("old executions removed")
	}
	return errors.Join(u.removeBlobs(ctx), u.evict(ctx))
}

// evict frees room in the results of each subject that stores more than its quota. While all results are larger than
// KeepSize, it frees room in those of the subjects that store the most. So the use of one subject costs nothing to
// another subject that stores less than its equal share.
func (u *Upkeep) evict(ctx context.Context) error {
	all, err := u.Store.Stored(ctx)
	if err != nil {
		return err
	}
	var total int64
	for i, s := range all {
		excess := int64(0)
		if quota := u.Quota(s.Subject); quota > 0 && s.Results+s.Workspaces >= quota {
			excess = s.Results + s.Workspaces - quota + quota/headroom
		}
		all[i].Results -= min(excess, s.Results)
		total += all[i].Results
		if err := u.evictFrom(ctx, s.Subject, min(excess, s.Results)); err != nil {
			return err
		}
	}
	most := int64(u.config.KeepSize)
	if most == 0 || total < most {
		return nil
	}
	level := fill(all, most-most/headroom)
	for _, s := range all {
		if err := u.evictFrom(ctx, s.Subject, s.Results-level); err != nil {
			return err
		}
	}
	return nil
}

// headroom is the part of a bound that is freed beyond it, so that not each result needs an eviction.
const headroom = 16

// fill returns the largest size that each subject may store if all together store at most total.
func fill(all []execution.Stored, total int64) (level int64) {
	slices.SortFunc(all, func(a, b execution.Stored) int { return cmp.Compare(a.Results, b.Results) })
	for i, s := range all {
		level = total / int64(len(all)-i)
		if s.Results > level {
			return level
		}
		total -= s.Results
	}
	return level
}

// evictFrom frees excess bytes of a subject's results, if that is positive.
func (u *Upkeep) evictFrom(ctx context.Context, subject string, excess int64) error {
	if excess <= 0 {
		return nil
	}
	dead := time.Now().Add(-max(u.config.Keep, u.config.KeepDead))
	freed, err := u.Store.Evict(ctx, subject, excess, dead)
	if freed > 0 {
		u.Log.WithFields(logrus.Fields{"subject": subject, "bytes": freed, "excess": excess}).
			Info("results removed, because their subject stores too much")
	}
	return errors.Join(err, u.removeBlobs(ctx))
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
		if pauseUntil(ctx, pause); ctx.Err() != nil {
			return removed, context.Cause(ctx)
		}
	}
}

// pauseUntil waits for d or for the end of ctx.
func pauseUntil(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
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
