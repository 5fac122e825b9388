package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/language"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/docker"
	"boomerang/internal/store"
)

// admitted are the languages of new executions: those that are offered. What was admitted is run by the catalogue.
type admitted struct{ *language.Offer }

// Find implements admission.Languages.
func (a admitted) Find(name string) (language.Language, error) { return a.Offered(name) }

// absences tells by name which languages have no image now.
type absences interface {
	absent(ctx context.Context) ([]string, error)
}

// stock is what the engine has of the images of the catalogue.
type stock struct {
	engine interface {
		HasImage(context.Context, string) error
		ImageSize(context.Context, string) (int64, error)
	}
	catalogue *language.Catalogue
	pull      docker.Pull
}

// missing are the languages that cannot run for want of their image. One that may be pulled is as good as there.
// Errors: what the engine said when it did not answer.
func (s stock) missing(ctx context.Context) ([]language.Language, error) {
	var missing []language.Language
	for _, l := range s.catalogue.Languages() {
		if s.pull == docker.PullMissing && l.Pull == sandbox.PullMissing {
			continue
		}
		switch err := s.engine.HasImage(ctx, l.Image); {
		case errors.Is(err, sandbox.ErrImageUnavailable):
			missing = append(missing, l)
		case err != nil:
			return nil, err
		}
	}
	return missing, nil
}

// bySize returns what a container of each language needs whose image is there, the smallest image first.
func (s stock) bySize(ctx context.Context, limits execution.WorkspaceLimits) ([]sandbox.Spec, error) {
	sizes := make(map[string]int64)
	var specs []sandbox.Spec
	for _, l := range s.catalogue.Languages() {
		size, err := s.engine.ImageSize(ctx, l.Image)
		switch {
		case errors.Is(err, sandbox.ErrImageUnavailable):
		case err != nil:
			return nil, err
		default:
			sizes[l.Image] = size
			specs = append(specs, language.Waiting(l, limits))
		}
	}
	slices.SortStableFunc(specs, func(a, b sandbox.Spec) int { return cmp.Compare(sizes[a.Image], sizes[b.Image]) })
	return specs, nil
}

func (s stock) absent(ctx context.Context) ([]string, error) {
	missing, err := s.missing(ctx)
	return names(missing), err
}

// check is that every language that is not optional has its image.
func (s stock) check(ctx context.Context) error {
	missing, err := s.missing(ctx)
	if err != nil {
		return fault.New(fault.ServiceUnavailable, "The Docker engine does not tell which images it has.").Because(err)
	}
	missing = slices.DeleteFunc(missing, func(l language.Language) bool { return l.Optional })
	if len(missing) > 0 {
		return fault.New(fault.ServiceUnavailable, "No image for %s: build or pull it. The other languages work.", strings.Join(names(missing), ", "))
	}
	return nil
}

func names(languages []language.Language) []string {
	var names []string
	for _, l := range languages {
		names = append(names, l.Name)
	}
	return names
}

// absentReport is the name of the runner's report of the languages without an image.
const absentReport = "absent"

// heard is what the runner said of its stock.
type heard struct{ records *store.Store }

func (h heard) absent(ctx context.Context) ([]string, error) {
	text, err := h.records.Heard(ctx, absentReport)
	return strings.Fields(text), err
}

// An image that was built or removed is noticed within offerEvery.
const (
	offerEvery   = 5 * time.Second
	offerTimeout = 5 * time.Second
)

// keepOffer makes the part that takes languages out of the offer and in again, as their images go and come.
func (a *App) keepOffer(from absences) func(context.Context) error {
	return func(ctx context.Context) error {
		tick := time.NewTicker(offerEvery)
		defer tick.Stop()
		for {
			a.refreshOffer(ctx, from)
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	}
}

// refreshOffer leaves the offer as it is while nobody can tell what is there: another check says so.
func (a *App) refreshOffer(ctx context.Context, from absences) {
	ctx, cancel := context.WithTimeout(ctx, offerTimeout)
	defer cancel()
	absent, err := from.absent(ctx)
	if err != nil {
		a.log.WithError(fmt.Errorf("look for images: %w", err)).Debug("the offer of languages stays as it is")
		return
	}
	a.offer.Without(absent)
}
