package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/callback"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/language"
	"boomerang/internal/quota"
	"boomerang/internal/workspace"
)

// noon has more digits than the wire format shows.
var noon = time.Date(2025, 1, 28, 12, 0, 0, 123456789, time.FixedZone("", 3600))

// fakeStore is a store that remembers its arguments.
type fakeStore struct {
	given    []execution.Execution
	key      *execution.Idempotency
	limits   execution.QueueLimits
	replayed bool
	err      error

	environments map[string]execution.Sealed // by subject
}

func (q *fakeStore) Environment(_ context.Context, subject string) (execution.Sealed, error) {
	return q.environments[subject], q.err
}

func (q *fakeStore) Environments(context.Context) ([]string, error) {
	return slices.Sorted(maps.Keys(q.environments)), q.err
}

func (q *fakeStore) ChangeEnvironment(
	_ context.Context, subject string, change func(execution.Sealed) (execution.Sealed, error),
) error {
	env, err := change(q.environments[subject])
	if err == nil {
		if q.environments == nil {
			q.environments = map[string]execution.Sealed{}
		}
		q.environments[subject] = env
	}
	return err
}

func (q *fakeStore) Enqueue(
	_ context.Context, e execution.Execution, key *execution.Idempotency, limits execution.QueueLimits,
) (execution.Execution, bool, error) {
	q.given, q.key, q.limits = append(q.given, e), key, limits
	return e, q.replayed, q.err
}

func (q *fakeStore) Earlier(
	_ context.Context, _ string, _ execution.Idempotency, _ time.Time,
) (e execution.Execution, found bool, err error) {
	if q.replayed {
		return q.given[0], true, q.err
	}
	return e, false, q.err
}

func (q *fakeStore) EnqueueAll(
	_ context.Context, all []execution.Execution, key *execution.Idempotency, limits execution.QueueLimits,
) ([]execution.Execution, bool, error) {
	q.given, q.key, q.limits = append(q.given, all...), key, limits
	return all, q.replayed, q.err
}

// fakeSealer is a sealer whose seals are readable.
type fakeSealer struct{}

func (fakeSealer) Seal(id execution.ID, field string, plain []byte) execution.Sealed {
	if len(plain) == 0 {
		return nil
	}
	return execution.Sealed(fmt.Sprintf("%s/%s/%s", id, field, plain))
}

func (fakeSealer) Unseal(id execution.ID, field string, s execution.Sealed) ([]byte, error) {
	plain, ok := strings.CutPrefix(string(s), fmt.Sprintf("%s/%s/", id, field))
	if len(s) == 0 {
		return nil, nil
	}
	if !ok {
		return nil, fmt.Errorf("%q is not sealed for %s of %s", s, field, id)
	}
	return []byte(plain), nil
}

// Current returns false for a seal that contains "old".
func (fakeSealer) Current(s execution.Sealed) bool { return !strings.Contains(string(s), "old") }

func (fakeSealer) Fingerprint(data []byte) string { return "fingerprint of " + string(data) }

