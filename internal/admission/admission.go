// Package admission turns a submission into a stored execution, or refuses it with a fault that names the field.
//
// It refuses to know HTTP and SQL: where a submission comes from, and how an execution is stored.
package admission

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/language"
	"boomerang/internal/workspace"
)

// Languages is the catalogue.
type Languages interface {
	// Find resolves a name or an alias; "" is the default language. Errors: fault UNSUPPORTED_LANGUAGE.
	Find(name string) (language.Language, error)
}

// Policy says where a callback may go and what it may carry. Errors are faults that name the field and the rule.
type Policy interface {
	CheckURL(raw string) error
	CheckHeaders(headers map[string]string) error
}

// Sealer hides fields from everybody without the data directory's key.
type Sealer interface {
	// Seal binds the field's bytes to the execution and the field's name; of nothing it makes nothing.
	Seal(id execution.ID, field string, plain []byte) execution.Sealed
	// Unseal opens what Seal has closed for the same execution and field.
	Unseal(id execution.ID, field string, s execution.Sealed) ([]byte, error)
	// Current tells whether what Seal made is as it would make it now, with the key of today.
	Current(s execution.Sealed) bool
	// Fingerprint is the same for the same bytes and tells nothing about them.
	Fingerprint(data []byte) string
}

// Store keeps executions.
type Store interface {
	// Enqueue stores e durably as queued, or finds what was stored under the key: then replayed is true and stored is
	// that execution. Errors: faults CONFLICT, QUEUE_FULL, SERVICE_UNAVAILABLE; nothing is stored then.
	Enqueue(ctx context.Context, e execution.Execution, key *execution.Idempotency, limits execution.QueueLimits) (
		stored execution.Execution, replayed bool, err error)
	// EnqueueAll stores all or none of the executions of one subject, in their order. Errors are those of Enqueue.
	EnqueueAll(ctx context.Context, all []execution.Execution, key *execution.Idempotency, limits execution.QueueLimits) (
		stored []execution.Execution, replayed bool, err error)
	// Earlier returns the execution that Enqueue would replay at a time; false when it would store a new one. Errors are those of Enqueue.
	Earlier(ctx context.Context, subject string, key execution.Idempotency, at time.Time) (
		stored execution.Execution, found bool, err error)
	// Environment returns what ChangeEnvironment has stored for the subject; nil is nothing. Errors: fault SERVICE_UNAVAILABLE.
	Environment(ctx context.Context, subject string) (execution.Sealed, error)
	// Environments lists the subjects that have one.
	Environments(ctx context.Context) ([]string, error)
	// ChangeEnvironment stores what change makes of it, durably, while nobody else changes it. Errors: that of change, fault
	// SERVICE_UNAVAILABLE; nothing is changed then.
	ChangeEnvironment(ctx context.Context, subject string, change func(execution.Sealed) (execution.Sealed, error)) error
}

// Submission is what a caller asks for, with types but not yet with sense. Zero values stand for what was not given.
type Submission struct {
	Subject         string // who asks: the "sub" of the token
	Name            string // what the caller calls it; "" = nothing
	Background      bool   // the result is to be kept and not posted: there is no callback
	Synchronous     bool   // the caller waits for the result; Background, too
	Code            string
	CallbackURL     string
	Language        string // name or alias; "" = the default
	Timeout         int64  // seconds; 0 = the default
	WorkingDir      string // "" = /workspace
	Env             map[string]string
	Args            []string // behind the language's command
	Stdin           []byte
	Files           []File
	Artifacts       []string // globs of the files that are wanted when it has ended
	Limits          execution.Limits
	Metadata        map[string]string // sent back with the result
	Network         string            // "" = the language's
	Workspace       execution.WorkspaceUse
	CallbackHeaders map[string]string
	Secrets         []string // sign the callback, newest first; none = unsigned
	IdempotencyKey  string   // "" = none
	Body            []byte   // the request as it came: what the idempotency key stands for
	Depth           int      // how many callbacks of ours led to this submission, ≥ 0
}

// Deps are the dependencies of an Admission.
type Deps struct {
	Workspaces workspace.Config
	Languages  Languages
	Policy     Policy
	Fetcher    Fetcher // may be nil if the configuration allows no files by URL
	Sealer     Sealer
	Store      Store
	Now        func() time.Time
}

// Admission admits submissions. It is safe for concurrent use.
type Admission struct {
	Deps
	config  Config
	batches chan struct{} // holds one value for each batch in preparation

	mu       sync.Mutex     // guards fetching
	fetching map[string]int // number of submissions per subject whose files are being fetched
}

// New returns an Admission. The configuration must be valid.
func New(c Config, deps Deps) *Admission {
	return &Admission{Deps: deps, config: c, batches: make(chan struct{}, maxBatches), fetching: make(map[string]int)}
}

