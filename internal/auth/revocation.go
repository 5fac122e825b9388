package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/sirupsen/logrus"

	"boomerang/internal/fault"
)

// RevocationKind says which tokens a revocation refuses. The words are in the database.
type RevocationKind string

// The kinds of revocations.
const (
	RevokedToken   RevocationKind = "token"   // one token; the name is its "jti"
	RevokedSubject RevocationKind = "subject" // the tokens of a subject that were issued before a time
	RevokedKey     RevocationKind = "key"     // an API key and its tokens; the name is APIKey.ID
)

// Revocation refuses tokens or an API key although they are valid.
type Revocation struct {
	Kind   RevocationKind
	Name   string
	Before time.Time // zero unless Kind is RevokedSubject
	Until  time.Time // the revocation is needed no longer; zero for never
}

// RevocationList reads revocations. Another process may add to them at any time.
type RevocationList interface {
	// Revocations returns the revocations that hold at now.
	Revocations(ctx context.Context, now time.Time) ([]Revocation, error)
}

// A revocation holds within the sum of the two, which is less than five seconds.
const (
	revocationInterval = 2 * time.Second // between two reads of the list
	revocationTimeout  = 2 * time.Second // of one read
)

// revoked is the list as it was read last, for lookups.
type revoked struct {
	tokens   map[string]bool
	keys     map[string]bool
	subjects map[string]time.Time
}

func newRevoked(list []Revocation) *revoked {
	r := &revoked{tokens: map[string]bool{}, keys: map[string]bool{}, subjects: map[string]time.Time{}}
	for _, v := range list {
		switch v.Kind {
		case RevokedToken:
			r.tokens[v.Name] = true
		case RevokedKey:
			r.keys[v.Name] = true
		case RevokedSubject:
			r.subjects[v.Name] = v.Before
		}
	}
	return r
}

// refuses reports whether the credential of p is revoked. A token that does not tell when it was issued counts as older
// than every revocation of its subject.
func (r *revoked) refuses(p Principal) bool {
	c := p.Credential
	if r.tokens[c.Token] && c.Token != "" || r.keys[c.Key] {
		return true
	}
	before, found := r.subjects[p.Subject]
	isToken := c.Key == "" || !c.IssuedAt.IsZero()
	return found && isToken && c.IssuedAt.Before(before)
}

// holders are the requests whose callers must still be valid while the requests last.
type holders struct {
	mu  sync.Mutex
	all map[*holder]bool
}

type holder struct {
	principal Principal
	cancel    context.CancelCauseFunc
}

// errRevoked ends the requests of a revoked token or key.
var errRevoked = errors.New("the caller's token or API key was revoked")

// Hold returns a context that ends when the token or the API key of p is revoked, or removed from the configuration.
// The caller calls release when the request has ended.
func (a *Auth) Hold(ctx context.Context, p Principal) (held context.Context, release func()) {
	held, cancel := context.WithCancelCause(ctx)
	h := &holder{principal: p, cancel: cancel}
	a.holders.mu.Lock()
	a.holders.all[h] = true
	a.holders.mu.Unlock()
	if a.check(p) != nil { // revoked since it was authenticated
		cancel(errRevoked)
	}
	return held, func() {
		a.holders.mu.Lock()
		delete(a.holders.all, h)
		a.holders.mu.Unlock()
		cancel(nil)
	}
}

// endRevoked ends the requests whose callers are no longer valid.
func (a *Auth) endRevoked() {
	a.holders.mu.Lock()
	defer a.holders.mu.Unlock()
	for h := range a.holders.all {
		if a.check(h.principal) != nil {
			h.cancel(errRevoked)
		}
	}
}

// check returns the fault INVALID_TOKEN if the credential of p was revoked, or belongs to an API key that is no longer
// configured.
func (a *Auth) check(p Principal) error {
	if a.revoked.Load().refuses(p) {
		return fault.New(fault.InvalidToken, "The token or API key has been revoked.")
	}
	if id := p.Credential.Key; id != "" && a.keyWithID(id) == nil {
		return fault.New(fault.InvalidToken, "The API key behind the token is no longer one of this server's.")
	}
	return nil
}

// ReadRevocations reads the list once. After an error the last list stays in force.
func (a *Auth) ReadRevocations(ctx context.Context, from RevocationList) error {
	ctx, cancel := context.WithTimeout(ctx, revocationTimeout)
	defer cancel()
	list, err := from.Revocations(ctx, time.Now())
	if err != nil {
		return fmt.Errorf("read revocations: %w", err)
	}
	a.revoked.Store(newRevoked(list))
	a.endRevoked()
	return nil
}

// FollowRevocations reads the list every two seconds until ctx ends, and then returns nil.
func (a *Auth) FollowRevocations(ctx context.Context, from RevocationList, log *logrus.Entry) error {
	tick := time.NewTicker(revocationInterval)
	defer tick.Stop()
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := a.ReadRevocations(ctx, from)
		switch {
		case ctx.Err() != nil:
		case err != nil && !failing:
			log.WithError(err).Error("revocations cannot be read; those that are known stay in force")
		case err == nil && failing:
			log.Info("revocations are read again")
		}
		failing = err != nil
	}
}

// RevocationOf returns the revocation of one token, which it does not verify. Errors: the text is no token, or the
// token lacks the claim that a revocation needs.
func RevocationOf(token string) (Revocation, error) {
	var c claims
	if _, _, err := jwt.NewParser().ParseUnverified(token, &c); err != nil {
		return Revocation{}, fmt.Errorf("read token: %w", err)
	}
	id, _ := c.MapClaims["jti"].(string)
	if id == "" {
		return Revocation{}, errors.New("the token has no jti: revoke the tokens of its subject")
	}
	expires, err := c.GetExpirationTime()
	if err != nil || expires == nil {
		return Revocation{}, errors.New("the token has no exp, and no server accepts it")
	}
	return Revocation{Kind: RevokedToken, Name: id, Until: expires.Add(2 * leeway)}, nil
}
