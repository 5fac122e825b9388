package quota_test

import (
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"boomerang/internal/fault"
	"boomerang/internal/quota"
)

func TestASubjectHoldsAtMostItsQuota(t *testing.T) {
	c := quota.NewCounter()
	first, _, ok := c.Acquire("ann", 2, 3)
	if _, use, second := c.Acquire("ann", 1, 3); !ok || !second || use != 2 {
		t.Fatalf("acquired %v, and %v beside %d; want both, the second beside 2", ok, second, use)
	}
	if _, use, ok := c.Acquire("ann", 1, 3); ok || use != 3 {
		t.Errorf("acquired a fourth: %v, beside %d; want a refusal beside 3", ok, use)
	}
	if _, _, ok := c.Acquire("bob", 3, 3); !ok {
		t.Error("bob got none; want a share of his own")
	}
	first()
	first()
	if use := c.Use("ann"); use != 1 {
		t.Errorf("ann uses %d after a release that was called twice; want 1", use)
	}
}

func TestAQuotaOfZeroIsNoLimit(t *testing.T) {
	c := quota.NewCounter()
	for n := range 1000 {
		if _, _, ok := c.Acquire("ann", 1, 0); !ok {
			t.Fatalf("refused after %d", n)
		}
	}
}

// parse reads a section quota.
func parse(t *testing.T, text string) quota.Config {
	t.Helper()
	c := quota.DefaultConfig()
	if err := yaml.UnmarshalWithOptions([]byte(text), &c, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheMostExactNameDecides(t *testing.T) {
	q, err := quota.New(parse(t, `
running: 4
subjects:
  ann: {running: 8, timeout: 1m}
  "ci-*": {running: 2, queued: 7}
  "ci-main-*": {running: 3}
  "*": {running: 5}
  nothing:
`))
	if err != nil {
		t.Fatal(err)
	}
	for subject, want := range map[string]quota.Limits{
		"ann":       {Running: 8, Queued: 10_000, Timeout: time.Minute},
		"anna":      {Running: 5, Queued: 10_000},
		"ci-x":      {Running: 2, Queued: 7},
		"ci-main-x": {Running: 3, Queued: 10_000},
		"nothing":   {Running: 4, Queued: 10_000},
	} {
		got := q.Of(subject)
		if got.Running != want.Running || got.Queued != want.Queued || got.Timeout != want.Timeout {
			t.Errorf("the limits of %s are %+v; want %+v", subject, got, want)
		}
	}
}

func TestAReloadWithAnErrorKeepsTheOldQuotas(t *testing.T) {
	q, err := quota.New(parse(t, `running: 4`))
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Reload(parse(t, `{running: 5, subjects: {ann: {running: -1}}}`)); err == nil {
		t.Error("a negative quota was taken")
	}
	if got := q.Of("ann").Running; got != 4 {
		t.Errorf("ann may have %d running; want the 4 of before", got)
	}
	if err := q.Reload(parse(t, `running: 6`)); err != nil || q.Of("ann").Running != 6 {
		t.Errorf("reload: %v; ann may have %d running; want 6", err, q.Of("ann").Running)
	}
}

func TestAWrongQuotaIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		`queued: -1`:                              "queued must not be negative",
		`timeout: 1500ms`:                         "timeout must be 0 or whole seconds, not 1.5s",
		`subjects: {ann: {runs: 3}}`:              `subjects.ann: `,
		`subjects: {ann: {stored_size: lots}}`:    "subjects.ann: ",
		`subjects: {ann: {queued_size: -1B}}`:     "subjects.ann.queued_size must not be negative",
		`subjects: {"a*b*": {running: 1}}`:        "subjects.a*b*: a name may have one * at most",
		`subjects: {"": {running: 1}}`:            "the name of a subject must not be empty",
		`subjects: {ann: {subjects: {x: {}}}}`:    "subjects.ann: ",
		`subjects: {ann: {timeout: 1h}, bob: []}`: "subjects.bob: ",
	} {
		if err := parse(t, text).Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v; want %q in it", text, err, want)
		}
	}
}

func TestARefusalNamesQuotaLimitAndUse(t *testing.T) {
	for _, c := range []struct {
		name             quota.Name
		limit, use, need int64
		code             fault.Code
		sentence         string
	}{
		{
			quota.Queued, 10, 8, 3, fault.QueueFull,
			"The request needs 3 of your quota for queued executions, of which 8 of 10 are in use.",
		},
		{
			quota.StoredSize, 2 << 20, 1 << 20, 2 << 20, fault.QuotaExceeded,
			"The request needs 2MiB of your quota for the size of stored results and workspaces, " +
				"of which 1MiB of 2MiB are in use.",
		},
		{
			quota.QueuedSize, 1 << 20, 0, 2 << 20, fault.PayloadTooLarge, "The request needs 2MiB of your quota for " +
				"the size of programs that have not ended, of which 0B of 1MiB are in use.",
		},
	} {
		f := quota.Exceeded(c.name, c.limit, c.use, c.need)
		if f.Code != c.code || f.Sentence != c.sentence || (f.RetryAfter > 0) == (c.code == fault.PayloadTooLarge) {
			t.Errorf("got %s %q, retry after %s; want %s %q", f.Code, f.Sentence, f.RetryAfter, c.code, c.sentence)
		}
		if f.Details["quota"] != string(c.name) || f.Details["limit"] != c.limit || f.Details["use"] != c.use {
			t.Errorf("the details are %v", f.Details)
		}
	}
}
