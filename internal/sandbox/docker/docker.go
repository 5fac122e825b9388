// Package docker implements the sandbox on a Docker engine (API 1.41 and later: Engine 20.10). It makes, follows and
// destroys one hardened container per job.
//
// Only this package imports Docker's client. It does not know executions, languages or HTTP. Error texts of the engine
// stay in wrapped causes, for the log, because they hold paths of the host.
package docker

import (
	"context"
	"fmt"

	"github.com/docker/docker/client"
	"github.com/sirupsen/logrus"

	"boomerang/internal/sandbox"
)

// Docker makes containers on one engine for one node. It implements sandbox.Sandbox.
type Docker struct {
	config        Config
	carried       []string // names of programs that are copied into the volume beside the init
	node          string
	epoch         int64
	seccomp       string
	gvisorSeccomp string // the seccomp profile for gVisor's kernel, the Sentry
	client        *client.Client
	images        *images
	init          *initVolume
	accounts      accounts
	info          engineInfoCache
	timings       followTimings
	log           *logrus.Entry
}

var _ sandbox.Sandbox = (*Docker)(nil)

// New returns the sandbox of a node in its present epoch. The engine need not run yet. The carried programs are files
// beside the init's binary and named like it; they appear at Carried(name) in every container of this sandbox and of no
// other. Errors: an unreadable seccomp profile, an invalid address of the engine.
func New(c Config, node string, epoch int64, log *logrus.Entry, carried ...string) (*Docker, error) {
	seccomp, err := c.profile()
	if err != nil {
		return nil, err
	}
	sentrys, err := gvisorProfile(seccomp)
	if err != nil {
		return nil, err
	}
	options := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if c.Host != "" {
		options = append(options, client.WithHost(c.Host))
	}
	engine, err := client.NewClientWithOpts(options...)
	if err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	return &Docker{
		config: c, carried: carried, node: node, epoch: epoch, seccomp: seccomp, gvisorSeccomp: sentrys, client: engine,
		images: newImages(), init: newInitVolume(), accounts: accounts{known: map[accountKey]accountFiles{}},
		timings: defaultTimings(), log: log,
	}, nil
}

// Carried returns the path of a carried program inside the containers.
func Carried(name string) string { return initDir + "/" + name }

// Close closes the connections to the engine. Containers continue to run.
func (d *Docker) Close() error {
	if err := d.client.Close(); err != nil {
		return fmt.Errorf("close docker client: %w", err)
	}
	return nil
}

// Ping checks that the engine answers. Errors: sandbox.ErrUnavailable.
func (d *Docker) Ping(ctx context.Context) error {
	_, err := callEngine(ctx, d, "ping engine", d.client.Ping)
	return err
}

// Capacity returns the number of CPUs and the bytes of memory of the engine's machine. Errors: sandbox.ErrUnavailable.
func (d *Docker) Capacity(ctx context.Context) (cpus int, memory int64, err error) {
	info, err := callEngine(ctx, d, "ask engine for its size", d.client.Info)
	return info.NCPU, info.MemTotal, err
}

// callEngine makes one call to the engine, bounded by the call timeout, and classifies its error.
func callEngine[T any](ctx context.Context, d *Docker, act string, call func(context.Context) (T, error)) (T, error) {
	bounded, cancel := context.WithTimeout(ctx, d.config.CallTimeout)
	defer cancel()
	answer, err := call(bounded)
	return answer, d.wrap(ctx, act, err)
}

// do is callEngine for calls without an answer.
func do(ctx context.Context, d *Docker, act string, call func(context.Context) error) error {
	_, err := callEngine(ctx, d, act, func(ctx context.Context) (struct{}, error) { return struct{}{}, call(ctx) })
	return err
}
