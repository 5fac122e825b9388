package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

func TestABatchIsStoredAsOneSubjectsExecutions(t *testing.T) {
	q := &fakeStore{}
	b := Batch{
		Subject: "ann", CallbackURL: "https://example.com/all", CallbackHeaders: map[string]string{"X-A": "a"},
		Secrets:        []string{"s"},
		IdempotencyKey: "k", Body: []byte("body"), Depth: 1,
		Submissions: []Submission{{Code: "1", Name: "first"}, {Code: "2", Language: "sh", Timeout: 60}},
	}
	all, replayed, err := newTestAdmission(t, Defaults(), q).AdmitBatch(t.Context(), b)
	if err != nil || replayed || len(all) != 2 || len(q.given) != 2 {
		t.Fatalf("got %d of %d, %v, %v", len(all), len(q.given), replayed, err)
	}
	if q.key == nil || q.key.Key != "k" || q.key.Fingerprint != "fingerprint of body" {
		t.Errorf("stored under %+v", q.key)
	}
	for i, e := range all {
		if e.Subject != "ann" || e.Callback.URL != b.CallbackURL || e.Callback.Depth != 1 ||
			!slices.Equal(e.Callback.HeaderNames, []string{"X-A"}) ||
			string(e.Callback.Secret) != fmt.Sprintf(`%s/callback_signature_secret/["s"]`, e.ID) {
			t.Errorf("execution %d is %+v", i, e)
		}
		if want := (execution.Batch{ID: all[0].Batch.ID, Summary: true}); e.Batch != want || !e.Batch.ID.Valid() {
			t.Errorf("execution %d belongs to %+v, want %+v", i, e.Batch, want)
		}
	}
	if all[0].ID == all[1].ID || all[0].Name != "first" || all[1].Language != "bash" || all[1].Timeout.Seconds() != 60 {
		t.Errorf("got %+v", all)
	}
}

func TestABatchWithoutACallbackHasOneForEachExecution(t *testing.T) {
	q := &fakeStore{}
	first, second := validSubmission(), validSubmission()
	second.CallbackURL, second.Secrets = "https://example.com/second", []string{"s"}
	a := newTestAdmission(t, Defaults(), q)
	all, _, err := a.AdmitBatch(t.Context(), Batch{Subject: "ann", Submissions: []Submission{first, second}})
	if err != nil || all[0].Callback.URL != first.CallbackURL || all[1].Callback.URL != second.CallbackURL ||
		len(all[0].Callback.Secret) > 0 {
		t.Fatalf("got %+v, %v", all, err)
	}
	if all[0].Batch.Summary || all[0].Batch.ID == "" || all[0].Batch != all[1].Batch {
		t.Errorf("they belong to %+v and %+v", all[0].Batch, all[1].Batch)
	}
}

func TestABatchThatTheEnvironmentMakesLargeIsRefused(t *testing.T) {
	q := &fakeStore{environments: map[string]execution.Sealed{}}
	a := newTestAdmission(t, Defaults(), q)
	large := map[string]string{"A": strings.Repeat("a", 60_000)}
	if _, err := a.SetEnvironment(t.Context(), "ann", large, false); err != nil {
		t.Fatal(err)
	}
	b := Batch{Subject: "ann", CallbackURL: "https://example.com/all", Submissions: make([]Submission, 1000)}
	for i := range b.Submissions {
		b.Submissions[i].Code = "1"
	}
	_, _, err := a.AdmitBatch(t.Context(), b)
	if f := fault.Of(err); f.Code != fault.PayloadTooLarge || f.Details["field"] != "executions" || len(q.given) > 0 {
		t.Errorf("60 MB of environments: got %v, and %d were stored; want a refusal", err, len(q.given))
	}
	b.Submissions = b.Submissions[:200]
	if _, _, err := a.AdmitBatch(t.Context(), b); err != nil || len(q.given) != 200 {
		t.Errorf("12 MB of environments: got %v, and %d were stored; want 200", err, len(q.given))
	}
}

// blockingStore is a store that blocks until it is released.
type blockingStore struct {
	fakeStore
	entered, leave chan struct{}
}

func (s *blockingStore) EnqueueAll(
	_ context.Context, all []execution.Execution, _ *execution.Idempotency, _ execution.QueueLimits,
) ([]execution.Execution, bool, error) {
	s.entered <- struct{}{}
	<-s.leave
	return all, false, nil
}

