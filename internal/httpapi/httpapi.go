// Package httpapi is the server's face: the routes, who may use them, what they read and what they answer. It is the only
// room that writes an error to a client, and it holds the OpenAPI description of all of it.
//
// It refuses to know how executions are stored, run and delivered.
package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/alecthomas/units"
	"github.com/gorilla/mux"
	"github.com/sirupsen/logrus"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/callback"
	"boomerang/internal/execution"
	"boomerang/internal/follow"
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
	// Rate is off unless set: what a subject can take of the machine is bounded by its queue.
	Rate Rate `yaml:"rate"`
	// Streams is how many streams (events, WebSockets, POST /execute) of one subject may be open. 0: any number.
	Streams int `yaml:"streams"`
	// TrustedProxies are the addresses whose X-Forwarded-For and X-Forwarded-Proto are believed.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
	// PublicURL is where HopX's clients are sent that look a sandbox up. Empty: where their request was sent to.
	PublicURL string `yaml:"public_url"`
	// TLSCert and TLSKey are PEM files; with both the server speaks TLS. They are read again by Certificate.Reload.
	TLSCert string `yaml:"tls_cert"`
	TLSKey  string `yaml:"tls_key"`
}

// Defaults listens for this machine alone.
func Defaults() Config {
	return Config{Addr: "127.0.0.1:8080", Body: 8 * units.MiB, Timeout: 30 * time.Second, Streams: 1000}
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
	if c.Streams < 0 {
		return fmt.Errorf("streams must not be negative, but is %d", c.Streams)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("tls_cert and tls_key must both be set, or neither")
	}
	if err := c.Rate.validate(); err != nil {
		return fmt.Errorf("rate.%w", err)
	}
	if c.PublicURL != "" {
		return checkPublicURL(c.PublicURL)
	}
	return nil
}

// Admission turns submissions into stored executions. Errors are faults; after one, nothing is stored.
type Admission interface {
	Admit(ctx context.Context, s admission.Submission) (e execution.Execution, replayed bool, err error)
	AdmitBatch(ctx context.Context, b admission.Batch) (all []execution.Execution, replayed bool, err error)
	// CheckCallback refuses a callback as Admit would.
	CheckCallback(s admission.Submission) error
	// Environment returns the variables that each program of the subject has without asking.
	Environment(ctx context.Context, subject string) (map[string]string, error)
	// SetEnvironment replaces them, or lays env over them, and returns what they are then.
	SetEnvironment(ctx context.Context, subject string, env map[string]string, merge bool) (map[string]string, error)
}

// Records reads what is stored. Errors: faults EXECUTION_NOT_FOUND, SERVICE_UNAVAILABLE.
type Records interface {
	// Get returns an execution with its result and output.
	Get(ctx context.Context, id execution.ID) (execution.Execution, error)
	// List returns executions newest first; their results carry the counts of what was printed, not the text.
	List(ctx context.Context, f execution.Filter) ([]execution.Execution, error)
	// Left returns what became of the workspace that an execution could change; nil for none, or while it has not ended.
	Left(ctx context.Context, id execution.ID) (*execution.Left, error)
	// Delivery returns the delivery of an execution; its state is none while the execution has not ended.
	Delivery(ctx context.Context, id execution.ID) (execution.Delivery, error)
	// Ended returns a channel that is closed when the execution ends from now on, and a function that gives it back.
	Ended(id execution.ID) (ended <-chan struct{}, release func())
	follow.Records
	// Output returns what is kept of one stream of an ended execution.
	Output(ctx context.Context, id execution.ID, stream execution.Stream) (execution.Output, error)
	// Share counts what is one subject's.
	Share(ctx context.Context, subject string) (execution.Share, error)
}

// Deliveries is the record of the callbacks. Errors: faults EXECUTION_NOT_FOUND, CONFLICT where there is nothing to deliver,
// SERVICE_UNAVAILABLE.
type Deliveries interface {
	// Attempts returns all attempts of a delivery, the first one first.
	Attempts(ctx context.Context, id execution.ID) ([]execution.Attempt, error)
	// Breakers returns the destinations that are left alone, or were until their next attempt.
	Breakers(ctx context.Context) ([]execution.Breaker, error)
	// Deliveries lists deliveries, those created last first, without bodies and sealed fields.
	Deliveries(ctx context.Context, f execution.DeliveryFilter) ([]execution.Delivery, error)
	// Redeliver makes a delivery due at now, whatever became of it.
	Redeliver(ctx context.Context, id execution.ID, now time.Time) error
	// Recover does the same for dead deliveries and returns for how many, also beside an error.
	Recover(ctx context.Context, r execution.Recovery, now time.Time) (recovered int, err error)
}

// Live knows the programs that run here.
type Live interface {
	// Live returns what a program has written to a stream so far; false when it does not run here. What it returned
	// once stays a prefix of what it returns later. It stays true until the result is stored.
	Live(id execution.ID, stream execution.Stream) (kept []byte, ok bool)
	follow.Live
}

// Authenticator tells who holds a token or an API key. Errors: faults AUTHENTICATION_REQUIRED, INVALID_TOKEN.
type Authenticator interface {
	Authenticate(token string) (auth.Principal, error)
	AuthenticateKey(key string) (auth.Principal, error)
	// Issue makes a token; where there are API keys it can.
	Issue(subject string, ttl time.Duration, scopes ...string) (string, error)
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
	Deliveries    Deliveries
	Leftovers     Leftovers
	Live          Live
	Authenticator Authenticator
	Languages     Languages
	Workspaces    Workspaces
	Limits        execution.WorkspaceLimits
	// Cancel asks for the end of an execution and returns the record after that; an ended one is returned as it is.
	Cancel func(ctx context.Context, id execution.ID) (execution.Execution, error)
	// Try sends a sample callback now. What goes wrong on the way is no error.
	Try     func(ctx context.Context, s callback.Sample) (callback.Trial, error)
	Checks  []Check
	Notes   func(ctx context.Context) []string // what /readyz warns of; nil = nothing
	Inline  int                                // bytes of each stream that a record shows, as a callback does
	Version string
	// Answered is told of every request: by the route's path, or "none", so that there are few of them.
	Answered func(method, route string, status int, took time.Duration)
	Log      *logrus.Entry
	Now      func() time.Time
}

type api struct {
	Deps
	config  Config
	started time.Time
	router  *mux.Router
	whole   wholeRecords
	ready   *readiness
	trials  chan struct{} // holds one for each callback that is being tested
	hub     *follow.Hub
	streams *places

	subjects, addresses *limiter
	uploads             uploads
}

// New makes the handler of the whole API; c must be valid.
func New(c Config, d Deps) (http.Handler, error) {
	all := wholeRecords{d.Records, d.Leftovers}
	a := &api{
		Deps: d, config: c, started: d.Now(), whole: all, ready: newReadiness(d.Checks, d.Now, d.Log), trials: make(chan struct{}, maxTrials),
		hub: follow.New(all, d.Live, d.Log), streams: newPlaces(c.Streams),
		subjects: newLimiter(c.Rate.PerSubject), addresses: newLimiter(c.Rate.PerAddress),
	}
	a.router = a.routes()
	return a, nil
}
