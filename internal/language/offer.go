package language

import (
	"slices"
	"sync/atomic"
)

// Offer is the catalogue as clients see it, without the optional languages whose image is missing. It is safe for
// concurrent use.
type Offer struct {
	*Catalogue
	absent atomic.Pointer[[]string]
}

// Offer returns an offer of all languages.
func (c *Catalogue) Offer() *Offer {
	o := &Offer{Catalogue: c}
	o.Without(nil)
	return o
}

// Without replaces the list of languages without an image. Only optional languages disappear from the offer: a required
// language without an image is a fault that clients should see.
func (o *Offer) Without(absent []string) { o.absent.Store(&absent) }

// Languages returns the offered languages, sorted by name.
func (o *Offer) Languages() []Language {
	return slices.DeleteFunc(o.Catalogue.Languages(), o.hides)
}

// Offered is Find among the offered languages. Errors: *fault.Error UNSUPPORTED_LANGUAGE, which lists the offered
// languages.
func (o *Offer) Offered(name string) (Language, error) {
	l, err := o.Find(name)
	switch {
	case err != nil:
		return Language{}, unknown(name, o.Languages())
	case o.hides(l):
		return Language{}, unsupported(l.NoImage(), o.Languages())
	}
	return l, nil
}

func (o *Offer) hides(l Language) bool {
	return l.Optional && slices.Contains(*o.absent.Load(), l.Name)
}
