package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/auth"
	"boomerang/internal/store"
)

func TestRevocationsOfAnotherProcessAreReadUntilTheyEnd(t *testing.T) {
	dir, now := t.TempDir(), time.Unix(1_000_000, 5).UTC()
	revoke := func(r auth.Revocation) {
		t.Helper()
		if err := store.Revoke(t.Context(), dir, r, now); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Revoke(t.Context(), dir, auth.Revocation{Kind: auth.RevokedKey, Name: "a"}, now); err == nil {
		t.Error("a revocation was stored without a database")
	}
	s, err := store.Open(t.Context(), dir, store.Defaults(), discardLog())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()

	key := auth.Revocation{Kind: auth.RevokedKey, Name: "0123"}
	early := auth.Revocation{Kind: auth.RevokedSubject, Name: "ann", Before: now, Until: now.Add(time.Hour)}
	late := auth.Revocation{Kind: auth.RevokedSubject, Name: "ann", Before: now.Add(1), Until: now.Add(2 * time.Hour)}
	token := auth.Revocation{Kind: auth.RevokedToken, Name: "jti", Until: now.Add(time.Minute)}
	for _, r := range []auth.Revocation{key, late, early, token} {
		revoke(r)
	}
	expect := func(at time.Time, want ...auth.Revocation) {
		t.Helper()
		got, err := s.Revocations(t.Context(), at)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Revocations at %s: %v, -want +got\n%s", at, err, diff)
		}
		outside, err := store.Revocations(t.Context(), dir, at)
		if diff := cmp.Diff(want, outside); err != nil || diff != "" {
			t.Errorf("Revocations beside the server at %s: %v, -want +got\n%s", at, err, diff)
		}
	}
	expect(now, key, late, token)
	expect(now.Add(time.Minute), key, late)
	now = now.Add(3 * time.Hour)
	revoke(token) // which removes the ended ones
	expect(time.Unix(0, 1), key, token)
}
