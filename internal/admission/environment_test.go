package admission

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

func TestAVariableOfTheSubmissionReplacesTheEnvironments(t *testing.T) {
	q := &fakeStore{}
	a := newTestAdmission(t, Defaults(), q)
	env := map[string]string{"A": "default", "B": "default"}
	if _, err := a.SetEnvironment(t.Context(), "ann", env, false); err != nil {
		t.Fatal(err)
	}
	for subject, want := range map[string]map[string]string{
		"ann": {"A": "default", "B": "asked", "C": "asked"}, "ben": {"B": "asked", "C": "asked"},
	} {
		s := validSubmission()
		s.Subject, s.Env = subject, map[string]string{"B": "asked", "C": "asked"}
		e, _, err := a.Admit(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := fakeSealer{}.Unseal(e.ID, execution.FieldEnv, e.Env)
		if err != nil {
			t.Fatal(err)
		}
		var env map[string]string
		if err := json.Unmarshal(plain, &env); err != nil || !maps.Equal(env, want) || len(e.EnvNames) != len(want) {
			t.Errorf("%s: got %v named %v, %v; want %v", subject, env, e.EnvNames, err, want)
		}
		if len(s.Env) != 2 {
			t.Errorf("the caller's own map was changed: %v", s.Env)
		}
	}
}

func TestEachExecutionOfABatchGetsTheEnvironment(t *testing.T) {
	a := newTestAdmission(t, Defaults(), &fakeStore{})
	if _, err := a.SetEnvironment(t.Context(), "ann", map[string]string{"A": "default"}, false); err != nil {
		t.Fatal(err)
	}
	first, second := validSubmission(), validSubmission()
	second.Env = map[string]string{"B": "asked"}
	all, _, err := a.AdmitBatch(t.Context(), Batch{Subject: "ann", Submissions: []Submission{first, second}})
	if err != nil || !slices.Equal(all[0].EnvNames, []string{"A"}) ||
		!slices.Equal(all[1].EnvNames, []string{"A", "B"}) {
		t.Errorf("got %+v, %v; want the default under both", all, err)
	}
}

func TestAnEnvironmentIsReplacedOrMerged(t *testing.T) {
	a := newTestAdmission(t, Defaults(), &fakeStore{})
	for _, step := range []struct {
		env   map[string]string
		merge bool
		want  map[string]string
	}{
		{map[string]string{"A": "1"}, true, map[string]string{"A": "1"}},
		{map[string]string{"B": "2", "TOKEN": "3"}, true, map[string]string{"A": "1", "B": "2", "TOKEN": "3"}},
		{map[string]string{"B": Mask, "TOKEN": Mask}, false, map[string]string{"B": "2", "TOKEN": "3"}},
		{map[string]string{"TOKEN": Mask, "B": "4"}, true, map[string]string{"B": "4", "TOKEN": "3"}},
		{nil, true, map[string]string{"B": "4", "TOKEN": "3"}},
		{nil, false, map[string]string{}},
	} {
		got, err := a.SetEnvironment(t.Context(), "ann", step.env, step.merge)
		if err != nil || !maps.Equal(got, step.want) {
			t.Errorf("%v, merge %v: got %v, %v; want %v", step.env, step.merge, got, err, step.want)
		}
		if stored, err := a.Environment(t.Context(), "ann"); err != nil || !maps.Equal(stored, step.want) {
			t.Errorf("%v, merge %v: stored %v, %v; want %v", step.env, step.merge, stored, err, step.want)
		}
	}
}

func TestAnEnvironmentHasTheLimitsOfASubmission(t *testing.T) {
	c := Defaults()
	c.Env.Entries = 2
	a := newTestAdmission(t, c, &fakeStore{})
	before := map[string]string{"A": "1", "B": "2"}
	if _, err := a.SetEnvironment(t.Context(), "ann", before, false); err != nil {
		t.Fatal(err)
	}
	for name, env := range map[string]map[string]string{
		"too many together":         {"C": "3"},
		"a name that is none":       {"1": "3"},
		"a NUL":                     {"A": "\x00"},
		"too long":                  {"A": strings.Repeat("x", 64<<10)},
		"a mask that hides nothing": {"C": Mask},
	} {
		_, err := a.SetEnvironment(t.Context(), "ann", env, true)
		if f := fault.Of(err); err == nil || f.Code != fault.InvalidRequest || f.Details["field"] != "env_vars" {
			t.Errorf("%s: got %v; want a refusal of env_vars", name, err)
		}
		if stored, err := a.Environment(t.Context(), "ann"); err != nil || !maps.Equal(stored, before) {
			t.Errorf("%s: stored %v, %v; want it as before", name, stored, err)
		}
	}
	s := validSubmission()
	s.Env = map[string]string{"C": "3"}
	if _, _, err := a.Admit(t.Context(), s); fault.Of(err).Details["field"] != "env" {
		t.Errorf("got %v; want a refusal of env, which has three variables with the defaults", err)
	}
}

func TestAnEnvironmentSealedWithALostKeyCanBeReplaced(t *testing.T) {
	q := &fakeStore{environments: map[string]execution.Sealed{"ann": []byte("sealed for another")}}
	a := newTestAdmission(t, Defaults(), q)
	if _, _, err := a.Admit(t.Context(), validSubmission()); err == nil || len(q.given) != 0 {
		t.Errorf("got %v with %d stored; want no program without the variables that it counts on", err, len(q.given))
	}
	if _, err := a.SetEnvironment(t.Context(), "ann", nil, true); err == nil {
		t.Error("it was merged with an unreadable environment")
	}
	if _, err := a.SetEnvironment(t.Context(), "ann", map[string]string{"A": "1"}, false); err != nil {
		t.Error(err)
	}
}

func TestResealUsesTheCurrentKey(t *testing.T) {
	seal := func(subject, env string) execution.Sealed {
		return fakeSealer{}.Seal(sealID(subject), execution.FieldEnvironment, []byte(env))
	}
	q := &fakeStore{environments: map[string]execution.Sealed{
		"ann": seal("ann", `{"A":"1"} `+strings.Repeat(" ", 3)),
		"ben": []byte("old, and of a lost key"),
		"old": seal("old", `{"A": "1"}`),
	}}
	if err := newTestAdmission(t, Defaults(), q).Reseal(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "ben") ||
		strings.Contains(err.Error(), "ann") {
		t.Errorf("got %v; want it to name the one that cannot be opened", err)
	}
	for subject, want := range map[string]string{
		"ann": string(seal("ann", `{"A":"1"} `+strings.Repeat(" ", 3))), "ben": "old, and of a lost key",
		"old": string(seal("old", `{"A":"1"}`)),
	} {
		if got := string(q.environments[subject]); got != want {
			t.Errorf("%s: got %q; want %q", subject, got, want)
		}
	}
}

func TestNothingIsAdmittedWhileTheEnvironmentCannotBeRead(t *testing.T) {
	a := newTestAdmission(t, Defaults(), &fakeStore{err: errors.New("disk")})
	if _, _, err := a.Admit(t.Context(), validSubmission()); err == nil {
		t.Error("it was admitted")
	}
}

func TestValuesThatLookLikeSecretsAreMasked(t *testing.T) {
	env := map[string]string{
		"API_KEY": "k", "apikey": "k", "DB_PASSWORD": "p", "PGPASS": "p", "GITHUB_TOKEN": "t",
		"AWS_SECRET_ACCESS_KEY": "s", "BASIC_AUTH": "a",
		"DATABASE_URL": "postgres://ann:secret@db/app", "EMPTY_SECRET": "",
		"HOSTS": "mongodb://ann:secret@a:27017,b:27017/app", "PERCENT": "redis://:100%@cache/0",
		"HASH":  "amqp://ann:s#cret@queue",
		"SLASH": "postgres://ann:s/cret@db/app", "JDBC": "jdbc:postgresql://ann:secret@db/app",
		"MANY": "a=1;url=https://ann:secret@db",
	}
	shown := map[string]string{
		"PATH": "/bin", "DEBUG": "true", "URL": "https://ann@example.com/?a=b:c@d", "BROKEN": "http://[::1",
		"EMPTY": "",
		"PORT":  "http://registry:4873/@scope", "PORTS": "mongodb://a:27017,b:27017/app", "TIME": "12:30@noon",
	}
	for name := range env {
		if got := Masked(env)[name]; got != Mask {
			t.Errorf("%s: got %q; want it masked", name, got)
		}
	}
	if got := Masked(shown); !maps.Equal(got, shown) {
		t.Errorf("got %v; want %v", got, shown)
	}
}

func TestASynchronousExecutionHasAShorterTimeout(t *testing.T) {
	c := Defaults()
	for _, test := range []struct {
		asked, most int64
		want        time.Duration
	}{
		{0, 86_400, 120 * time.Second},
		{300, 86_400, 300 * time.Second},
		{0, 60, 60 * time.Second},
		{301, 86_400, 0},
		{61, 60, 0},
		{-1, 86_400, 0},
	} {
		c.Timeout.Max = time.Duration(test.most) * time.Second
		c.Timeout.Default = min(c.Timeout.Default, c.Timeout.Max)
		s := validSubmission()
		s.Background, s.Synchronous, s.CallbackURL, s.Timeout = true, true, "", test.asked
		e, _, err := newTestAdmission(t, c, &fakeStore{}).Admit(t.Context(), s)
		if test.want == 0 {
			if f := fault.Of(err); f.Details["field"] != "timeout" {
				t.Errorf("%+v: got %v; want a refusal of timeout", test, err)
			}
		} else if err != nil || e.Timeout != test.want {
			t.Errorf("%+v: got %s, %v", test, e.Timeout, err)
		}
		c = Defaults()
	}
}
