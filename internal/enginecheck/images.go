package enginecheck

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/language"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/docker"
)

// images compares the images of the engine with the catalogue of languages.
type images struct {
	engine interface {
		HasImage(context.Context, string) error
		ImageSize(context.Context, string) (int64, error)
	}
	catalogue *language.Catalogue
	pull      docker.Pull
}

// missing returns the languages that cannot run because their image is missing. An image that may be pulled is not
// missing. Errors: those of an engine that does not answer.
func (i images) missing(ctx context.Context) ([]language.Language, error) {
	var missing []language.Language
	for _, l := range i.catalogue.Languages() {
		if i.pull == docker.PullMissing && l.Pull == sandbox.PullMissing {
			continue
		}
		switch err := i.engine.HasImage(ctx, l.Image); {
		case errors.Is(err, sandbox.ErrImageUnavailable):
			missing = append(missing, l)
		case err != nil:
			return nil, err
		}
	}
	return missing, nil
}

// specsBySize returns the spec of a container of each language whose image is present, the smallest image first.
func (i images) specsBySize(ctx context.Context, limits execution.WorkspaceLimits) ([]sandbox.Spec, error) {
	sizes := make(map[string]int64)
	var specs []sandbox.Spec
	for _, l := range i.catalogue.Languages() {
		size, err := i.engine.ImageSize(ctx, l.Image)
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

func (i images) check(ctx context.Context) error {
	missing, err := i.missing(ctx)
	if err != nil {
		return fault.New(fault.ServiceUnavailable,
			"The Docker engine does not tell which images it has.").Because(err)
	}
	missing = slices.DeleteFunc(missing, func(l language.Language) bool { return l.Optional })
	if len(missing) > 0 {
		return fault.New(fault.ServiceUnavailable,
			"No image for %s: build or pull it. The other languages work.", strings.Join(names(missing), ", "))
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
