package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"boomerang/internal/auth"
	"boomerang/internal/store"
)

type revokeCmd struct {
	dataFlags
	Token  string    `arg:"" help:"Token to revoke; - reads it from stdin, not from the command line." optional:""`
	ID     string    `help:"Revoke the token with this jti." placeholder:"JTI"`
	Sub    string    `help:"Revoke every token of this subject that was issued before now." placeholder:"NAME"`
	Before time.Time `help:"With --sub: issued before this time, like 2026-01-31T00:00:00Z." placeholder:"TIME"`
	List   bool      `help:"List the revocations."`
}

// Help implements kong.HelpProvider.
func (revokeCmd) Help() string {
	return `A running server on the same data directory refuses the tokens within five seconds, and ends their open
requests and streams. Programs that were submitted run on; boomerang's API cancels them. A token that does not tell
when it was issued (iat) counts as issued before every time. New tokens of the subject are valid.

  boomerang revoke --data-dir data --sub ann
  echo "$BOOMERANG_TOKEN" | boomerang revoke --data-dir data -

To revoke an API key and its tokens, use boomerang keys api --revoke.`
}

// Run stores the revocation.
func (k *revokeCmd) Run(ctx context.Context) error {
	c, err := k.load()
	if err != nil {
		return err
	}
	if k.List {
		return listRevocations(ctx, c.DataDir)
	}
	now := time.Now()
	r, err := k.revocation(now, os.Stdin)
	if err != nil {
		return err
	}
	return revoke(ctx, c.DataDir, r, now)
}

// revocation returns the revocation that the flags ask for.
func (k *revokeCmd) revocation(now time.Time, in io.Reader) (auth.Revocation, error) {
	chosen := 0
	for _, text := range []string{k.Token, k.ID, k.Sub} {
		if text != "" {
			chosen++
		}
	}
	switch {
	case chosen != 1:
		return auth.Revocation{}, errors.New("name one of a token, --id and --sub")
	case !k.Before.IsZero() && k.Sub == "":
		return auth.Revocation{}, errors.New("--before needs --sub")
	case k.Before.After(now):
		return auth.Revocation{}, errors.New("--before must not be in the future: new tokens would be refused")
	case k.ID != "": // its expiry is not known
		return auth.Revocation{Kind: auth.RevokedToken, Name: k.ID, Until: now.Add(auth.MaxLifetime)}, nil
	case k.Sub != "":
		before := k.Before
		if before.IsZero() {
			before = now
		}
		return auth.Revocation{
			Kind: auth.RevokedSubject, Name: k.Sub, Before: before, Until: before.Add(auth.MaxLifetime),
		}, auth.CheckSubject(k.Sub)
	}
	token := k.Token
	if token == "-" {
		const limit = 64 << 10 // bytes; no token is longer
		text, err := io.ReadAll(io.LimitReader(in, limit))
		if err != nil {
			return auth.Revocation{}, fmt.Errorf("read token: %w", err)
		}
		token = strings.TrimSpace(string(text))
	}
	return auth.RevocationOf(token)
}

func revoke(ctx context.Context, dir string, r auth.Revocation, now time.Time) error {
	if err := store.Revoke(ctx, dir, r, now); err != nil {
		return err
	}
	_, err := fmt.Printf("The %s %s is revoked; a running server knows it within five seconds.\n", r.Kind, r.Name)
	return err
}

func listRevocations(ctx context.Context, dir string) error {
	list, err := store.Revocations(ctx, dir, time.Now())
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(list))
	for _, r := range list {
		rows = append(rows, []string{string(r.Kind), r.Name, timeOrDash(r.Before), timeOrDash(r.Until)})
	}
	return printTable(os.Stdout, []string{"KIND", "NAME", "ISSUED BEFORE", "UNTIL"}, rows)
}

func timeOrDash(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
