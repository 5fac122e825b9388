package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"

	"boomerang/internal/sandbox"
)

// imageFacts holds the properties of an image that its containers depend on.
type imageFacts struct {
	id      string   // the id behind the reference at the time of the check; containers use exactly this image
	volumes []string // sorted
	size    int64    // bytes
}

// How long an answer about an image is trusted. A rebuilt or retagged image is noticed after imageFresh. A registry
// without the image is asked again after imageMissing.
const (
	imageFresh   = 30 * time.Second
	imageMissing = 10 * time.Second
)

// images remembers the answers about each reference.
type images struct {
	mu    sync.Mutex // guards known; each entry is guarded by its own lock
	known map[wantedImage]*knownImage
}

// wantedImage is a reference and the permission to pull it. A missing image that one language may not pull may still be
// pulled for another language.
type wantedImage struct {
	ref  string
	pull bool
}

type knownImage struct {
	lock  lock // held while the engine is asked: one pull serves all callers that wait for it
	facts imageFacts
	err   error
	until time.Time
}

func newImages() *images { return &images{known: make(map[wantedImage]*knownImage)} }

// LookAnew forgets all answers about images: new containers use the engine's present images.
func (d *Docker) LookAnew() {
	d.images.mu.Lock()
	defer d.images.mu.Unlock()
	clear(d.images.known)
}

func (i *images) entry(wanted wantedImage) *knownImage {
	i.mu.Lock()
	defer i.mu.Unlock()
	k := i.known[wanted]
	if k == nil {
		k = &knownImage{lock: newLock()}
		i.known[wanted] = k
	}
	return k
}

// image finds the image of a spec. A missing image is pulled if both the spec and the configuration allow it. Callers
// that wait for another caller's pull share its answer. If the pulling caller gives up, the next caller continues with
// the parts that were fetched. With refresh, image asks the engine even if the answer is known. Errors:
// sandbox.ErrImageUnavailable, sandbox.ErrUnavailable.
func (d *Docker) image(ctx context.Context, spec sandbox.Spec, refresh bool) (imageFacts, error) {
	wanted := wantedImage{ref: spec.Image, pull: d.config.Pull != PullNever && spec.Pull != sandbox.PullNever}
	k := d.images.entry(wanted)
	release, err := k.lock.Acquire(ctx)
	if err != nil {
		return imageFacts{}, fmt.Errorf("find image: %w", err)
	}
	defer release()
	if !refresh && time.Now().Before(k.until) {
		return k.facts, k.err
	}
	k.facts, k.err = d.findImage(ctx, wanted)
	switch {
	case k.err == nil:
		k.until = time.Now().Add(imageFresh)
	case errors.Is(k.err, sandbox.ErrImageUnavailable):
		k.until = time.Now().Add(imageMissing)
	default:
		k.until = time.Time{}
	}
	return k.facts, k.err
}

func (d *Docker) findImage(ctx context.Context, wanted wantedImage) (imageFacts, error) {
	facts, err := d.inspectImage(ctx, wanted.ref)
	if !wanted.pull || !errors.Is(err, sandbox.ErrImageUnavailable) {
		return facts, err
	}
	if err := d.pull(ctx, wanted.ref); err != nil {
		return imageFacts{}, err
	}
	return d.inspectImage(ctx, wanted.ref)
}

func (d *Docker) inspectImage(ctx context.Context, ref string) (imageFacts, error) {
	found, err := callEngine(ctx, d, "inspect image", func(ctx context.Context) (image.InspectResponse, error) {
		return d.client.ImageInspect(ctx, ref)
	})
	if errdefs.IsNotFound(err) || errdefs.IsInvalidArgument(err) { // 400 means that no image can have this reference
		return imageFacts{}, fmt.Errorf("%w: %s: %w", sandbox.ErrImageUnavailable, ref, err)
	}
	if err != nil {
		return imageFacts{}, err
	}
	facts := imageFacts{id: found.ID, size: found.Size}
	if found.Config != nil {
		facts.volumes = slices.Sorted(maps.Keys(found.Config.Volumes))
	}
	return facts, nil
}

func (d *Docker) pull(ctx context.Context, ref string) error {
	d.log.WithField("image", ref).Info("pull image")
	bounded, cancel := context.WithTimeout(ctx, d.config.PullTimeout)
	defer cancel()
	progress, err := d.client.ImagePull(bounded, ref, image.PullOptions{})
	if err == nil {
		err = errors.Join(readPullProgress(progress), progress.Close())
	}
	if err := d.wrap(ctx, "pull image", err); err != nil {
		if errors.Is(err, sandbox.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("%w: %s: %w", sandbox.ErrImageUnavailable, ref, err)
	}
	return nil
}

// readPullProgress reads the progress of a pull to its end and returns the pull's error. The image is complete at the
// end.
func readPullProgress(progress io.Reader) error {
	messages := json.NewDecoder(progress)
	for {
		var message struct{ Error string }
		switch err := messages.Decode(&message); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case message.Error != "":
			return fmt.Errorf("%w: %s", errdefs.ErrUnknown, message.Error)
		}
	}
}

// ImageSize returns the size of an image on the engine in bytes; it pulls nothing.
// Errors: sandbox.ErrImageUnavailable and the three kinds.
func (d *Docker) ImageSize(ctx context.Context, ref string) (int64, error) {
	facts, err := d.inspectImage(ctx, ref)
	return facts.size, err
}

// HasImage returns nil if the image is on the engine; it pulls nothing. Errors: sandbox.ErrImageUnavailable,
// sandbox.ErrUnavailable.
func (d *Docker) HasImage(ctx context.Context, ref string) error {
	_, err := d.inspectImage(ctx, ref)
	return err
}
