package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"

	"golang.org/x/term"

	"boomerang/internal/callback"
	"boomerang/internal/receiver"
)

type listenCmd struct {
	Addr   string   `help:"Address to listen on, host:port. Default: 127.0.0.1:9000." default:"127.0.0.1:9000" placeholder:"ADDR"`
	Secret []string `help:"What the callbacks are signed with, one of several where it is given more than once; without it signatures are not checked." sep:"none" env:"BOOMERANG_SECRET" placeholder:"S"`
	Once   bool     `help:"End after the first callback that was taken; the exit code is 1 if it did not hold."`
	Fail   int      `help:"Answer 500 to so many callbacks before one is taken, to watch them come again." placeholder:"N"`
}

// Help says more than one line.
func (listenCmd) Help() string {
	return `A receiver for trying out. It verifies both signatures and shows what arrived. The server calls back private
addresses only where it is told to:

  BOOMERANG_CALLBACK_ALLOW_CIDRS=127.0.0.0/8 boomerang serve &
  boomerang listen --secret s3cret &
  boomerang run hello.py --callback-url http://127.0.0.1:9000/ --secret s3cret`
}

// Run receives until a signal comes, or once.
func (l *listenCmd) Run(ctx context.Context) error {
	secrets := given(l.Secret)
	if err := checkSecrets(secrets); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.Addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	fmt.Fprintf(os.Stderr, "· waiting for callbacks on http://%s/\n", listener.Addr())
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	color := term.IsTerminal(int(os.Stdout.Fd()))
	held := true
	handler := receiver.New(receiver.Config{Secrets: secrets, FailFirst: l.Fail, Handle: func(c receiver.Callback) {
		_ = receiver.PrettyPrint(os.Stdout, c, color) // a terminal that is gone is no reason to refuse a callback
		if l.Once && c.Status != 500 {
			held = c.Status == 200
			stop() // Serve lets this answer be sent
		}
	}})
	if err := receiver.Serve(ctx, listener, handler); err != nil {
		return err
	}
	if !held {
		return exitError(1)
	}
	return nil
}

// checkSecrets refuses a secret that the server would refuse. Its error names the secret by its place and never shows it.
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

// given are the secrets that are not empty: a variable that is set to nothing is none.
func given(secrets []string) []string {
	return slices.DeleteFunc(secrets, func(secret string) bool { return secret == "" })
}
