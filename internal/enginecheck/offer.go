package enginecheck

import (
	"context"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/language"
)

const (
	offerInterval = 5 * time.Second // the longest time until a built or removed image is noticed
	offerTimeout  = 5 * time.Second
)

// OfferKeeper removes languages without an image from the offer to clients, and adds them again.
type OfferKeeper struct {
	Offer *language.Offer
	// MissingImages returns the names of the languages without an image.
	MissingImages func(context.Context) ([]string, error)
	Log           *logrus.Entry
}

// Run refreshes the offer until ctx ends. It returns nil.
func (k OfferKeeper) Run(ctx context.Context) error {
	tick := time.NewTicker(offerInterval)
	defer tick.Stop()
	for {
		k.Refresh(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Refresh sets the offer. It leaves the offer unchanged if the missing images are unknown; a check of /readyz reports
// that.
func (k OfferKeeper) Refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, offerTimeout)
	defer cancel()
	missing, err := k.MissingImages(ctx)
	if err != nil {
		k.Log.WithError(fmt.Errorf("look for images: %w", err)).Debug("the offer of languages stays as it is")
		return
	}
	k.Offer.Without(missing)
}
