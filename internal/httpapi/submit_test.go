package httpapi_test

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
	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/server"
)

// The files are the bodies of the examples on HopX's page, byte for byte.
func TestTheExamplesOfThePageAreAccepted(t *testing.T) {
	files, err := filepath.Glob("testdata/page-*.json")
	if err != nil || len(files) != 4 {
		t.Fatalf("got %v, %v; want four examples", files, err)
	}
	h := apitest.Open(t)
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var asked map[string]any
		if err := json.Unmarshal(body, &asked); err != nil {
			t.Fatal(err)
		}
		a := h.Call(http.MethodPost, "/execute/async", h.Ann, string(body), apitest.AsJSON)
		if a.Status != http.StatusOK {
			t.Fatalf("%s: got %d: %s", file, a.Status, a.Body)
		}
		got := a.JSON(t)
		if got["status"] != "queued" || got["callback_url"] != asked["callback_url"] {
			t.Errorf("%s: got %v; want it queued for %v", file, got, asked["callback_url"])
		}
		e, err := h.Store.Get(t.Context(), a.ID(t))
		if err != nil || e.State != execution.Queued || e.Subject != "ann" || e.Callback.URL != asked["callback_url"] {
			t.Errorf("%s: stored %+v, %v; want what was asked", file, e, err)
		}
		if want, _ := asked["timeout"].(float64); want != 0 && e.Timeout != time.Duration(want)*time.Second {
			t.Errorf("%s: stored a timeout of %s; want %v s", file, e.Timeout, want)
		}
		if accepted, err := time.Parse(time.RFC3339Nano, fmt.Sprint(got["timestamp"])); err != nil ||
			!accepted.Equal(e.CreatedAt) {
			t.Errorf("%s: got timestamp %v, %v; want %s", file, got["timestamp"], err, e.CreatedAt)
		}
	}
}

func TestInTheBackgroundTheResultIsKept(t *testing.T) {
	h := apitest.Open(t)
	a := h.Call(http.MethodPost, "/execute/background", h.Ann,
		`{"code":"print(1)","language":"py","name":"nightly","callback_url":"not even a URL",`+
			`"callback_signature_secret":"s"}`, apitest.AsJSON)
	if a.Status != http.StatusOK {
		t.Fatalf("got %d: %s", a.Status, a.Body)
	}
	got := a.JSON(t)
	if got["process_id"] != got["execution_id"] || got["name"] != "nightly" || got["status"] != "queued" {
		t.Errorf("got %v", got)
	}
	e, err := h.Store.Get(t.Context(), a.ID(t))
	if err != nil || e.Name != "nightly" || e.Callback.URL != "" || e.Timeout != 300*time.Second ||
		e.Language != "python" {
		t.Errorf("stored %+v, %v; want it without a callback, for 300 s", e, err)
	}
	if d, err := h.Store.Delivery(t.Context(), e.ID); err != nil || len(d.Callback.Secret) != 0 {
		t.Errorf("delivery %+v, %v; want no secret kept that nothing needs", d, err)
	}
	if a := h.Call(http.MethodPost, "/execute/background", h.Ann, `{"name":"nightly"}`,
		apitest.AsJSON); a.Status != http.StatusBadRequest {
		t.Errorf("without code: got %d: %s", a.Status, a.Body)
	}
}

