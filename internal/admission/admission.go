// Package admission turns a submission into a stored execution, or refuses it with a fault that names the field.
//
// The package does not know HTTP or SQL: submissions arrive as values, and a Store stores executions.
package admission

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"boomerang/internal/crash"
	"boomerang/internal/execution"
	"boomerang/internal/language"
	"boomerang/internal/quota"
	"boomerang/internal/workspace"
)

// Languages is the catalogue of languages.
type Languages interface {
	// Find resolves a name or an alias; "" is the default language. Errors: fault UNSUPPORTED_LANGUAGE.
	Find(name string) (language.Language, error)
}

// Policy decides where a callback may go and which headers it may carry. Errors are faults that name the field and the
// rule.
type Policy interface {
	CheckURL(raw string) error
	CheckHeaders(headers map[string]string) error
}

// Sealer encrypts fields with a key of the data directory.
type Sealer interface {
	// Seal encrypts the field's bytes and binds them to the execution and the field's name. Empty input gives an empty
	// seal.
	Seal(id execution.ID, field string, plain []byte) execution.Sealed
	// Unseal decrypts a seal that Seal made for this execution and field.
	Unseal(id execution.ID, field string, s execution.Sealed) ([]byte, error)
	// Current reports whether Seal made s with the current key and format.
	Current(s execution.Sealed) bool
	// Fingerprint returns a keyed hash of data: equal for equal bytes, and otherwise without information about them.
	Fingerprint(data []byte) string
}

// Store stores executions and environments.
type Store interface {
	// Enqueue stores e durably as queued. If an execution is already stored under the key, Enqueue returns that
	// execution and replayed is true. Errors: faults CONFLICT, QUEUE_FULL, SERVICE_UNAVAILABLE; then nothing is stored.
	Enqueue(ctx context.Context, e execution.Execution, key *execution.Idempotency, limits execution.QueueLimits) (
		stored execution.Execution, replayed bool, err error)
	// EnqueueAll stores all or none of the executions of one subject, in their order. Errors are those of Enqueue.
	EnqueueAll(
		ctx context.Context, all []execution.Execution, key *execution.Idempotency, limits execution.QueueLimits,
	) (
		stored []execution.Execution, replayed bool, err error)
	// Earlier returns the execution that Enqueue would replay at a time; found is false if Enqueue would store a new
	// one. Errors are those of Enqueue.
	Earlier(ctx context.Context, subject string, key execution.Idempotency, at time.Time) (
		stored execution.Execution, found bool, err error)
	// Environment returns the environment that ChangeEnvironment stored for the subject, or nil. Errors: fault
	// SERVICE_UNAVAILABLE.
	Environment(ctx context.Context, subject string) (execution.Sealed, error)
	// Environments lists the subjects that have an environment.
	Environments(ctx context.Context) ([]string, error)
	// ChangeEnvironment replaces a subject's environment with the result of change, durably and excluding other
	// changes. Errors: the error of change, fault SERVICE_UNAVAILABLE; then nothing is changed.
	ChangeEnvironment(
		ctx context.Context, subject string, change func(execution.Sealed) (execution.Sealed, error),
	) error
}

// Submission is a caller's request for an execution. Its types are right, but its values are not checked yet. Zero
// values stand for fields that were not given.
type Submission struct {
	Subject         string // "sub" of the caller's token
	Name            string // the caller's name for the execution; "" = none
	Background      bool   // no callback: the result is only stored
	Synchronous     bool   // the caller waits for the result; Background is set too
	Code            string
	CallbackURL     string
	Language        string // name or alias; "" = the default
	Timeout         int64  // seconds; 0 = the default
	WorkingDir      string // "" = /workspace
	Env             map[string]string
	Args            []string // appended to the language's command
	Stdin           []byte
	Files           []File
	Artifacts       []string // globs of files to keep after the execution
	Limits          execution.Limits
	Metadata        map[string]string // returned with the result
	Network         string            // "" = the language's network
	Workspace       execution.WorkspaceUse
	CallbackHeaders map[string]string
	Secrets         []string // keys that sign the callback, newest first; unsigned if empty
	IdempotencyKey  string   // "" = none
	Body            []byte   // body of the request, which the idempotency key identifies
	Depth           int      // number of callbacks of this server that led to this submission, ≥ 0
}

