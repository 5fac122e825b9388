package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"boomerang/internal/app"
	"boomerang/internal/auth"
	"boomerang/internal/config"
)

// settings are the flags that say where a server's configuration and data are.
type settings struct {
	Config  string `help:"Configuration file. Default: boomerang.yaml in configs/ beside the program or in /etc/boomerang; without one, built-in defaults." type:"path" env:"BOOMERANG_CONFIG" placeholder:"FILE"`
	DataDir string `help:"Directory of the database and the keys. Default: data_dir of the configuration, data." type:"path" placeholder:"DIR"`
}

func (s settings) load() (config.Config, error) {
	c, err := config.Load(s.Config, os.Environ())
	if err != nil {
		return config.Config{}, err
	}
	if s.DataDir != "" {
		c.DataDir = s.DataDir
	}
	return c, nil
}

type serveCmd struct {
	settings
	Addr string `help:"Address to listen on, host:port. Default: http.addr of the configuration, 127.0.0.1:8080." placeholder:"ADDR"`
	Role string `help:"all, or one half of the work: api listens and has no access to Docker, runner has it and no listener." enum:",all,api,runner" default:"" placeholder:"ROLE"`
}

// Help says more than one line.
func (serveCmd) Help() string {
	return `The server stores every execution before it answers, runs each in a container of its own, and posts the result
to the callback URL until it arrives.

  boomerang serve --data-dir data --addr 127.0.0.1:8080

Every key of the configuration file can be set by the environment, its path in upper case; lists are separated by commas:

  BOOMERANG_CALLBACK_ALLOW_CIDRS=127.0.0.0/8 boomerang serve

Whoever holds Docker's socket holds the machine. So the half that listens and the half that runs programs can be two processes, which share
the data directory and nothing else:

  boomerang serve --role runner --data-dir data &
  boomerang serve --role api --data-dir data

SIGTERM stops it and leaves running executions running: the next start follows them. A second signal ends it at once.
SIGHUP reads languages.yaml, the files of token keys and the TLS certificate again.`
}

// Run serves until a signal comes.
func (s *serveCmd) Run(ctx context.Context) error {
	c, err := s.load()
	if err != nil {
		return err
	}
	if s.Addr != "" {
		c.HTTP.Addr = s.Addr
	}
	if s.Role != "" {
		c.Role = config.Role(s.Role)
	}
	log := c.Log.Logger(os.Stderr)
	server, err := app.New(ctx, c, version, log)
	if err != nil {
		return err
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	ctx, stop := context.WithCancel(ctx)
	reloader := make(chan struct{})
	go func() {
		defer close(reloader)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				if err := server.Reload(); err != nil {
					log.WithError(err).Error("not everything was reloaded; what could not be stays as it was")
				} else {
					log.Info("languages and keys reloaded")
				}
			}
		}
	}()
	err = server.Run(ctx)
	stop()
	<-reloader
	return err
}

type tokenCmd struct {
	settings
	Sub   string        `help:"Who the token is for: the owner of all that is submitted with it." required:"" placeholder:"NAME"`
	TTL   time.Duration `help:"How long it is good for." default:"24h" name:"ttl"`
	Scope []string      `help:"What more it may do. The one scope is admin: see and end everybody's executions." placeholder:"admin"`
}

// Help says more than one line.
func (tokenCmd) Help() string {
	return `The token is signed with the key in the data directory, so give the same --config and --data-dir as to serve.
Where others sign the tokens (auth.keys, auth.jwks_url) and auth.key is not set, it refuses.
Only the token is printed:

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