func TestTheNumberOfBatchesInPreparationIsLimited(t *testing.T) {
	s := &blockingStore{entered: make(chan struct{}, maxBatches+1), leave: make(chan struct{})}
	a := newTestAdmission(t, Defaults(), &s.fakeStore)
	a.Store = s
	b := Batch{Subject: "ann", Submissions: []Submission{validSubmission()}}
	var making sync.WaitGroup
	for range maxBatches {
		making.Go(func() {
			if _, _, err := a.AdmitBatch(t.Context(), b); err != nil {
				t.Error(err)
			}
		})
		<-s.entered
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := a.AdmitBatch(ctx, b); err == nil || fault.Of(err).Code != fault.ServiceUnavailable {
		t.Errorf("one more: got %v, want that it waits until its caller is gone", err)
	}
	close(s.leave)
	making.Wait()
	if _, _, err := a.AdmitBatch(t.Context(), b); err != nil {
		t.Errorf("when a slot is free again: %v", err)
	}
}

func TestARefusedBatchNamesTheInvalidField(t *testing.T) {
	bare := Submission{Code: "1"}
	for name, c := range map[string]struct {
		batch    Batch
		field    string
		sentence string
	}{
		"nothing": {Batch{}, "executions", "executions must have 1 to 1000 entries, not 0."},
		"too many": {
			Batch{Submissions: make([]Submission, 1001)},
			"executions",
			"executions must have 1 to 1000 entries, not 1001.",
		},
		"no callback at all": {
			Batch{Submissions: []Submission{validSubmission(), bare}},
			"executions[1].callback_url",
			"executions[1].callback_url is required.",
		},
		"both callbacks": {
			Batch{CallbackURL: "https://example.com", Submissions: []Submission{validSubmission()}},
			"executions[0].callback_url",
			"executions[0].callback_url must be given for the whole batch or for each of its executions, not for both.",
		},
		"a callback's secret": {
			Batch{Secrets: []string{"s"}, Submissions: []Submission{validSubmission()}},
			"callback_url",
			"callback_url is required.",
		},
		"its secret": {
			Batch{CallbackURL: "https://example.com", Secrets: []string{"whsec_"}, Submissions: []Submission{bare}},
			"callback_signature_secret",
			"callback_signature_secret: the part after whsec_ must be the base64 of 24 to 64 bytes, not of 0.",
		},
		"a member's secret": {
			Batch{
				Submissions: []Submission{
					validSubmission(),
					{Code: "1", CallbackURL: "https://example.com", Secrets: []string{"new", "whsec_-_"}},
				},
			},
			"executions[1].callback_signature_secret[1]",
			"executions[1].callback_signature_secret[1]: " +
				"the part after whsec_ must be padded standard base64 and nothing else.",
		},
		"a closed address": {
			Batch{CallbackURL: "http://127.0.0.1/", Submissions: []Submission{bare}}, "callback_url", "",
		},
		"a timeout": {
			Batch{CallbackURL: "https://example.com", Submissions: []Submission{bare, bare, {Code: "1", Timeout: -1}}},
			"executions[2].timeout", "executions[2].timeout must be between 1 and 86400 seconds; 0 stands for 3600.",
		},
		"no code": {
			Batch{CallbackURL: "https://example.com", Submissions: []Submission{{}}},
			"executions[0].code",
			"executions[0].code is required.",
		},
		"a language": {
			Batch{CallbackURL: "https://example.com", Submissions: []Submission{{Code: "1", Language: "klingon"}}},
			"executions[0].language", "",
		},
		"a file that is to be fetched": {
			Batch{
				CallbackURL: "https://example.com",
				Submissions: []Submission{{Code: "1", Files: []File{{Path: "a", URL: "https://example.com"}}}},
			},
			"executions[0].files[0].url",
			"executions[0].files[0].url: a batch fetches no files; send them as text or base64.",
		},
		"its key": {Batch{IdempotencyKey: "a b", Submissions: []Submission{validSubmission()}}, HeaderKey, ""},
	} {
		q := &fakeStore{}
		_, _, err := newTestAdmission(t, Defaults(), q).AdmitBatch(t.Context(), c.batch)
		if err == nil || len(q.given) > 0 {
			t.Errorf("%s: stored %d, %v", name, len(q.given), err)
			continue
		}
		f := fault.Of(err)
		if f.Details["field"] != c.field || c.sentence != "" && f.Sentence != c.sentence ||
			!strings.Contains(f.Sentence, ".") {
			t.Errorf("%s: got %q at %v, want %q at %s", name, f.Sentence, f.Details["field"], c.sentence, c.field)
		}
	}
}
