package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"

	"golang.org/x/term"

	"boomerang/internal/callback"
	"boomerang/internal/receiver"
)

type listenCmd struct {
	Addr string `help:"Address to listen on. Default: ${default}." default:"127.0.0.1:9000" placeholder:"ADDR"`

	Secret []string `help:"Secret of the callbacks; repeatable." sep:"none" env:"BOOMERANG_SECRET" placeholder:"S"`

	Once bool `help:"Exit after the first callback, with 1 if it was rejected."`
	Fail int  `help:"Answer 500 to the first N callbacks, to watch the retries." placeholder:"N"`
}

// Help implements kong.HelpProvider.
func (listenCmd) Help() string {
	return `A receiver for tests. It prints each callback and verifies both signatures: one of the secrets must match.
Without a secret it does not check signatures. The server posts to a private address only if its configuration allows
the address:

  BOOMERANG_CALLBACK_ALLOW_CIDRS=127.0.0.0/8 boomerang serve &
  boomerang listen --secret s3cret &
  boomerang run hello.py --callback-url http://127.0.0.1:9000/ --secret s3cret`
}

// Run receives callbacks until a signal arrives, or until the first callback with --once.
func (l *listenCmd) Run(ctx context.Context) error {
	secrets := withoutEmpty(l.Secret)
	if err := checkSecrets(secrets); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.Addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "· waiting for callbacks on http://%s/\n", listener.Addr())
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	color := term.IsTerminal(int(os.Stdout.Fd()))
	accepted := true
	handler := receiver.New(receiver.Config{Secrets: secrets, FailFirst: l.Fail, Handle: func(c receiver.Callback) {
		_ = receiver.PrettyPrint(os.Stdout, c, color) // a callback is accepted even if the terminal is gone
		if l.Once && c.Status != http.StatusInternalServerError {
			accepted = c.Status == http.StatusOK
			stop() // Serve sends this answer before it stops
		}
	}})
	if err := receiver.Serve(ctx, listener, handler); err != nil {
		return err
	}
	if !accepted {
		return exitError(exitFailure)
	}
	return nil
}

// checkSecrets returns an error for a secret that the server would reject. The error names the secret by its position
// and never shows it.
func checkSecrets(secrets []string) error {
	for i, secret := range secrets {
		if err := callback.CheckSecret(secret); err != nil && len(secrets) > 1 {
			return fmt.Errorf("secret %d of %d: %w", i+1, len(secrets), err)
		} else if err != nil {
			return fmt.Errorf("the secret: %w", err)
		}
	}
	return nil
}

// withoutEmpty removes empty secrets, which an empty environment variable sets.
func withoutEmpty(secrets []string) []string {
	return slices.DeleteFunc(secrets, func(secret string) bool { return secret == "" })
}
