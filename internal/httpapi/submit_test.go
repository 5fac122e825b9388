package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"boomerang/internal/admission"
	"boomerang/internal/execution"
	"boomerang/internal/workspace"
)

// The files are the bodies of the examples that the API is documented with, byte for byte.
func TestTheExamplesOfThePageAreAccepted(t *testing.T) {
	files, err := filepath.Glob("testdata/page-*.json")
	if err != nil || len(files) != 4 {
		t.Fatalf("got %v, %v; want four examples", files, err)
	}
	h := open(t)
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var asked map[string]any
		if err := json.Unmarshal(body, &asked); err != nil {
			t.Fatal(err)
		}
		a := h.call(http.MethodPost, "/execute/async", h.ann, string(body), asJSON)
		if a.status != http.StatusOK {
			t.Fatalf("%s: got %d: %s", file, a.status, a.body)
		}
		got := a.json(t)
		if got["status"] != "queued" || got["callback_url"] != asked["callback_url"] {
			t.Errorf("%s: got %v; want it queued for %v", file, got, asked["callback_url"])
		}
		e, err := h.store.Get(t.Context(), a.id(t))
		if err != nil || e.State != execution.Queued || e.Subject != "ann" || e.Callback.URL != asked["callback_url"] {
			t.Errorf("%s: stored %+v, %v; want what was asked", file, e, err)
		}
		if want, _ := asked["timeout"].(float64); want != 0 && e.Timeout != time.Duration(want)*time.Second {
			t.Errorf("%s: stored a timeout of %s; want %v s", file, e.Timeout, want)
		}
		if accepted, err := time.Parse(time.RFC3339Nano, fmt.Sprint(got["timestamp"])); err != nil || !accepted.Equal(e.CreatedAt) {
			t.Errorf("%s: got timestamp %v, %v; want %s", file, got["timestamp"], err, e.CreatedAt)
		}
	}
}

func TestInTheBackgroundTheResultIsKept(t *testing.T) {
	h := open(t)
	a := h.call(http.MethodPost, "/execute/background", h.ann,
		`{"code":"print(1)","language":"py","name":"nightly","callback_url":"not even a URL","callback_signature_secret":"s"}`, asJSON)
	if a.status != http.StatusOK {
		t.Fatalf("got %d: %s", a.status, a.body)
	}
	got := a.json(t)
	if got["process_id"] != got["execution_id"] || got["name"] != "nightly" || got["status"] != "queued" {
		t.Errorf("got %v", got)
	}
	e, err := h.store.Get(t.Context(), a.id(t))
	if err != nil || e.Name != "nightly" || e.Callback.URL != "" || e.Timeout != 300*time.Second || e.Language != "python" {
		t.Errorf("stored %+v, %v; want it without a callback, for 300 s", e, err)
	}
	if d, err := h.store.Delivery(t.Context(), e.ID); err != nil || len(d.Callback.Secret) != 0 {
		t.Errorf("delivery %+v, %v; want no secret kept that nothing needs", d, err)
	}
	if a := h.call(http.MethodPost, "/execute/background", h.ann, `{"name":"nightly"}`, asJSON); a.status != http.StatusBadRequest {
		t.Errorf("without code: got %d: %s", a.status, a.body)
	}
}