func TestAListOfSecretsIsSealedNewestFirst(t *testing.T) {
	h := apitest.Open(t)
	submit := func(secrets string) apitest.Answer {
		return h.Call(http.MethodPost, "/execute/async", h.Ann,
			`{"code":"1","callback_url":"https://example.com/","callback_signature_secret":`+secrets+`}`,
			apitest.AsJSON)
	}
	for secrets, want := range map[string]string{
		`"one"`: `["one"]`, `["new","old"]`: `["new","old"]`, `""`: "",
		`[]`: "",
	} {
		id := submit(secrets).ID(t)
		d, err := h.Store.Delivery(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := h.Keys.Unseal(id, execution.FieldCallbackSecret, d.Callback.Secret); err != nil ||
			string(got) != want {
			t.Errorf("%s: sealed %s, %v; want %s", secrets, got, err, want)
		}
	}
	for _, secrets := range []string{`7`, `[""]`, `["a",null]`, `["a","b","c","d"]`} {
		a := submit(secrets)
		details, _ := a.JSON(t)["details"].(map[string]any)
		if a.Status != http.StatusBadRequest ||
			!strings.HasPrefix(fmt.Sprint(details["field"]), "callback_signature_secret") {
			t.Errorf("%s: got %d: %s", secrets, a.Status, a.Body)
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
		"no content type": {apitest.Hello, nil, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type"},
		"a form": {
			apitest.Hello,
			[]string{"Content-Type: application/x-www-form-urlencoded"},
			415,
			"UNSUPPORTED_MEDIA_TYPE", "Content-Type",
		},
		"something like JSON": {
			apitest.Hello,
			[]string{"Content-Type: application/jsonp"},
			415,
			"UNSUPPORTED_MEDIA_TYPE", "Content-Type",
		},
		"a broken content type": {
			apitest.Hello,
			[]string{"Content-Type: application/json; charset"},
			415,
			"UNSUPPORTED_MEDIA_TYPE", "Content-Type",
		},
		"a compressed body": {
			apitest.Hello,
			[]string{apitest.AsJSON, "Content-Encoding: gzip"},
			415,
			"UNSUPPORTED_MEDIA_TYPE", "Content-Encoding",
		},
		"no body": {"", []string{apitest.AsJSON}, 400, "INVALID_JSON", ""},
		"no JSON": {"code=1", []string{apitest.AsJSON}, 400, "INVALID_JSON", ""},
		"a repeated key": {
			`{"code":"1","code":"2","callback_url":"https://example.com/"}`,
			[]string{apitest.AsJSON},
			400, "INVALID_JSON", "",
		},
		"something behind it": {apitest.Hello + "1", []string{apitest.AsJSON}, 400, "INVALID_JSON", ""},
		"no code": {
			`{"callback_url":"https://example.com/"}`,
			[]string{apitest.AsJSON},
			400,
			"MISSING_PARAMETER", "code",
		},
		"no callback": {`{"code":"1"}`, []string{apitest.AsJSON}, 400, "MISSING_PARAMETER", "callback_url"},
		"an invalid URL": {
			`{"code":"1","callback_url":"example.com"}`,
			[]string{apitest.AsJSON},
			400,
			"INVALID_REQUEST", "callback_url",
		},
		"a private address": {
			`{"code":"1","callback_url":"http://10.0.0.1/"}`,
			[]string{apitest.AsJSON},
			400,
			"CALLBACK_NOT_ALLOWED", "callback_url",
		},
		"an unknown language": {
			`{"code":"1","callback_url":"https://example.com/","language":"cobol"}`,
			[]string{apitest.AsJSON},
			400, "UNSUPPORTED_LANGUAGE", "language",
		},
		"a timeout in words": {
			`{"code":"1","callback_url":"https://example.com/","timeout":"60"}`,
			[]string{apitest.AsJSON},
			400, "INVALID_REQUEST", "timeout",
		},
		"too much code": {`{"code":"` + strings.Repeat("x", 1<<20+1) +
			`","callback_url":"https://example.com/"}`, []string{apitest.AsJSON}, 413, "PAYLOAD_TOO_LARGE", "code"},
		"too much of anything": {
			`{"rest":"` + strings.Repeat("x", 8<<20) + `"}`,
			[]string{apitest.AsJSON},
			413,
			"PAYLOAD_TOO_LARGE", "",
		},
		"an empty key": {
			apitest.Hello,
			[]string{apitest.AsJSON, "Idempotency-Key: "},
			400, "INVALID_REQUEST",
			"Idempotency-Key",
		},
		"two keys": {
			apitest.Hello,
			[]string{apitest.AsJSON, "Idempotency-Key: a", "Idempotency-Key: b"},
			400, "INVALID_REQUEST", "Idempotency-Key",
		},
		"a key with a space": {
			apitest.Hello,
			[]string{apitest.AsJSON, "Idempotency-Key: a b"},
			400,
			"INVALID_REQUEST", "Idempotency-Key",
		},
		"a depth in words": {
			apitest.Hello,
			[]string{apitest.AsJSON, "X-HopX-Callback-Depth: deep"},
			400,
			"INVALID_REQUEST", "X-HopX-Callback-Depth",
		},
		"a negative depth": {
			apitest.Hello,
			[]string{apitest.AsJSON, "X-HopX-Callback-Depth: -1"},
			400,
			"INVALID_REQUEST", "X-HopX-Callback-Depth",
		},
		"a loop of four": {
			apitest.Hello,
			[]string{apitest.AsJSON, "X-HopX-Callback-Depth: 4"},
			400,
			"CALLBACK_NOT_ALLOWED", "X-HopX-Callback-Depth",
		},
		"a depth that overflows": {
			apitest.Hello,
			[]string{apitest.AsJSON, "X-HopX-Callback-Depth: 65536"},
			400,
			"INVALID_REQUEST", "X-HopX-Callback-Depth",
		},
	}
	h := apitest.Open(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := h.Call(http.MethodPost, "/execute/async", h.Ann, test.body, test.headers...)
			got := a.JSON(t)
			details, _ := got["details"].(map[string]any)
			field, _ := details["field"].(string)
			if a.Status != test.status || got["code"] != test.code || field != test.field {
				t.Errorf("got %d %v of %q: %s; want %d %s of %q", a.Status, got["code"], field, a.Body, test.status,
					test.code, test.field)
			}
		})
	}
	if stored := h.Get("/executions", h.Admin).JSON(t)["count"]; stored != 0.0 {
		t.Errorf("got %v executions; want none", stored)
	}
}

func TestSubmitTakesParametersOfTheContentTypeAndTheDepth(t *testing.T) {
	h := apitest.Open(t)
	a := h.Call(http.MethodPost, "/execute/async", h.Ann, apitest.Hello,
		"Content-Type: Application/JSON; charset=utf-8", "X-HopX-Callback-Depth: 3")
	if a.Status != http.StatusOK {
		t.Fatalf("got %d: %s", a.Status, a.Body)
	}
	e, err := h.Store.Get(t.Context(), a.ID(t))
	if err != nil || e.Callback.Depth != 3 {
		t.Errorf("got depth %d, %v; want 3", e.Callback.Depth, err)
	}
}

func TestAKeyGivesTheFirstAnswerAgain(t *testing.T) {
	h := apitest.Open(t)
	post := func(token, body, key string) apitest.Answer {
		return h.Call(http.MethodPost, "/execute/async", token, body, apitest.AsJSON, "Idempotency-Key: "+key)
	}
	first := post(h.Ann, apitest.Hello, "k1")
	id := first.ID(t)
	h.Call(http.MethodPost, "/executions/"+string(id)+"/cancel", h.Ann, "")

	again := post(h.Ann, apitest.Hello, "k1")
	if again.Status != http.StatusOK || again.Body != first.Body {
		t.Errorf("got %d %s; want the first apitest.Answer, %s", again.Status, again.Body, first.Body)
	}
	if first.Header.Get("Idempotent-Replayed") != "" || again.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("got Idempotent-Replayed %q, then %q; want it on the second apitest.Answer alone",
			first.Header.Get("Idempotent-Replayed"), again.Header.Get("Idempotent-Replayed"))
	}
	if other := post(h.Ann, apitest.Hello+" ", "k1"); other.Status != http.StatusConflict ||
		other.JSON(t)["code"] != "CONFLICT" {
		t.Errorf("another body: got %d %s; want 409 CONFLICT", other.Status, other.Body)
	}
	if bobs := post(h.Bob, apitest.Hello, "k1"); bobs.Status != http.StatusOK || bobs.Body == first.Body {
		t.Errorf("another subject: got %d %s; want an execution of its own", bobs.Status, bobs.Body)
	}
}

