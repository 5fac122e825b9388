package auth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"boomerang/internal/fault"
)

// fakeList is a list that can fail and change.
type fakeList struct {
	mu   sync.Mutex
	list []Revocation
	err  error
}

func (l *fakeList) Revocations(context.Context, time.Time) ([]Revocation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list), l.err
}

func (l *fakeList) set(err error, list ...Revocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list, l.err = list, err
}

func issue(t *testing.T, a *Auth, subject string) string {
	t.Helper()
	token, err := a.Issue(subject, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func accepted(a *Auth, token string) bool {
	_, err := a.Authenticate(token)
	if err != nil && fault.Of(err).Code != fault.InvalidToken {
		panic(err)
	}
	return err == nil
}

func TestARevocationRefusesWhatItNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, hashed, err := NewAPIKey("kim")
		if err != nil {
			t.Fatal(err)
		}
		a := newAuth(t, Config{APIKeys: []APIKey{hashed}})
		early, other, bens := issue(t, a, "ann"), issue(t, a, "ann"), issue(t, a, "ben")
		undated := sign(testKey, plainHeader, `{"sub":"ann","exp":946690000}`)
		holder, err := a.AuthenticateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		kims, err := a.IssueFor(holder, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(10 * time.Second)
		late, before := issue(t, a, "ann"), time.Now()
		of := func(token string) Revocation {
			r, err := RevocationOf(token)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		all := map[string]string{
			"early": early, "other": other, "ben's": bens, "undated": undated, "kim's": kims, "late": late,
		}
		for _, c := range []struct {
			revoked Revocation
			want    []string // refused
			key     bool     // the API key is refused
		}{
			{of(early), []string{"early"}, false},
			{Revocation{Kind: RevokedToken}, nil, false},
			{
				Revocation{Kind: RevokedSubject, Name: "ann", Before: before},
				[]string{"early", "other", "undated"},
				false,
			},
			{Revocation{Kind: RevokedSubject, Name: "kim", Before: before}, []string{"kim's"}, false},
			{Revocation{Kind: RevokedKey, Name: hashed.ID()}, []string{"kim's"}, true},
		} {
			if err := a.ReadRevocations(t.Context(), &fakeList{list: []Revocation{c.revoked}}); err != nil {
				t.Fatal(err)
			}
			var refused []string
			for name, token := range all {
				if !accepted(a, token) {
					refused = append(refused, name)
				}
			}
			slices.Sort(refused)
			if !slices.Equal(refused, c.want) {
				t.Errorf("%+v refuses %v; want %v", c.revoked, refused, c.want)
			}
			if _, err := a.AuthenticateKey(key); (err != nil) != c.key {
				t.Errorf("%+v: the API key gives %v; want it refused: %t", c.revoked, err, c.key)
			}
		}
	})
}

func TestARevocationHoldsWithinFiveSecondsAndEndsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, list := newAuth(t, Config{}), &fakeList{}
		logger, hook := logtest.NewNullLogger()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- a.FollowRevocations(ctx, list, logrus.NewEntry(logger)) }()
		token, bens := issue(t, a, "ann"), issue(t, a, "ben")
		hold := func(token string) context.Context {
			p, err := a.Authenticate(token)
			if err != nil {
				t.Fatal(err)
			}
			held, release := a.Hold(t.Context(), p)
			t.Cleanup(release)
			return held
		}
		anns, other := hold(token), hold(bens)
		r, err := RevocationOf(token)
		if err != nil {
			t.Fatal(err)
		}
		list.set(nil, r)
		<-time.After(5 * time.Second)
		synctest.Wait()
		if accepted(a, token) || !errors.Is(context.Cause(anns), errRevoked) {
			t.Errorf("five seconds later: accepted %t, request %v; want both ended", accepted(a, token),
				context.Cause(anns))
		}
		if !accepted(a, bens) || other.Err() != nil {
			t.Error("the token of another subject was revoked too")
		}

		list.set(errors.New("the disk fails"))
		<-time.After(time.Minute)
		if accepted(a, token) {
			t.Error("the token is accepted while the list cannot be read; want the last list to hold")
		}
		list.set(nil)
		<-time.After(5 * time.Second)
		synctest.Wait()
		if !accepted(a, token) {
			t.Error("the token is refused after its revocation was removed")
		}
		var said []string
		for _, e := range hook.AllEntries() {
			said = append(said, e.Message)
		}
		if want := []string{
			"revocations cannot be read; those that are known stay in force", "revocations are read again",
		}; !slices.Equal(said, want) {
			t.Errorf("logged %q; want each change once, %q", said, want)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAHeldRequestEndsAlsoIfItsTokenWasJustRevoked(t *testing.T) {
	a := newAuth(t, Config{})
	token := issue(t, a, "ann")
	p, err := a.Authenticate(token)
	if err != nil {
		t.Fatal(err)
	}
	r, err := RevocationOf(token)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.ReadRevocations(t.Context(), &fakeList{list: []Revocation{r}}); err != nil {
		t.Fatal(err)
	}
	held, release := a.Hold(t.Context(), p)
	defer release()
	if held.Err() == nil {
		t.Error("the request goes on; want it ended")
	}
}

func TestAKeyThatLeavesTheConfigurationTakesItsTokensAlong(t *testing.T) {
	key, hashed, err := NewAPIKey("ann")
	if err != nil {
		t.Fatal(err)
	}
	with := Config{Key: testKey, APIKeys: []APIKey{hashed}}
	a := newAuth(t, with)
	holder, err := a.AuthenticateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	token, err := a.IssueFor(holder, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	held, release := a.Hold(t.Context(), holder)
	defer release()
	bad := with
	bad.APIKeys = []APIKey{{Subject: "ann"}}
	if err := a.Reload(bad); err == nil || !accepted(a, token) {
		t.Errorf("an invalid configuration: %v; want an error, and the old keys", err)
	}
	if err := a.Reload(Config{Key: testKey}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.AuthenticateKey(key); err == nil || accepted(a, token) || held.Err() == nil {
		t.Errorf("without the key: key %v, token accepted %t, request %v; want all refused", err, accepted(a, token),
			held.Err())
	}
	if err := a.Reload(with); err != nil {
		t.Fatal(err)
	}
	if _, err := a.AuthenticateKey(key); err != nil || !accepted(a, token) {
		t.Errorf("with the key again: %v", err)
	}
}

func TestOnlyATokenWithAnIDAndAnEndCanBeRevokedAlone(t *testing.T) {
	for text, says := range map[string]string{
		"x": "read token",
		sign(testKey, plainHeader, `{"sub":"ann","exp":946684860}`): "no jti",
		sign(testKey, plainHeader, `{"sub":"ann","jti":"a"}`):       "no exp",
	} {
		if _, err := RevocationOf(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v; want an error with %q", err, says)
		}
	}
	if _, err := newAuth(t, Config{}).Issue("ann", MaxLifetime+time.Second); err == nil {
		t.Error("a token was made that outlives the revocation of its subject")
	}
}
