// Package httpapi is the server's face: the routes, who may use them, what they read and what they answer. It is the only
// room that writes an error to a client, and it holds the OpenAPI description of all of it.
//
// It refuses to know how executions are stored, run and delivered.
package httpapi

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/alecthomas/units"
	"github.com/gorilla/mux"
	"github.com/sirupsen/logrus"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/language"
)

// Config of the listener.
type Config struct {
	// Addr is the host:port to listen on; port 0 takes a free one.
	Addr string `yaml:"addr"`
	// Body is the longest request body. Code doubles in size or more when it is written as JSON.
	Body units.Base2Bytes `yaml:"body"`
	// Timeout bounds one request: its reading, its work and its answer. Those that wait on purpose have more.
	Timeout time.Duration `yaml:"timeout"`
}

// Defaults listens for this machine alone.
func Defaults() Config {
	return Config{Addr: "127.0.0.1:8080", Body: 8 * units.MiB, Timeout: 30 * time.Second}
}

// Validate names the key that is wrong.
func (c Config) Validate() error {
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return fmt.Errorf("addr must be host:port: %w", err)
	}
	if c.Body < units.KiB || c.Body > units.GiB {
		return fmt.Errorf("body must be between 1KiB and 1GiB, not %s", c.Body)
	}
	if c.Timeout < time.Second || c.Timeout > 10*time.Minute {
		return fmt.Errorf("timeout must be between 1s and 10m, not %s", c.Timeout)
	}
	return nil
}

// Admission turns submissions into stored executions. Errors are faults; after one, nothing is stored.
type Admission interface {
	Admit(ctx context.Context, s admission.Submission) (e execution.Execution, replayed bool, err error)
}

// Records reads what is stored. Errors: faults EXECUTION_NOT_FOUND, SERVICE_UNAVAILABLE.
type Records interface {
	// Get returns an execution with its result and output.
	Get(ctx context.Context, id execution.ID) (execution.Execution, error)
	// List returns executions newest first; their results carry the counts of what was printed, not the text.
	List(ctx context.Context, f execution.Filter) ([]execution.Execution, error)
	// Delivery returns the delivery of an execution; its state is none while the execution has not ended.
	Delivery(ctx context.Context, id execution.ID) (execution.Delivery, error)
	// Ended returns a channel that is closed when the execution ends from now on, and a function that gives it back.
	Ended(id execution.ID) (ended <-chan struct{}, release func())
}

// Live knows the programs that run here.
type Live interface {
	// Live returns what a program has written to a stream so far; false when it does not run here. What it returned
	// once stays a prefix of what it returns later. It stays true until the result is stored.
	Live(id execution.ID, stream execution.Stream) (kept []byte, ok bool)
}

// Authenticator tells who holds a token. Errors: faults AUTHENTICATION_REQUIRED, INVALID_TOKEN.
type Authenticator interface {
	Authenticate(token string) (auth.Principal, error)
}

// Languages is the catalogue.
type Languages interface {
	// Find resolves a name or an alias. Errors: fault UNSUPPORTED_LANGUAGE.
	Find(name string) (language.Language, error)
	// Languages lists all, sorted by name.
	Languages() []language.Language
}

// Deps are the rooms and facts that the API works with.
type Deps struct {
	Admission     Admission
	Records       Records
	Live          Live
	Authenticator Authenticator
	Languages     Languages
	// Cancel asks for the end of an execution and returns the record after that; an ended one is returned as it is.
	Cancel  func(ctx context.Context, id execution.ID) (execution.Execution, error)
	Checks  []Check
	Notes   func(ctx context.Context) []string // what /readyz warns of; nil = nothing
	Inline  int                                // bytes of each stream that a record shows, as a callback does
	Version string
	Log     *logrus.Entry
	Now     func() time.Time
}

type api struct {
	Deps
	config  Config
	started time.Time
	router  *mux.Router
	ready   *readiness
}

// New makes the handler of the whole API; c must be valid.
func New(c Config, d Deps) (http.Handler, error) {
	a := &api{Deps: d, config: c, started: d.Now(), ready: newReadiness(d.Checks, d.Now, d.Log)}
	a.router = a.routes()
	return a, nil
}

// Server makes the server that h is safe behind: every request is bounded in time and size. When it shuts down, those
// that wait for an execution are answered at once.
func Server(c Config, h http.Handler) *http.Server {
	stopping := make(chan struct{})
	server := &http.Server{
		Addr:              c.Addr,
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       c.Timeout,
		WriteTimeout:      c.Timeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), stoppingKey{}, (<-chan struct{})(stopping))
		},
	}
	server.RegisterOnShutdown(sync.OnceFunc(func() { close(stopping) }))
	return server
}

type stoppingKey struct{}

// stopping is closed when the server that ctx belongs to shuts down; nil, which never is, without such a server.
func stopping(ctx context.Context) <-chan struct{} {
	ch, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return ch
}