func TestAFullQueueSaysWhenToComeAgain(t *testing.T) {
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) {
		d.Admission = d.Admit(admission.Defaults(), anywhere{})
		d.Quota.Queued = 1
	})
	h.Submit(h.Ann, apitest.Hello)
	a := h.Call(http.MethodPost, "/execute/async", h.Ann, apitest.Hello, apitest.AsJSON)
	got := a.JSON(t)
	if a.Status != http.StatusTooManyRequests || got["code"] != "QUEUE_FULL" || a.Header.Get("Retry-After") != "5" ||
		got["retry_after"] != 5.0 {
		t.Errorf("got %d, Retry-After %q: %s; want 429 QUEUE_FULL, come again in 5 s", a.Status,
			a.Header.Get("Retry-After"), a.Body)
	}
}

func TestWithoutTheStoreNothingIsAccepted(t *testing.T) {
	h := apitest.Open(t)
	if err := h.Store.Close(); err != nil {
		t.Fatal(err)
	}
	a := h.Call(http.MethodPost, "/execute/async", h.Ann, apitest.Hello, apitest.AsJSON)
	if a.Status != http.StatusServiceUnavailable || a.JSON(t)["code"] != "SERVICE_UNAVAILABLE" {
		t.Errorf("got %d %s; want 503 SERVICE_UNAVAILABLE", a.Status, a.Body)
	}
}

