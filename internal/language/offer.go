package language

import (
	"slices"
	"sync/atomic"
)

// Offer is the catalogue as its clients see it: what is optional and cannot run is left out of it. It is safe for
// concurrent use.
type Offer struct {
	*Catalogue
	absent atomic.Pointer[[]string]
}

// Offer makes one that leaves nothing out.
func (c *Catalogue) Offer() *Offer {
	o := &Offer{Catalogue: c}
	o.Without(nil)
	return o
}

// Without says which languages have no image now. It replaces what was said before, and those of them that are not
// optional are offered all the same: that they cannot run is a fault, and not to be hidden.
func (o *Offer) Without(absent []string) { o.absent.Store(&absent) }

// Languages returns what is offered, sorted by name.
func (o *Offer) Languages() []Language {
	return slices.DeleteFunc(o.Catalogue.Languages(), o.withholds)
}

// Offered is Find for who wants to run it. Errors: *fault.Error UNSUPPORTED_LANGUAGE, also for what is not offered
// now; it lists what is.
func (o *Offer) Offered(name string) (Language, error) {
	l, err := o.Find(name)
	switch {
	case err != nil:
		return Language{}, unknown(name, o.Languages())
	case o.withholds(l):
		return Language{}, unsupported(l.NoImage(), o.Languages())
	}
	return l, nil
}

func (o *Offer) withholds(l Language) bool {
	return l.Optional && slices.Contains(*o.absent.Load(), l.Name)
}