// Deps are the dependencies of an Admission.
type Deps struct {
	Quotas     *quota.Quotas
	MaxStored  int64 // bytes of all results; 0 is no limit
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

	fetching *quota.Counter // submissions of each subject whose files are being fetched
}

// New returns an Admission. The configuration must be valid.
func New(c Config, deps Deps) *Admission {
	return &Admission{
		Deps: deps, config: c, batches: make(chan struct{}, maxBatches), fetching: quota.NewCounter(),
	}
}

// Admit stores the submission as a queued execution, which is durable when Admit returns without an error. If replayed
// is true, an earlier submission with this idempotency key made the execution, and nothing new was stored. Errors are
// faults, and then nothing was stored.
func (a *Admission) Admit(ctx context.Context, s Submission) (e execution.Execution, replayed bool, err error) {
	l, err := a.validate(s)
	if err != nil {
		return execution.Execution{}, false, err
	}
	key := a.idempotency(s.IdempotencyKey, s.Body)
	if hasURLFiles(s) {
		if key != nil { // a replay must not depend on files that may be gone by now
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
	defer crash.Point("after-enqueue")
	return a.Store.Enqueue(ctx, e, key, a.queueLimits(s.Subject))
}

// validate finds the language of a submission and applies every rule. Errors are faults that name the field.
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

func (a *Admission) queueLimits(subject string) execution.QueueLimits {
	limits := a.Quotas.Of(subject)
	return execution.QueueLimits{
		Total:         a.config.Queue.Total,
		PerSubject:    limits.Queued,
		Size:          int64(a.config.Queue.Size),
		SubjectSize:   int64(limits.QueuedSize),
		SubjectStored: int64(limits.StoredSize),
		Stored:        a.MaxStored,
		Workspaces:    a.Workspaces.PerSubject.Count,
	}
}

// newExecution returns the execution of a valid submission. It seals the secret fields before any other code sees the
// execution.
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
	at := a.Now().UTC().Truncate(time.Microsecond) // the wire format shows microseconds
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

// The timeouts of executions without a callback, unless timeout.max is shorter.
const (
	backgroundTimeout     = 300 * time.Second // default of an execution in the background
	synchronousTimeout    = 120 * time.Second // default of a synchronous execution
	maxSynchronousTimeout = 300 * time.Second // longest timeout that a synchronous execution may ask for
)

// timeout returns the requested timeout, or the default of this kind of submission.
func (a *Admission) timeout(s Submission) time.Duration {
	switch {
	case s.Timeout != 0:
		return time.Duration(s.Timeout) * time.Second
	case s.Synchronous:
		return min(synchronousTimeout, a.maxTimeout(s))
	case s.Background:
		return min(backgroundTimeout, a.maxTimeout(s))
	}
	return min(a.config.Timeout.Default, a.maxTimeout(s))
}

// maxTimeout returns the longest timeout that the submission may ask for.
func (a *Admission) maxTimeout(s Submission) time.Duration {
	most := a.config.Timeout.Max
	if s.Synchronous {
		most = min(most, maxSynchronousTimeout)
	}
	if quota := a.Quotas.Of(s.Subject).Timeout; quota > 0 {
		most = min(most, quota)
	}
	return most
}

// marshalNonEmpty returns the JSON of v, or nil if v is empty.
func marshalNonEmpty[T map[string]string | []string](v T) ([]byte, error) {
	if len(v) == 0 {
		return nil, nil
	}
	return json.Marshal(v)
}
