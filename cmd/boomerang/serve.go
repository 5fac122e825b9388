package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/app"
	"boomerang/internal/auth"
	"boomerang/internal/config"
)

// dataFlags are the flags of commands that work with a server's data directory.
type dataFlags struct {
	Config  string `help:"Configuration file." type:"path" env:"BOOMERANG_CONFIG" placeholder:"FILE"`
	DataDir string `help:"Data directory. Default: data_dir of the configuration." type:"path" placeholder:"DIR"`
}

func (f dataFlags) load() (config.Config, error) {
	c, err := config.Load(f.Config, os.Environ())
	if err != nil {
		return config.Config{}, err
	}
	if f.DataDir != "" {
		c.DataDir = f.DataDir
	}
	return c, nil
}

type serveCmd struct {
	dataFlags
	Addr string       `help:"Address to listen on. Default: http.addr of the configuration." placeholder:"ADDR"`
	Role *config.Role `help:"all, api or runner. Default: all." enum:"all,api,runner" placeholder:"ROLE"`
}

// Help implements kong.HelpProvider.
func (serveCmd) Help() string {
	return `The server stores each execution before it answers the request, runs the code in a container of its own,
and posts the result to the callback URL until it arrives.

  boomerang serve --data-dir data --addr 127.0.0.1:8080

Without --config the server reads boomerang.yaml in configs/ beside the program or in /etc/boomerang. Without such a
file it uses built-in defaults. A flag takes precedence over an environment variable, and an environment variable over
the file. The variable of a key is the key's path in upper case; commas separate the elements of a list:

  BOOMERANG_CALLBACK_ALLOW_CIDRS=127.0.0.0/8 boomerang serve

Access to Docker's socket amounts to root on the machine. Therefore two processes can share the work: the role api
listens and has no access to Docker; the role runner uses Docker and does not listen. They share only the data
directory:

  boomerang serve --role runner --data-dir data &
  boomerang serve --role api --data-dir data

SIGTERM stops the server. Running executions continue, and the next start of the server takes them over. A second
SIGTERM ends the process at once. SIGHUP reloads languages.yaml, the API keys, the
quotas, the token keys and the TLS certificate.`
}

// Run serves until a signal arrives.
func (s *serveCmd) Run(ctx context.Context) error {
	c, err := s.load()
	if err != nil {
		return err
	}
	if s.Addr != "" {
		c.HTTP.Addr = s.Addr
	}
	if s.Role != nil {
		c.Role = *s.Role
	}
	if err := c.Validate(); err != nil {
		return err
	}
	log := c.Log.Logger(os.Stderr)
	server, err := app.New(ctx, c, version, log)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	stopped := reloadOnHangup(ctx, reloading(c, s.load, server.Reload), log)
	err = server.Run(ctx)
	stop()
	<-stopped
	return err
}

// reloading returns a function that loads the configuration and applies it. If it cannot be loaded, the last one that
// could be is applied again, because it names other files.
func reloading(
	last config.Config, load func() (config.Config, error), apply func(config.Config) error,
) func() error {
	return func() error {
		fresh, err := load()
		if err == nil {
			last = fresh
		}
		return errors.Join(err, apply(last))
	}
}

// reloadOnHangup calls reload on each SIGHUP until ctx ends. It closes the channel when it has stopped.
func reloadOnHangup(ctx context.Context, reload func() error, log *logrus.Entry) (stopped <-chan struct{}) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer signal.Stop(hangup)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				if err := reload(); err != nil {
					log.WithError(err).Error("not all files were reloaded; the others stay as they were")
				} else {
					log.Info("languages, keys and quotas reloaded")
				}
			}
		}
	}()
	return done
}

type tokenCmd struct {
	dataFlags
	Sub string `help:"Subject: the owner of everything submitted with the token." required:"" placeholder:"NAME"`

	TTL   time.Duration `help:"Lifetime of the token." default:"24h" name:"ttl"`
	Scope []string      `help:"Scope; admin sees and cancels all executions." enum:"admin" placeholder:"admin"`
}

// Help implements kong.HelpProvider.
func (tokenCmd) Help() string {
	return `The key that signs the token is in the data directory, so --config and --data-dir must be those of the
server. If another service issues the tokens (auth.keys or auth.jwks_url, without auth.key), the command fails. It
prints only the token:

  export BOOMERANG_TOKEN=$(boomerang token --data-dir data --sub me)`
}

// Run prints the token.
func (t *tokenCmd) Run() error {
	c, err := t.load()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	tokens, err := auth.New(c.Auth, c.DataDir)
	if err != nil {
		return err
	}
	token, err := tokens.Issue(t.Sub, t.TTL, t.Scope...)
	if err != nil {
		return err
	}
	fmt.Println(token)
	return nil
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run() error {
	_, err := fmt.Printf("boomerang %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
