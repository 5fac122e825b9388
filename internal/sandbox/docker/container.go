package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
)

// handle is one container. It implements sandbox.Container.
type handle struct {
	*Docker
	id string
	// The streams of the init; nil if Containers returned the handle.
	streams     *attachment
	resources   func(sandbox.Limits) container.Resources // nil if streams is nil
	proven      atomic.Bool                              // the journal holds both ends
	streamsRead atomic.Bool                              // a follower has read the streams, which cannot be read twice
}

var _ sandbox.Container = (*handle)(nil)

// Prepare implements sandbox.Sandbox. The remembered facts about the image and the init's volume may be out of date. So
// Prepare tries a refused container once more with both checked again.
func (d *Docker) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	if !knownNetwork(spec.Network) {
		return nil, fmt.Errorf("%w: unknown network %q", sandbox.ErrRefused, spec.Network)
	}
	b, err := d.prepare(ctx, spec, false)
	if errors.Is(err, sandbox.ErrRefused) && ctx.Err() == nil || errors.Is(err, errNotStarted) {
		d.log.WithError(err).WithField("image", spec.Image).Warn(
			"the engine refused a container; check the image and the init again")
		b, err = d.prepare(ctx, spec, true)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// errNotStarted marks a container that the engine created and did not start. The contents of the volume may be the
// cause, whatever the kind of the error.
var errNotStarted = errors.New("not started")

func (d *Docker) prepare(ctx context.Context, spec sandbox.Spec, refresh bool) (_ *handle, err error) {
	engine, err := d.engineInfo(ctx, refresh)
	if err != nil {
		return nil, err
	}
	image, err := d.image(ctx, spec, refresh)
	if err != nil {
		return nil, err
	}
	volume, err := d.initVolume(ctx, image, refresh)
	if err != nil {
		return nil, err
	}
	lists, err := d.accountFiles(ctx, image, volume, uid(spec, hostFacts{config: d.config, engine: engine}), refresh)
	if err != nil {
		return nil, err
	}
	name := containerName(spec)
	defer func() {
		if err != nil { // by name, because the id may not have arrived
			err = errors.Join(err, d.removeFailed(ctx, name))
		}
	}()
	seccomp := d.seccomp
	if runsOnGVisor(spec, engine) {
		seccomp = d.gvisorSeccomp
	}
	p := hostFacts{
		config: d.config, seccomp: seccomp, node: d.node, epoch: d.epoch, image: image, volume: volume,
		accounts: lists, engine: engine,
	}
	id, err := d.create(ctx, name, spec, p)
	if err != nil {
		return nil, err
	}
	b := &handle{Docker: d, id: id, resources: func(l sandbox.Limits) container.Resources {
		spec.Limits = l
		return resourceLimits(spec, p)
	}}
	if b.streams, err = d.attach(ctx, id); err != nil {
		return nil, err
	}
	if err := d.start(ctx, id); err != nil {
		b.streams.close()
		return nil, err
	}
	return b, nil
}

// removeFailed removes the remains of a failed preparation. It retries until ctx ends while the engine does not answer:
// a forgotten container would take resources from the next ones on an overloaded engine.
func (d *Docker) removeFailed(ctx context.Context, name string) error {
	for {
		err := d.remove(context.WithoutCancel(ctx), name)
		if !errors.Is(err, sandbox.ErrUnavailable) || pause(ctx, undoPause) != nil {
			return err
		}
		d.log.WithError(err).WithField("container", name).Warn("remove the container of a failed preparation")
	}
}

const undoPause = time.Second

// containerName returns a name for people, and for removing a container whose id never arrived. The name is new each
// time, so that the remains of an earlier attempt do not collide with it. On a network, the engine's name server tells
// the name to any neighbour that looks up the address, so there the name leaves out the execution.
func containerName(s sandbox.Spec) string {
	suffix := strings.ToLower(rand.Text()[:8])
	if s.Execution == "" || networked(s.Network) {
		return "boomerang-warm-" + suffix
	}
	return "boomerang-" + s.Execution + "-" + suffix
}

// create waits for the engine's answer even when ctx ends: the engine continues the create, and the new container's id
// is needed to remove it.
func (d *Docker) create(ctx context.Context, name string, spec sandbox.Spec, p hostFacts) (id string, err error) {
	if err := ctx.Err(); err != nil {
		return "", d.wrap(ctx, "create container", err)
	}
	created, err := callEngine(context.WithoutCancel(ctx), d, "create container",
		func(ctx context.Context) (container.CreateResponse, error) {
			return d.client.ContainerCreate(ctx, containerConfig(spec, p), hostConfig(spec, p), nil, nil, name)
		})
	return created.ID, err
}

func (d *Docker) start(ctx context.Context, id string) error {
	err := do(ctx, d, "start container", func(ctx context.Context) error {
		return d.client.ContainerStart(ctx, id, container.StartOptions{})
	})
	if err != nil && ctx.Err() == nil && !errors.Is(err, sandbox.ErrUnavailable) {
		return fmt.Errorf("%w: %w", errNotStarted, err)
	}
	return err
}

// Containers implements sandbox.Sandbox. It also removes helpers of earlier epochs: an engine may create a helper after
// the process that asked for it was killed, and after its successor has swept.
func (d *Docker) Containers(ctx context.Context) ([]sandbox.Found, error) {
	list, err := callEngine(ctx, d, "list containers", func(ctx context.Context) ([]container.Summary, error) {
		return d.client.ContainerList(ctx, container.ListOptions{
			All: true, Filters: filters.NewArgs(filters.Arg("label", labelNode+"="+d.node)),
		})
	})
	if err != nil {
		return nil, err
	}
	if err := d.sweepHelpers(ctx); err != nil {
		d.log.WithError(err).Warn("remove helpers of earlier epochs")
	}
	found := make([]sandbox.Found, 0, len(list))
	for _, c := range list {
		epoch, epochErr := strconv.ParseInt(c.Labels[labelEpoch], 10, 64)
		slot, slotErr := strconv.Atoi(c.Labels[labelSlot])
		if err := errors.Join(epochErr, slotErr); err != nil {
			d.log.WithError(err).WithField("container",
				c.ID).Warn("ignore a container with an invalid epoch or slot label")
			continue
		}
		found = append(found, sandbox.Found{
			Container: &handle{Docker: d, id: c.ID},
			Execution: c.Labels[labelExecution],
			Epoch:     epoch,
			Slot:      slot,
			Running:   alive(c.State),
		})
	}
	return found, nil
}

// alive reports whether a container in this state has processes.
func alive(state container.ContainerState) bool {
	switch state {
	case container.StateRunning, container.StatePaused, container.StateRestarting:
		return true
	case container.StateCreated, container.StateRemoving, container.StateExited, container.StateDead:
		return false
	}
	return false
}

// ID implements sandbox.Container.
func (b *handle) ID() string { return b.id }

// Gone implements sandbox.Container.
func (b *handle) Gone() <-chan struct{} {
	if b.streams == nil {
		return nil
	}
	return b.streams.gone
}

// Resize implements sandbox.Container.
func (b *handle) Resize(ctx context.Context, l sandbox.Limits) error {
	return do(ctx, b.Docker, "update container", func(ctx context.Context) error {
		_, err := b.client.ContainerUpdate(ctx, b.id, container.UpdateConfig{Resources: b.resources(l)})
		return err
	})
}

// Assign implements sandbox.Container.
func (b *handle) Assign(ctx context.Context, job journal.Job) error {
	if b.streams == nil {
		return errors.New("assign job: the container was found, and its stdin belongs to an earlier process")
	}
	return b.wrap(ctx, "assign job", b.streams.send(ctx, job, b.config.CallTimeout))
}

// deadlineWriter gives each write a deadline of its own, because the number of writes depends on the workspace.
type deadlineWriter struct {
	ctx  context.Context //nolint:containedctx // an io.Writer has no other way to get it; it lives as long as the call
	conn net.Conn
	time time.Duration
}

func (p deadlineWriter) Write(b []byte) (int, error) {
	if err := p.conn.SetWriteDeadline(time.Now().Add(p.time)); err != nil {
		return 0, err
	}
	if p.ctx.Err() != nil { // check after setting the deadline, which may have overwritten the deadline that ended ctx
		return 0, context.Cause(p.ctx)
	}
	return p.conn.Write(b)
}

// Stop implements sandbox.Container. One call makes the engine send SIGTERM, wait, and send SIGKILL. The engine
// completes the call even if this process dies.
func (b *handle) Stop(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, b.config.StopTimeout+b.config.CallTimeout)
	defer cancel()
	err := b.wrap(ctx, "stop container", b.client.ContainerStop(bounded, b.id, container.StopOptions{}))
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// Remove implements sandbox.Container.
func (b *handle) Remove(ctx context.Context) error {
	if b.streams != nil {
		if b.proven.Load() {
			b.streams.drain(endPause)
		}
		b.streams.close()
	}
	return b.remove(ctx, b.id)
}

// endPause is how long Remove waits for a container with a proven end to exit: for the engine, removing an exited
// container costs far less than killing one.
const endPause = time.Second

// remove destroys a container by its id or name and waits until it is gone, also when another caller destroys it.
// Engine 20.10 answers with an internal error when the container ends while it is being killed, so remove retries
// internal errors for a moment.
func (d *Docker) remove(ctx context.Context, container string) error {
	bounded, cancel := context.WithTimeout(ctx, d.config.CallTimeout)
	defer cancel()
	for try := 1; ; try++ {
		err := d.client.ContainerRemove(bounded, container, removal)
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		underWay := errdefs.IsConflict(err) // another caller is removing the container
		if crossed := errdefs.IsInternal(err) && try < removeTries; !underWay && !crossed {
			return d.wrap(ctx, "remove container", err)
		}
		if pause(bounded, removePause) != nil {
			return d.wrap(ctx, "remove container", fmt.Errorf("%w: %w", context.DeadlineExceeded, err))
		}
	}
}

const (
	removePause = 50 * time.Millisecond
	removeTries = 20 // after internal errors
)

// removal kills a running container and removes its anonymous volumes, if any.
var removal = container.RemoveOptions{Force: true, RemoveVolumes: true}
