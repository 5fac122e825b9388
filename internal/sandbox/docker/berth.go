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

// berth is one container.
type berth struct {
	*Docker
	id       string
	line     *line                                    // to the init; nil when the berth was found
	size     func(sandbox.Limits) container.Resources // nil with it
	proven   atomic.Bool                              // its journal has both ends
	listened atomic.Bool                              // somebody has followed the line: it does not tell all of that again
}

var _ sandbox.Berth = (*berth)(nil)

// Prepare implements sandbox.Sandbox. What was remembered of the image and of the init's volume may have become untrue
// behind our back, so a container that the engine refuses is tried once more with both looked at anew.
func (d *Docker) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Berth, error) {
	if !known(spec.Network) {
		return nil, fmt.Errorf("%w: the network %q is no wall", sandbox.ErrRefused, spec.Network)
	}
	b, err := d.prepare(ctx, spec, false)
	if errors.Is(err, sandbox.ErrRefused) && ctx.Err() == nil || errors.Is(err, errNotStarted) {
		d.log.WithError(err).WithField("image", spec.Image).Warn("the engine refuses a container; look at the image and the init anew")
		b, err = d.prepare(ctx, spec, true)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// errNotStarted marks the answer of an engine that created a container and did not start it. What lies in the volume may be
// the cause, whatever the kind of the answer.
var errNotStarted = errors.New("not started")

func (d *Docker) prepare(ctx context.Context, spec sandbox.Spec, anew bool) (_ *berth, err error) {
	engine, err := d.traits(ctx, anew)
	if err != nil {
		return nil, err
	}
	image, err := d.image(ctx, spec, anew)
	if err != nil {
		return nil, err
	}
	volume, err := d.initVolume(ctx, image, anew)
	if err != nil {
		return nil, err
	}
	lists, err := d.accountFiles(ctx, image, volume, uid(spec, premises{config: d.config, engine: engine}), anew)
	if err != nil {
		return nil, err
	}
	name := containerName(spec)
	defer func() {
		if err != nil { // by name: the engine may not have told us the id
			err = errors.Join(err, d.undo(ctx, name))
		}
	}()
	seccomp := d.seccomp
	if gvisor(spec, engine) {
		seccomp = d.sentrys
	}
	p := premises{
		config: d.config, seccomp: seccomp, node: d.node, epoch: d.epoch, image: image, volume: volume,
		accounts: lists, engine: engine,
	}
	id, err := d.create(ctx, name, spec, p)
	if err != nil {
		return nil, err
	}
	b := &berth{Docker: d, id: id, size: func(l sandbox.Limits) container.Resources {
		spec.Limits = l
		return sizes(spec, p)
	}}
	if b.line, err = d.attach(ctx, id); err != nil {
		return nil, err
	}
	if err := d.start(ctx, id); err != nil {
		b.line.close()
		return nil, err
	}
	return b, nil
}

// undo removes what a preparation that failed may have left. While the engine does not answer it goes on trying until ctx
// ends: a container that is let go of would be in the way of those that an engine under load is asked for next.
func (d *Docker) undo(ctx context.Context, name string) error {
	for {
		err := d.remove(context.WithoutCancel(ctx), name)
		if !errors.Is(err, sandbox.ErrUnavailable) || pause(ctx, undoPause) != nil {
			return err
		}
		d.log.WithError(err).WithField("container", name).Warn("remove what a failed preparation left")
	}
}

const undoPause = time.Second

// containerName is for people, and for removing a container whose id we were not told. It is new each time: what is
// left of an earlier try must not be in the way. On a network the engine's name server tells it to neighbours who ask for
// the name of an address, so there it says nothing.
func containerName(s sandbox.Spec) string {
	suffix := strings.ToLower(rand.Text()[:8])
	if s.Execution == "" || networked(s.Network) {
		return "boomerang-berth-" + suffix
	}
	return "boomerang-" + s.Execution + "-" + suffix
}

// create waits for the engine's answer even when ctx ends meanwhile: a create goes on in the engine, and what it makes
// must be known in order to be removed.
func (d *Docker) create(ctx context.Context, name string, spec sandbox.Spec, p premises) (id string, err error) {
	if err := ctx.Err(); err != nil {
		return "", d.told(ctx, "create container", err)
	}
	created, err := ask(context.WithoutCancel(ctx), d, "create container", func(ctx context.Context) (container.CreateResponse, error) {
		return d.client.ContainerCreate(ctx, containerConfig(spec, p), hostConfig(spec, p), nil, nil, name)
	})
	return created.ID, err
}

func (d *Docker) start(ctx context.Context, id string) error {
	err := order(ctx, d, "start container", func(ctx context.Context) error {
		return d.client.ContainerStart(ctx, id, container.StartOptions{})
	})
	if err != nil && ctx.Err() == nil && !errors.Is(err, sandbox.ErrUnavailable) {
		return fmt.Errorf("%w: %w", errNotStarted, err)
	}
	return err
}

// Berths implements sandbox.Sandbox.
func (d *Docker) Berths(ctx context.Context) ([]sandbox.Found, error) {
	list, err := ask(ctx, d, "list containers", func(ctx context.Context) ([]container.Summary, error) {
		return d.client.ContainerList(ctx, container.ListOptions{
			All: true, Filters: filters.NewArgs(filters.Arg("label", labelNode+"="+d.node)),
		})
	})
	if err != nil {
		return nil, err
	}
	found := make([]sandbox.Found, 0, len(list))
	for _, c := range list {
		epoch, epochErr := strconv.ParseInt(c.Labels[labelEpoch], 10, 64)
		slot, slotErr := strconv.Atoi(c.Labels[labelSlot])
		if err := errors.Join(epochErr, slotErr); err != nil {
			d.log.WithError(err).WithField("container", c.ID).Warn("a container with our label and without our numbers is left alone")
			continue
		}
		found = append(found, sandbox.Found{
			Berth:     &berth{Docker: d, id: c.ID},
			Execution: c.Labels[labelExecution],
			Epoch:     epoch,
			Slot:      slot,
			Running:   alive(c.State),
		})
	}
	return found, nil
}

// alive tells whether there are processes in a container of this state.
func alive(state container.ContainerState) bool {
	switch state {
	case container.StateRunning, container.StatePaused, container.StateRestarting:
		return true
	case container.StateCreated, container.StateRemoving, container.StateExited, container.StateDead:
		return false
	}
	return false
}

// ID implements sandbox.Berth.
func (b *berth) ID() string { return b.id }

// Gone implements sandbox.Berth.
func (b *berth) Gone() <-chan struct{} {
	if b.line == nil {
		return nil
	}
	return b.line.gone
}

// Resize implements sandbox.Berth.
func (b *berth) Resize(ctx context.Context, l sandbox.Limits) error {
	return order(ctx, b.Docker, "update container", func(ctx context.Context) error {
		_, err := b.client.ContainerUpdate(ctx, b.id, container.UpdateConfig{Resources: b.size(l)})
		return err
	})
}

// Assign implements sandbox.Berth.
func (b *berth) Assign(ctx context.Context, job journal.Job) error {
	if b.line == nil {
		return errors.New("assign job: this berth was found, its stdin is another's")
	}
	return b.told(ctx, "assign job", b.line.send(ctx, job, b.config.CallTimeout))
}

// patient gives each write its own time: how many there are depends on the workspace.
type patient struct {
	ctx  context.Context //nolint:containedctx // an io.Writer has no other way to get it; it lives as long as the call
	conn net.Conn
	time time.Duration
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.conn.SetWriteDeadline(time.Now().Add(p.time)); err != nil {
		return 0, err
	}
	if p.ctx.Err() != nil { // after the deadline was set, which might have been that of the end of ctx
		return 0, context.Cause(p.ctx)
	}
	return p.conn.Write(b)
}

// Stop implements sandbox.Berth. The engine does all of it in one call (SIGTERM, time, SIGKILL), and finishes it also
// when we are gone.
func (b *berth) Stop(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, b.config.StopTimeout+b.config.CallTimeout)
	defer cancel()
	err := b.told(ctx, "stop container", b.client.ContainerStop(bounded, b.id, container.StopOptions{}))
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// Remove implements sandbox.Berth.
func (b *berth) Remove(ctx context.Context) error {
	if b.line != nil {
		if b.proven.Load() {
			b.line.drain(endPause)
		}
		b.line.close()
	}
	return b.remove(ctx, b.id)
}

// endPause is how long a container that has proven its end may take to end: one that has ended costs the engine far less to
// remove than one that it has to kill.
const endPause = time.Second

// remove destroys a container by its id or name and waits until it is gone, whoever else is destroying it. One that ends while
// Engine 20.10 is about to kill it is an internal error there, so those are tried again for a moment.
func (d *Docker) remove(ctx context.Context, container string) error {
	bounded, cancel := context.WithTimeout(ctx, d.config.CallTimeout)
	defer cancel()
	for try := 1; ; try++ {
		err := d.client.ContainerRemove(bounded, container, removal)
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		underWay := errdefs.IsConflict(err) // somebody else's removal
		if crossed := errdefs.IsInternal(err) && try < removeTries; !underWay && !crossed {
			return d.told(ctx, "remove container", err)
		}
		if pause(bounded, removePause) != nil {
			return d.told(ctx, "remove container", fmt.Errorf("%w: %w", context.DeadlineExceeded, err))
		}
	}
}

const (
	removePause = 50 * time.Millisecond
	removeTries = 20 // after internal errors
)

// removal kills what runs and takes the anonymous volumes along, should there be any.
var removal = container.RemoveOptions{Force: true, RemoveVolumes: true}
