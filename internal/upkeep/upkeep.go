// Package upkeep keeps the house from filling up: it removes what has been kept long enough, and containers that nobody
// holds.
//
// It refuses to know how executions are stored and what a container is made of.
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

// Config says how long things are kept.
type Config struct {
	// Keep is how long an ended execution stays, with its output.
	Keep time.Duration `yaml:"keep"`
	// KeepDead is how long one stays whose callback was given up, if that is longer: it can be sent again meanwhile.
	KeepDead time.Duration `yaml:"keep_dead"`
	// KeepSize is how much the database may hold; above it the longest ended executions go earlier. 0 = no bound.
	KeepSize units.Base2Bytes `yaml:"keep_size"`
	// Interval is the time between two rounds.
	Interval time.Duration `yaml:"interval"`
}

// Defaults keeps everything for 30 days, as far as 10 GiB reach.
func Defaults() Config {
	return Config{Keep: 30 * 24 * time.Hour, KeepDead: 30 * 24 * time.Hour, KeepSize: 10 * units.GiB, Interval: 10 * time.Minute}
}

// Validate names the key that is wrong.
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

// Store is what is kept. Its methods may be called beside all others.
type Store interface {
	// Remove forgets up to limit executions that ended before ended, the longest ended first, but of those with a dead
	// delivery only what was given up before dead, and none with a pending one. Fewer than limit: there are no more.
	Remove(ctx context.Context, ended, dead time.Time, limit int) (removed int, err error)
	// Sweep removes up to limit blobs that nobody holds and that were begun before made. Fewer than limit: there are no more.
	Sweep(ctx context.Context, made time.Time, limit int) (removed int, err error)
	// RemoveIdle forgets up to limit workspaces that nobody has used since used. Fewer than limit: there are no more.
	RemoveIdle(ctx context.Context, used time.Time, limit int) (removed int, err error)
	// Size is how many bytes are in use.
	Size(ctx context.Context) (int64, error)
}

// Sandbox finds containers.
type Sandbox interface {
	Containers(ctx context.Context) ([]sandbox.Found, error)
}

// Holder knows which containers are somebody's in this process.
type Holder interface {
	Holds(f sandbox.Found) bool
}

// Upkeep makes a round now and then.
type Upkeep struct {
	config  Config
	idle    time.Duration
	store   Store
	sandbox Sandbox
	holder  Holder
	log     *logrus.Entry
}

// New makes the upkeep of one node; c must be valid. Idle is how long a workspace stays that nobody uses, 0 = for ever. Without a store nothing is removed from it, without a sandbox no
// containers are: another process does it.
func New(c Config, idle time.Duration, store Store, box Sandbox, holder Holder, log *logrus.Entry) *Upkeep {
	return &Upkeep{config: c, idle: idle, store: store, sandbox: box, holder: holder, log: log}
}

// A batch is small, and there is a pause behind it, so that those who write never wait long for their turn.
const (
	batch = 50
	pause = 20 * time.Millisecond
)

// unheld is how long a blob may be nobody's: from its beginning until whoever writes it has said whose it is. An engine or a
// store that is out of order may stand between the two.
const unheld = 24 * time.Hour

// Run makes rounds until ctx ends, and returns nil then. The first one comes after an interval: a start has enough to do.
func (u *Upkeep) Run(ctx context.Context) error {
	tick := time.NewTicker(u.config.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		rounds := make(map[string]func(context.Context) error)
		if u.store != nil {
			rounds["remove old executions"] = u.retain
			rounds["remove idle workspaces"] = u.removeIdle
		}
		if u.sandbox != nil {
			rounds["sweep containers"] = u.sweep
		}
		for act, round := range rounds {
			if err := round(ctx); err != nil && ctx.Err() == nil {
				u.log.WithError(err).Warn(act)
			}
		}
	}
}

// retain removes what is too old, and then the longest ended as long as there is too much.
func (u *Upkeep) retain(ctx context.Context) error {
	now := time.Now()
	dead := now.Add(-max(u.config.Keep, u.config.KeepDead))
	removed, err := u.remove(ctx, func() (int, error) { return u.store.Remove(ctx, now.Add(-u.config.Keep), dead, batch) })
	if err != nil {
		return err
	}
	if err := u.sweepBlobs(ctx); err != nil {
		return err
	}
	crowded, err := u.remove(ctx, func() (int, error) {
		size, err := u.store.Size(ctx)
		if err != nil || u.config.KeepSize == 0 || size <= int64(u.config.KeepSize) {
			return 0, err
		}
		n, err := u.store.Remove(ctx, now, dead, batch)
		return n, errors.Join(err, u.sweepBlobs(ctx)) // or the size would tell nothing
	})
	if removed += crowded; removed > 0 {
		u.log.WithFields(logrus.Fields{"removed": removed, "for_size": crowded}).Info("old executions removed")
	}
	return err
}

// sweepBlobs removes what belongs to nobody any more, or never did.
func (u *Upkeep) sweepBlobs(ctx context.Context) error {
	_, err := u.remove(ctx, func() (int, error) { return u.store.Sweep(ctx, time.Now().Add(-unheld), batch) })
	return err
}

// removeIdle removes the workspaces that nobody has used for long.
func (u *Upkeep) removeIdle(ctx context.Context) error {
	if u.idle == 0 {
		return nil
	}
	removed, err := u.remove(ctx, func() (int, error) { return u.store.RemoveIdle(ctx, time.Now().Add(-u.idle), batch) })
	if removed > 0 {
		u.log.WithField("removed", removed).Info("idle workspaces removed")
	}
	return err
}

// remove repeats one batch until there is nothing more to remove.
func (u *Upkeep) remove(ctx context.Context, one func() (int, error)) (removed int, err error) {
	for {
		n, err := one()
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

// sweep removes the containers of this node that nobody holds. One is held from before it is made until it is removed, so a
// container that was there and is not held afterwards is nobody's.
func (u *Upkeep) sweep(ctx context.Context) error {
	containers, err := u.sandbox.Containers(ctx)
	if err != nil {
		return err
	}
	for _, f := range containers {
		if u.holder.Holds(f) {
			continue
		}
		log := u.log.WithFields(logrus.Fields{"execution_id": f.Execution, "container": f.Container.ID()})
		if err := f.Container.Remove(ctx); err != nil {
			log.WithError(err).Warn("remove leftover container")
			continue
		}
		log.Warn("leftover container removed")
	}
	return nil
}