func TestAListOfSecretsIsSealedNewestFirst(t *testing.T) {
	h := open(t)
	submit := func(secrets string) answer {
		return h.call(http.MethodPost, "/execute/async", h.ann,
			`{"code":"1","callback_url":"https://example.com/","callback_signature_secret":`+secrets+`}`, asJSON)
	}
	for secrets, want := range map[string]string{`"one"`: `["one"]`, `["new","old"]`: `["new","old"]`, `""`: "", `[]`: ""} {
		id := submit(secrets).id(t)
		d, err := h.store.Delivery(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := h.keys.Unseal(id, execution.FieldCallbackSecret, d.Callback.Secret); err != nil || string(got) != want {
			t.Errorf("%s: sealed %s, %v; want %s", secrets, got, err, want)
		}
	}
	for _, secrets := range []string{`7`, `[""]`, `["a",null]`, `["a","b","c","d"]`} {
		a := submit(secrets)
		details, _ := a.json(t)["details"].(map[string]any)
		if a.status != http.StatusBadRequest || !strings.HasPrefix(fmt.Sprint(details["field"]), "callback_signature_secret") {
			t.Errorf("%s: got %d: %s", secrets, a.status, a.body)
		}
	}
}

func TestSubmitRefusesAndStoresNothing(t *testing.T) {
	tests := map[string]struct {
		body    string
		headers []string
		status  int
		code    string
		field   string
	}{
		"no content type":        {hello, nil, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type"},
		"a form":                 {hello, []string{"Content-Type: application/x-www-form-urlencoded"}, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type"},
		"something like JSON":    {hello, []string{"Content-Type: application/jsonp"}, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type"},
		"a broken content type":  {hello, []string{"Content-Type: application/json; charset"}, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type"},
		"a compressed body":      {hello, []string{asJSON, "Content-Encoding: gzip"}, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Encoding"},
		"no body":                {"", []string{asJSON}, 400, "INVALID_JSON", ""},
		"no JSON":                {"code=1", []string{asJSON}, 400, "INVALID_JSON", ""},
		"a repeated key":         {`{"code":"1","code":"2","callback_url":"https://example.com/"}`, []string{asJSON}, 400, "INVALID_JSON", ""},
		"something behind it":    {hello + "1", []string{asJSON}, 400, "INVALID_JSON", ""},
		"no code":                {`{"callback_url":"https://example.com/"}`, []string{asJSON}, 400, "MISSING_PARAMETER", "code"},
		"no callback":            {`{"code":"1"}`, []string{asJSON}, 400, "MISSING_PARAMETER", "callback_url"},
		"an invalid URL":         {`{"code":"1","callback_url":"example.com"}`, []string{asJSON}, 400, "INVALID_REQUEST", "callback_url"},
		"a private address":      {`{"code":"1","callback_url":"http://10.0.0.1/"}`, []string{asJSON}, 400, "CALLBACK_NOT_ALLOWED", "callback_url"},
		"an unknown language":    {`{"code":"1","callback_url":"https://example.com/","language":"cobol"}`, []string{asJSON}, 400, "UNSUPPORTED_LANGUAGE", "language"},
		"a timeout in words":     {`{"code":"1","callback_url":"https://example.com/","timeout":"60"}`, []string{asJSON}, 400, "INVALID_REQUEST", "timeout"},
		"too much code":          {`{"code":"` + strings.Repeat("x", 1<<20+1) + `","callback_url":"https://example.com/"}`, []string{asJSON}, 413, "PAYLOAD_TOO_LARGE", "code"},
		"too much of anything":   {`{"rest":"` + strings.Repeat("x", 8<<20) + `"}`, []string{asJSON}, 413, "PAYLOAD_TOO_LARGE", ""},
		"an empty key":           {hello, []string{asJSON, "Idempotency-Key: "}, 400, "INVALID_REQUEST", "Idempotency-Key"},
		"two keys":               {hello, []string{asJSON, "Idempotency-Key: a", "Idempotency-Key: b"}, 400, "INVALID_REQUEST", "Idempotency-Key"},
		"a key with a space":     {hello, []string{asJSON, "Idempotency-Key: a b"}, 400, "INVALID_REQUEST", "Idempotency-Key"},
		"a depth in words":       {hello, []string{asJSON, "X-HopX-Callback-Depth: deep"}, 400, "INVALID_REQUEST", "X-HopX-Callback-Depth"},
		"a negative depth":       {hello, []string{asJSON, "X-HopX-Callback-Depth: -1"}, 400, "INVALID_REQUEST", "X-HopX-Callback-Depth"},
		"a loop of four":         {hello, []string{asJSON, "X-HopX-Callback-Depth: 4"}, 400, "CALLBACK_NOT_ALLOWED", "X-HopX-Callback-Depth"},
		"a depth that overflows": {hello, []string{asJSON, "X-HopX-Callback-Depth: 65536"}, 400, "INVALID_REQUEST", "X-HopX-Callback-Depth"},
	}
	h := open(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := h.call(http.MethodPost, "/execute/async", h.ann, test.body, test.headers...)
			got := a.json(t)
			details, _ := got["details"].(map[string]any)
			field, _ := details["field"].(string)
			if a.status != test.status || got["code"] != test.code || field != test.field {
				t.Errorf("got %d %v of %q: %s; want %d %s of %q", a.status, got["code"], field, a.body, test.status, test.code, test.field)
			}
		})
	}
	if stored := h.get("/executions", h.admin).json(t)["count"]; stored != 0.0 {
		t.Errorf("got %v executions; want none", stored)
	}
}

func TestSubmitTakesParametersOfTheContentTypeAndTheDepth(t *testing.T) {
	h := open(t)
	a := h.call(http.MethodPost, "/execute/async", h.ann, hello,
		"Content-Type: Application/JSON; charset=utf-8", "X-HopX-Callback-Depth: 3")
	if a.status != http.StatusOK {
		t.Fatalf("got %d: %s", a.status, a.body)
	}
	e, err := h.store.Get(t.Context(), a.id(t))
	if err != nil || e.Callback.Depth != 3 {
		t.Errorf("got depth %d, %v; want 3", e.Callback.Depth, err)
	}
}

func TestAKeyGivesTheFirstAnswerAgain(t *testing.T) {
	h := open(t)
	post := func(token, body, key string) answer {
		return h.call(http.MethodPost, "/execute/async", token, body, asJSON, "Idempotency-Key: "+key)
	}
	first := post(h.ann, hello, "k1")
	id := first.id(t)
	h.call(http.MethodPost, "/executions/"+string(id)+"/cancel", h.ann, "")

	again := post(h.ann, hello, "k1")
	if again.status != http.StatusOK || again.body != first.body {
		t.Errorf("got %d %s; want the first answer, %s", again.status, again.body, first.body)
	}
	if first.header.Get("Idempotent-Replayed") != "" || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("got Idempotent-Replayed %q, then %q; want it on the second answer alone",
			first.header.Get("Idempotent-Replayed"), again.header.Get("Idempotent-Replayed"))
	}
	if other := post(h.ann, hello+" ", "k1"); other.status != http.StatusConflict || other.json(t)["code"] != "CONFLICT" {
		t.Errorf("another body: got %d %s; want 409 CONFLICT", other.status, other.body)
	}
	if bobs := post(h.bob, hello, "k1"); bobs.status != http.StatusOK || bobs.body == first.body {
		t.Errorf("another subject: got %d %s; want an execution of its own", bobs.status, bobs.body)
	}
}

func TestAFullQueueSaysWhenToComeAgain(t *testing.T) {
	h := open(t)
	c := admission.Defaults()
	c.Queue.PerSubject = 1
	h.api.Admission = admission.New(c, admission.Deps{
		Workspaces: workspace.Defaults(),
		Languages:  languages(t),
		Policy:     anywhere{},
		Sealer:     h.keys,
		Store:      h.store,
		Now:        time.Now,
	})
	h.submit(h.ann, hello)
	a := h.call(http.MethodPost, "/execute/async", h.ann, hello, asJSON)
	got := a.json(t)
	if a.status != http.StatusTooManyRequests || got["code"] != "QUEUE_FULL" || a.header.Get("Retry-After") != "5" || got["retry_after"] != 5.0 {
		t.Errorf("got %d, Retry-After %q: %s; want 429 QUEUE_FULL, come again in 5 s", a.status, a.header.Get("Retry-After"), a.body)
	}
}

func TestWithoutTheStoreNothingIsAccepted(t *testing.T) {
	h := open(t)
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	a := h.call(http.MethodPost, "/execute/async", h.ann, hello, asJSON)
	if a.status != http.StatusServiceUnavailable || a.json(t)["code"] != "SERVICE_UNAVAILABLE" {
		t.Errorf("got %d %s; want 503 SERVICE_UNAVAILABLE", a.status, a.body)
	}
}

func TestASubmissionIsLoggedWithoutItsSecrets(t *testing.T) {
	h := open(t)
	id := h.submit(h.ann, `{"code":"CANARY","env":{"A":"CANARY"},"callback_url":"https://example.com/?q=CANARY",
		"callback_headers":{"X-A":"CANARY"},"callback_signature_secret":"CANARY"}`)
	h.get("/executions/"+string(id)+"?wait=0&token=CANARY", h.ann)
	var queued bool
	for _, entry := range h.log.AllEntries() {
		line, err := entry.String()
		if err != nil || strings.Contains(line, "CANARY") || strings.Contains(line, h.ann) {
			t.Errorf("the log holds a secret, %v: %s", err, line)
		}
		queued = queued || entry.Message == "execution queued" && entry.Data["execution_id"] == id
	}
	if !queued {
		t.Error("the log does not say that the execution was queued")
	}
}

// anywhere is a policy for which every callback is fine.
type anywhere struct{}

func (anywhere) CheckURL(string) error                { return nil }
func (anywhere) CheckHeaders(map[string]string) error { return nil }