// newTestAdmission returns an Admission with the real catalogue, the real policy and the store q.
func newTestAdmission(t *testing.T, c Config, q *fakeStore) *Admission {
	t.Helper()
	catalogue, err := language.Open(language.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	policy, err := callback.NewPolicy(callback.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	quotas, err := quota.New(quota.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	return New(c, Deps{
		Quotas:     quotas,
		Workspaces: workspace.Defaults(),
		Languages:  catalogue,
		Policy:     policy,
		Fetcher:    &fakeFetcher{},
		Sealer:     fakeSealer{},
		Store:      q,
		Now:        func() time.Time { return noon },
	})
}

// validSubmission returns a submission with only the required fields.
func validSubmission() Submission {
	return Submission{Subject: "ann", Code: "print(1)", CallbackURL: "https://example.com/hook"}
}

func TestAdmitStoresTheSubmission(t *testing.T) {
	q := &fakeStore{}
	s := Submission{
		Subject: "ann", Code: "print(1)", CallbackURL: "https://example.com/hook?a=b", Language: "py", Timeout: 7200,
		WorkingDir: "/tmp/job", Env: map[string]string{"B": "2", "A": "<1>"},
		CallbackHeaders: map[string]string{"X-B": "b", "X-A": "a"},
		Secrets:         []string{"n3w", "s3cret"}, IdempotencyKey: "key-1", Body: []byte("{}"), Depth: 3,
	}
	got, replayed, err := newTestAdmission(t, Defaults(), q).Admit(t.Context(), s)
	if err != nil || replayed {
		t.Fatalf("got replayed %v, error %v; want a new execution", replayed, err)
	}
	sealed := func(field, plain string) execution.Sealed { return fakeSealer{}.Seal(got.ID, field, []byte(plain)) }
	want := execution.Execution{
		ID: got.ID, Subject: "ann", Language: "python", WorkingDir: "/tmp/job", Timeout: 2 * time.Hour,
		Code: sealed("code", "print(1)"), Env: got.Env, EnvNames: []string{"A", "B"},
		Callback: execution.Callback{
			URL: "https://example.com/hook?a=b", Headers: sealed("callback_headers", `{"X-A":"a","X-B":"b"}`),
			HeaderNames: []string{"X-A", "X-B"},
			Secret:      sealed("callback_signature_secret", `["n3w","s3cret"]`), Depth: 3,
		},
		CreatedAt: time.Date(2025, 1, 28, 11, 0, 0, 123456000, time.UTC), State: execution.Queued,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the execution differs (-want +got):\n%s", diff)
	}
	if !got.ID.Valid() {
		t.Errorf("got id %q; want a valid one", got.ID)
	}
	var env map[string]string
	if err := json.Unmarshal([]byte(strings.TrimPrefix(string(got.Env), string(got.ID)+"/env/")), &env); err != nil ||
		!maps.Equal(env, s.Env) {
		t.Errorf("got env %v, %v; want %v", env, err, s.Env)
	}
	if diff := cmp.Diff(&execution.Idempotency{Key: "key-1", Fingerprint: "fingerprint of {}"}, q.key); diff != "" {
		t.Errorf("the key differs (-want +got):\n%s", diff)
	}
	if want := (execution.QueueLimits{
		Total: 100_000, PerSubject: 10_000, Size: 4 << 30, SubjectSize: 256 << 20, SubjectStored: 2 << 30,
		Workspaces: 20,
	}); q.limits != want {
		t.Errorf("got limits %+v; want %+v", q.limits, want)
	}
}

func TestAdmitFillsInDefaults(t *testing.T) {
	q := &fakeStore{}
	s := validSubmission()
	s.Env, s.CallbackHeaders, s.Secrets = map[string]string{}, map[string]string{}, []string{}
	got, _, err := newTestAdmission(t, Defaults(), q).Admit(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if got.Language != "python" || got.Timeout != time.Hour || got.WorkingDir != "/workspace" {
		t.Errorf("got %s for %s in %s; want python for 1h0m0s in /workspace", got.Language, got.Timeout, got.WorkingDir)
	}
	if got.Env != nil || got.Callback.Headers != nil || got.Callback.Secret != nil || got.EnvNames != nil ||
		got.Callback.HeaderNames != nil {
		t.Errorf("got %+v; want nothing sealed that was not given", got)
	}
	if q.key != nil {
		t.Errorf("got key %+v; want none", q.key)
	}
}

func TestAdmitAcceptsTheExtremes(t *testing.T) {
	many := make(map[string]string, 256)
	for i := range 256 {
		many[fmt.Sprintf("V%d", i)] = ""
	}
	tests := map[string]func(*Submission){
		"the longest code":         func(s *Submission) { s.Code = strings.Repeat("x", 1<<20) },
		"code with a NUL":          func(s *Submission) { s.Code = "print('\x00')" },
		"one second":               func(s *Submission) { s.Timeout = 1 },
		"a day":                    func(s *Submission) { s.Timeout = 86_400 },
		"/workspace":               func(s *Submission) { s.WorkingDir = "/workspace" },
		"/tmp":                     func(s *Submission) { s.WorkingDir = "/tmp" },
		"a hidden directory":       func(s *Submission) { s.WorkingDir = "/workspace/..." },
		"a directory with spaces":  func(s *Submission) { s.WorkingDir = "/workspace/a b/ü" },
		"a name of 255 bytes":      func(s *Submission) { s.WorkingDir = "/tmp/" + strings.Repeat("d", 255) },
		"an empty value":           func(s *Submission) { s.Env = map[string]string{"_": ""} },
		"a loader's variable":      func(s *Submission) { s.Env = map[string]string{"LD_PRELOAD": "x", "PATH": ""} },
		"a value with line breaks": func(s *Submission) { s.Env = map[string]string{"A": "1\n2=\t"} },
		"256 variables":            func(s *Submission) { s.Env = many },
		"64 KiB of variables": func(s *Submission) {
			s.Env = map[string]string{"A": strings.Repeat("x", 64<<10-3)}
		},
		"a header for the receiver": func(s *Submission) {
			s.CallbackHeaders = map[string]string{"Authorization": "Bearer x"}
		},
		"a long secret":               func(s *Submission) { s.Secrets = []string{strings.Repeat("s", 1024)} },
		"three secrets":               func(s *Submission) { s.Secrets = []string{"a", "b", "c"} },
		"an empty list of secrets":    func(s *Submission) { s.Secrets = []string{} },
		"a key of one character":      func(s *Submission) { s.IdempotencyKey = "!" },
		"a key of 255 characters":     func(s *Submission) { s.IdempotencyKey = strings.Repeat("~", 255) },
		"the third callback in a row": func(s *Submission) { s.Depth = 3 },
		"an alias":                    func(s *Submission) { s.Language = "nodejs" },
		"a URL with a query":          func(s *Submission) { s.CallbackURL = "http://example.com:8080/a?b=c" },
		"an empty map of variables":   func(s *Submission) { s.Env = map[string]string{} },
		"an empty map of headers":     func(s *Submission) { s.CallbackHeaders = map[string]string{} },
		"a secret that looks encoded": func(s *Submission) {
			s.Secrets = []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
		},
		"a secret of another case":     func(s *Submission) { s.Secrets = []string{"WHSEC_", "Whsec_x"} },
		"a secret with an odd rune":    func(s *Submission) { s.Secrets = []string{"schlüssel\n"} },
		"a subject with a slash in it": func(s *Submission) { s.Subject = "team/ann" },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			q := &fakeStore{}
			s := validSubmission()
			change(&s)
			if _, _, err := newTestAdmission(t, Defaults(), q).Admit(t.Context(), s); err != nil || len(q.given) != 1 {
				t.Errorf("got %v with %d stored; want it stored", err, len(q.given))
			}
		})
	}
}

func TestAdmitRefusesAndNamesTheField(t *testing.T) {
	tooMany := make(map[string]string, 257)
	for i := range 257 {
		tooMany[fmt.Sprintf("V%d", i)] = ""
	}
	env := func(name, value string) func(*Submission) {
		return func(s *Submission) { s.Env = map[string]string{"GOOD": "1", name: value} }
	}
	dir := func(dir string) func(*Submission) { return func(s *Submission) { s.WorkingDir = dir } }
	secrets := func(s ...string) func(*Submission) { return func(to *Submission) { to.Secrets = s } }
	url := func(url string) func(*Submission) { return func(s *Submission) { s.CallbackURL = url } }
	headers := func(h ...string) func(*Submission) {
		return func(s *Submission) {
			s.CallbackHeaders = map[string]string{}
			for _, name := range h {
				s.CallbackHeaders[name] = "v"
			}
		}
	}
	tests := map[string]struct {
		change func(*Submission)
		code   fault.Code
		field  string
		key    string // of the entry, if the field is a map
	}{
		"no code": {func(s *Submission) { s.Code = "" }, fault.MissingParameter, "code", ""},
		"too much code": {
			func(s *Submission) { s.Code = strings.Repeat("x", 1<<20+1) }, fault.PayloadTooLarge, "code", "",
		},
		"no callback":             {url(""), fault.MissingParameter, "callback_url", ""},
		"a relative URL":          {url("/hook"), fault.InvalidRequest, "callback_url", ""},
		"another scheme":          {url("ftp://example.com/"), fault.InvalidRequest, "callback_url", ""},
		"a callback to ourselves": {url("http://127.0.0.1:8080/hook"), fault.CallbackNotAllowed, "callback_url", ""},
		"a callback to the metadata": {
			url("http://169.254.169.254/latest"), fault.CallbackNotAllowed, "callback_url", "",
		},
		"a callback to localhost": {url("http://localhost/hook"), fault.CallbackNotAllowed, "callback_url", ""},
		"an unknown language": {
			func(s *Submission) { s.Language = "cobol" }, fault.UnsupportedLanguage, "language", "",
		},
		"a language in capitals": {
			func(s *Submission) { s.Language = "PYTHON" }, fault.UnsupportedLanguage, "language", "",
		},
		"a negative timeout": {func(s *Submission) { s.Timeout = -1 }, fault.InvalidRequest, "timeout", ""},
		"more than a day":    {func(s *Submission) { s.Timeout = 86_401 }, fault.InvalidRequest, "timeout", ""},
		"more than a duration holds": {
			func(s *Submission) { s.Timeout = 1 << 53 }, fault.InvalidRequest, "timeout", "",
		},
		"a relative directory":      {dir("job"), fault.InvalidRequest, "working_dir", ""},
		"another directory":         {dir("/etc"), fault.InvalidRequest, "working_dir", ""},
		"the root":                  {dir("/"), fault.InvalidRequest, "working_dir", ""},
		"a sibling with its prefix": {dir("/workspaces"), fault.InvalidRequest, "working_dir", ""},
		"a way out":                 {dir("/workspace/../etc"), fault.InvalidRequest, "working_dir", ""},
		"a way out at the end":      {dir("/workspace/.."), fault.InvalidRequest, "working_dir", ""},
		"a slash at the end":        {dir("/workspace/"), fault.InvalidRequest, "working_dir", ""},
		"two slashes":               {dir("/workspace//a"), fault.InvalidRequest, "working_dir", ""},
		"two slashes in front":      {dir("//workspace"), fault.InvalidRequest, "working_dir", ""},
		"a NUL":                     {dir("/workspace/\x00"), fault.InvalidRequest, "working_dir", ""},
		"an open file of ours":      {dir("/proc/self/fd/8"), fault.InvalidRequest, "working_dir", ""},
		"a name of 256 bytes": {
			dir("/tmp/" + strings.Repeat("d", 256)), fault.InvalidRequest, "working_dir", "",
		},
		"a path of 1025 bytes": {
			dir("/tmp" + strings.Repeat("/dddd", 204) + "/"), fault.InvalidRequest, "working_dir", "",
		},
		"an empty name":              {env("", "1"), fault.InvalidRequest, "env", ""},
		"a name with =":              {env("A=B", "1"), fault.InvalidRequest, "env", "A=B"},
		"a name with a digit first":  {env("1A", "1"), fault.InvalidRequest, "env", "1A"},
		"a name with a hyphen":       {env("A-B", "1"), fault.InvalidRequest, "env", "A-B"},
		"a name with a line break":   {env("A\n", "1"), fault.InvalidRequest, "env", "A\n"},
		"a name with a letter apart": {env("Ä", "1"), fault.InvalidRequest, "env", "Ä"},
		"a long name that is none": {
			env(strings.Repeat("-", 100), "1"), fault.InvalidRequest, "env", strings.Repeat("-", 64) + "…",
		},
		"a value with a NUL": {env("A", "1\x00"), fault.InvalidRequest, "env", "A"},
		"too many variables": {func(s *Submission) { s.Env = tooMany }, fault.InvalidRequest, "env", ""},
		"too long variables": {
			env("LONG", strings.Repeat("x", 64<<10-6-7+1)), fault.InvalidRequest, "env", "LONG",
		},
		"a header of the message": {headers("Host"), fault.InvalidRequest, "callback_headers", ""},
		"a header of ours":        {headers("X-HopX-Signature"), fault.InvalidRequest, "callback_headers", ""},
		"one header in two ways":  {headers("X-A", "x-a"), fault.InvalidRequest, "callback_headers", ""},
		"too long a secret": {
			secrets(strings.Repeat("s", 1025)), fault.InvalidRequest, "callback_signature_secret", "",
		},
		"too long an old secret": {
			secrets("new", strings.Repeat("s", 1025)), fault.InvalidRequest, "callback_signature_secret[1]", "",
		},
		"four secrets": {
			secrets("a", "b", "c", "d"), fault.InvalidRequest, "callback_signature_secret", "",
		},
		"an empty secret":        {secrets("new", ""), fault.InvalidRequest, "callback_signature_secret[1]", ""},
		"a prefix without a key": {secrets("whsec_"), fault.InvalidRequest, "callback_signature_secret", ""},
		"a new one without a key": {
			secrets("whsec_", "old"), fault.InvalidRequest, "callback_signature_secret[0]", "",
		},
		"an old one without a key": {
			secrets("new", "whsec_"), fault.InvalidRequest, "callback_signature_secret[1]", "",
		},
		"a key of 23 bytes": {
			secrets("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="), fault.InvalidRequest, "callback_signature_secret", "",
		},
		"a key that is unpadded": {
			secrets("a", "b", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNA"), fault.InvalidRequest,
			"callback_signature_secret[2]", "",
		},
		"too long a key": {
			func(s *Submission) { s.IdempotencyKey = strings.Repeat("k", 256) }, fault.InvalidRequest,
			"Idempotency-Key", "",
		},
		"a key with a space": {
			func(s *Submission) { s.IdempotencyKey = "a b" }, fault.InvalidRequest, "Idempotency-Key", "",
		},
		"a key that is not ASCII": {
			func(s *Submission) { s.IdempotencyKey = "ä" }, fault.InvalidRequest, "Idempotency-Key", "",
		},
		"a key that is not UTF-8": {
			func(s *Submission) { s.IdempotencyKey = "\xff" }, fault.InvalidRequest, "Idempotency-Key", "",
		},
		"the fourth callback so on": {
			func(s *Submission) { s.Depth = 4 }, fault.CallbackNotAllowed, "X-HopX-Callback-Depth", "",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			q := &fakeStore{}
			s := validSubmission()
			test.change(&s)
			_, _, err := newTestAdmission(t, Defaults(), q).Admit(t.Context(), s)
			f := fault.Of(err)
			if err == nil || f.Code != test.code || f.Details["field"] != test.field {
				t.Fatalf("got %v of %v: %v; want %s of %s", f.Code, f.Details["field"], err, test.code, test.field)
			}
			if key, _ := f.Details["key"].(string); key != test.key {
				t.Errorf("got key %q; want %q", key, test.key)
			}
			if len(q.given) != 0 {
				t.Errorf("stored %+v; want nothing", q.given)
			}
		})
	}
}

func TestAdmitListsTheAvailableLanguages(t *testing.T) {
	s := validSubmission()
	s.Language = "cobol"
	_, _, err := newTestAdmission(t, Defaults(), &fakeStore{}).Admit(t.Context(), s)
	supported, _ := fault.Of(err).Details["supported"].([]string)
	if !slices.Contains(supported, "python") {
		t.Errorf("got %v; want the known languages", supported)
	}
}

func TestAdmitReturnsTheStoresErrors(t *testing.T) {
	full := fault.New(fault.QueueFull, "The queue is full.").After(time.Second)
	a := newTestAdmission(t, Defaults(), &fakeStore{err: full})
	if _, _, err := a.Admit(t.Context(), validSubmission()); fault.Of(err) != full {
		t.Errorf("got %v; want the store's own fault", err)
	}
	a = newTestAdmission(t, Defaults(), &fakeStore{replayed: true})
	if _, replayed, err := a.Admit(t.Context(), validSubmission()); err != nil || !replayed {
		t.Errorf("got replayed %v, error %v; want it replayed", replayed, err)
	}
}

func TestAdmitObeysItsConfiguration(t *testing.T) {
	c := Defaults()
	c.Code, c.Timeout.Default, c.Timeout.Max, c.Env.Entries, c.Env.Size = 8, time.Minute, 2*time.Minute, 1, 4
	c.Queue = Queue{Total: 1, Size: 2}
	q := &fakeStore{}
	a := newTestAdmission(t, c, q)
	got, _, err := a.Admit(t.Context(), validSubmission())
	if err != nil || got.Timeout != time.Minute ||
		q.limits != (execution.QueueLimits{
			Total: 1, PerSubject: 10_000, Size: 2, SubjectSize: 256 << 20, SubjectStored: 2 << 30, Workspaces: 20,
		}) {
		t.Fatalf("got %s, %+v, %v; want one minute and the configured limits", got.Timeout, q.limits, err)
	}
	for field, change := range map[string]func(*Submission){
		"code":    func(s *Submission) { s.Code = "print(12)" },
		"timeout": func(s *Submission) { s.Timeout = 121 },
		"env":     func(s *Submission) { s.Env = map[string]string{"A": "12"} },
	} {
		s := validSubmission()
		change(&s)
		if _, _, err := a.Admit(t.Context(), s); err == nil || fault.Of(err).Details["field"] != field {
			t.Errorf("got %v; want a refusal of %s", err, field)
		}
	}
}

func TestTheQuotaOfASubjectBoundsItsTimeouts(t *testing.T) {
	a := newTestAdmission(t, Defaults(), &fakeStore{})
	short := quota.DefaultConfig()
	short.Timeout = time.Minute
	if err := a.Quotas.Reload(short); err != nil {
		t.Fatal(err)
	}
	for _, s := range []Submission{validSubmission(), {Subject: "ann", Code: "1", Background: true}} {
		if e, _, err := a.Admit(t.Context(), s); err != nil || e.Timeout != time.Minute {
			t.Errorf("without a timeout: got %s, %v; want the quota of a minute", e.Timeout, err)
		}
		s.Timeout = 61
		_, _, err := a.Admit(t.Context(), s)
		if f := fault.Of(err); f.Details["field"] != "timeout" ||
			f.Sentence != "timeout must be between 1 and 60 seconds; 0 stands for 60." {
			t.Errorf("a longer timeout: got %v; want a refusal that names 60 seconds", err)
		}
	}
}