// Admit stores the submission as a queued execution. When it returns without an error the execution is durable; replayed
// tells that an earlier submission with the same idempotency key made it, and that nothing new was stored. Errors are
// faults, and nothing was stored.
func (a *Admission) Admit(ctx context.Context, s Submission) (e execution.Execution, replayed bool, err error) {
	l, err := a.validate(s)
	if err != nil {
		return execution.Execution{}, false, err
	}
	key := a.idempotency(s.IdempotencyKey, s.Body)
	if hasURLFiles(s) {
		if key != nil { // what is replayed needs nothing of what may be gone by now
			if e, replayed, err = a.Store.Earlier(ctx, s.Subject, *key, a.Now()); err != nil || replayed {
				return e, replayed, err
			}
		}
		if s, err = a.fetchFiles(ctx, s); err != nil {
			return execution.Execution{}, false, err
		}
	}
	env, err := a.Environment(ctx, s.Subject)
	if err != nil {
		return execution.Execution{}, false, err
	}
	if s, err = a.withEnvironment(env, s); err != nil {
		return execution.Execution{}, false, err
	}
	if e, err = a.newExecution(s, l.Name); err != nil {
		return execution.Execution{}, false, err
	}
	return a.Store.Enqueue(ctx, e, key, a.queueLimits())
}

// judge finds the language of a submission and applies every rule. Errors are faults that name the field.
func (a *Admission) validate(s Submission) (language.Language, error) {
	if err := a.checkFields(s); err != nil {
		return language.Language{}, err
	}
	l, err := a.Languages.Find(s.Language)
	if err != nil {
		return language.Language{}, err
	}
	return l, checkLanguage(l, s)
}

func (a *Admission) idempotency(key string, body []byte) *execution.Idempotency {
	if key == "" {
		return nil
	}
	return &execution.Idempotency{Key: key, Fingerprint: a.Sealer.Fingerprint(body)}
}

func (a *Admission) queueLimits() execution.QueueLimits {
	return execution.QueueLimits{Total: a.config.Queue.Total, PerSubject: a.config.Queue.PerSubject, Workspaces: a.Workspaces.PerSubject.Count}
}

// execution makes of a submission that was found good what is stored of it. What may be secret is sealed here, before
// anything else sees it.
func (a *Admission) newExecution(s Submission, languageName string) (execution.Execution, error) {
	if s.Workspace.Name == "" && a.Workspaces.Implicit {
		s.Workspace.Name = workspace.Default
	}
	env, err := marshalNonEmpty(s.Env)
	if err != nil {
		return execution.Execution{}, fmt.Errorf("encode env: %w", err)
	}
	input, err := encodeInput(s)
	if err != nil {
		return execution.Execution{}, fmt.Errorf("encode input: %w", err)
	}
	headers, err := marshalNonEmpty(s.CallbackHeaders)
	if err != nil {
		return execution.Execution{}, fmt.Errorf("encode callback headers: %w", err)
	}
	secrets, err := marshalNonEmpty(s.Secrets)
	if err != nil {
		return execution.Execution{}, fmt.Errorf("encode secrets: %w", err)
	}
	at := a.Now().UTC().Truncate(time.Microsecond) // what the wire can show
	id := execution.NewID(at)
	return execution.Execution{
		ID:         id,
		Name:       s.Name,
		Subject:    s.Subject,
		Language:   languageName,
		WorkingDir: cmp.Or(s.WorkingDir, workspace.Dir),
		Timeout:    a.timeout(s),
		Code:       a.Sealer.Seal(id, execution.FieldCode, []byte(s.Code)),
		Env:        a.Sealer.Seal(id, execution.FieldEnv, env),
		EnvNames:   slices.Sorted(maps.Keys(s.Env)),
		Input:      a.Sealer.Seal(id, execution.FieldInput, input),
		Options:    optionsOf(s),
		Callback: execution.Callback{
			URL:         s.CallbackURL,
			Headers:     a.Sealer.Seal(id, execution.FieldCallbackHeaders, headers),
			HeaderNames: slices.Sorted(maps.Keys(s.CallbackHeaders)),
			Secret:      a.Sealer.Seal(id, execution.FieldCallbackSecret, secrets),
			Depth:       s.Depth,
		},
		CreatedAt: at,
		State:     execution.Queued,
	}, nil
}

// The timeouts of programs without a callback, where so long ones are allowed (wire).
const (
	backgroundTimeout     = 300 * time.Second // of one in the background that asks for none
	synchronousTimeout    = 120 * time.Second // of one that is waited for and asks for none
	maxSynchronousTimeout = 300 * time.Second // the longest that one may ask for that is waited for
)

// timeout is what the submission asks for, or the default of its kind.
func (a *Admission) timeout(s Submission) time.Duration {
	switch {
	case s.Timeout != 0:
		return time.Duration(s.Timeout) * time.Second
	case s.Synchronous:
		return min(synchronousTimeout, a.config.Timeout.Max)
	case s.Background:
		return min(backgroundTimeout, a.config.Timeout.Max)
	}
	return a.config.Timeout.Default
}

// marshal makes nothing of nothing.
func marshalNonEmpty[T map[string]string | []string](v T) ([]byte, error) {
	if len(v) == 0 {
		return nil, nil
	}
	return json.Marshal(v)
}