func TestASubmissionIsLoggedWithoutItsSecrets(t *testing.T) {
	h := apitest.Open(t)
	id := h.Submit(h.Ann, `{"code":"CANARY","env":{"A":"CANARY"},"callback_url":"https://example.com/?q=CANARY",
		"callback_headers":{"X-A":"CANARY"},"callback_signature_secret":"CANARY"}`)
	h.Get("/executions/"+string(id)+"?wait=0&token=CANARY", h.Ann)
	var queued bool
	for _, entry := range h.Log.AllEntries() {
		line, err := entry.String()
		if err != nil || strings.Contains(line, "CANARY") || strings.Contains(line, h.Ann) {
			t.Errorf("the log holds a secret, %v: %s", err, line)
		}
		queued = queued || entry.Message == "execution queued" && entry.Data["execution_id"] == id
	}
	if !queued {
		t.Error("the log does not say that the execution was queued")
	}
}

// anywhere is a policy that allows every callback.
type anywhere struct{}

func (anywhere) CheckURL(string) error                { return nil }
func (anywhere) CheckHeaders(map[string]string) error { return nil }

func TestAContentTypeThatIsNotJSONIsNamed(t *testing.T) {
	h := apitest.Open(t)
	for headers, want := range map[string]string{
		"": "The request has no Content-Type; it must be application/json.",
		"Content-Type: application/x-www-form-urlencoded": "The Content-Type must be application/json, not " +
			"application/x-www-form-urlencoded, which is what curl sends unless told otherwise.",
		"Content-Type: text/plain; charset=utf-8": `The Content-Type must be application/json, not ` +
			`"text/plain; charset=utf-8".`,
		"Content-Type: application/json; charset": `The Content-Type must be application/json, not ` +
			`"application/json; charset".`,
		"Content-Type: JSON": `The Content-Type must be application/json, not "JSON".`,
		apitest.AsJSON + "|Content-Encoding: gzip": `The body must be sent as it is, and its Content-Encoding ` +
			`is "gzip".`,
	} {
		var lines []string
		if headers != "" {
			lines = strings.Split(headers, "|")
		}
		a := h.Call("POST", "/execute/async", h.Ann, apitest.Hello, lines...)
		if message := a.JSON(t)["message"]; a.Status != 415 || a.JSON(t)["code"] != "UNSUPPORTED_MEDIA_TYPE" ||
			message != want {
			t.Errorf("%s:\n got %d %v\nwant %s", headers, a.Status, message, want)
		}
	}
	for _, kind := range []string{"application/json", "application/json; charset=utf-8", "Application/JSON"} {
		if a := h.Call("POST", "/execute/async", h.Ann, apitest.Hello, "Content-Type: "+kind); a.Status != 200 {
			t.Errorf("%s: got %d %s", kind, a.Status, a.Body)
		}
	}
}

func TestANumberThatIsTooLargeIsRefusedWithItsBounds(t *testing.T) {
	h := apitest.Open(t)
	for value, want := range map[string]string{
		`"timeout":1e400`:                "timeout must be between 1 and 86400 seconds; 0 stands for 3600.",
		`"timeout":18446744073709551616`: "timeout must be between 1 and 86400 seconds; 0 stands for 3600.",
		`"timeout":-1`:                   "timeout must be between 1 and 86400 seconds; 0 stands for 3600.",
		`"limits":{"memory":1e400}`: "limits.memory must be between 16777216 and 536870912 bytes for " +
			"this language.",
		`"limits":{"cpus":1e400}`:                "limits.cpus must be between 0.01 and 1 CPUs for this language.",
		`"limits":{"pids":99999999999999999999}`: "limits.pids must be between 1 and 128 processes for this language.",
	} {
		a := h.Call("POST", "/execute/async", h.Ann, `{"code":"1","callback_url":"https://example.com/",`+value+`}`,
			apitest.AsJSON)
		message := fmt.Sprint(a.JSON(t)["message"])
		if a.Status != 400 || message != want {
			t.Errorf("%s: got %d %s; want %s", value, a.Status, message, want)
		}
	}
}
