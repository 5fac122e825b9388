package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"boomerang/internal/callback"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/server"
)

// ended submits an execution with a callback to url and takes it to its end.
func ended(h *apitest.Fixture, token, url string) execution.ID {
	h.T.Helper()
	id := h.Submit(token, fmt.Sprintf(`{"code":"1","callback_url":%q,"callback_headers":{"X-B":"CANARY"},`+
		`"callback_signature_secret":"CANARY"}`, url))
	h.Start(id)
	h.Finish(id, apitest.Completed("CANARY", ""))
	return id
}

// attempted records an attempt that began at moment s and took a second.
func attempted(
	h *apitest.Fixture, id execution.ID, n int, s int64, a execution.Attempt, state execution.DeliveryState,
	reason execution.DeadReason,
) {
	h.T.Helper()
	a.Execution, a.Number, a.StartedAt, a.Duration = id, n, apitest.Moment(s), time.Second
	if err := h.Store.Record(h.T.Context(), a, state, reason, apitest.Moment(s+60)); err != nil {
		h.T.Fatal(err)
	}
}

func failure(status int) execution.Attempt {
	return execution.Attempt{
		Outcome: execution.AttemptStatus, StatusCode: status,
		Detail: fmt.Sprintf("The receiver answered %d.", status),
	}
}

func success() execution.Attempt {
	return execution.Attempt{Outcome: execution.AttemptSucceeded, StatusCode: 204, Detail: "The receiver answered 204."}
}

const receiverURL = "https://example.com/hook?q=1"

func TestTheDeliveryFollowsItsAttempts(t *testing.T) {
	at := apitest.Moment(0)
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) { d.Now = func() time.Time { return at } })
	id := h.Submit(h.Ann, `{"code":"1","callback_url":"`+receiverURL+`","callback_headers":{"X-B":"b"},`+
		`"callback_signature_secret":"s"}`)
	want := map[string]any{
		"execution_id": string(id), "state": "none", "reason": nil, "url": receiverURL,
		"destination": "https://example.com:443",
		"attempts":    0.0, "next_attempt_at": nil, "created_at": nil, "ended_at": nil, "webhook_id": "msg_" +
			string(id),
		"header_names": []any{"X-B"}, "signed": true,
		"explanation": "The execution has not ended yet; its result is posted when it has.",
	}
	check := func(act string, a apitest.Answer) {
		t.Helper()
		if diff := cmp.Diff(want, a.JSON(t)); diff != "" {
			t.Errorf("%s: the delivery differs (-want +got):\n%s", act, diff)
		}
	}
	expect := func(act string) {
		t.Helper()
		check(act, h.Get("/executions/"+string(id)+"/callback", h.Ann))
	}
	expect("queued")

	h.Start(id)
	h.Finish(id, apitest.Completed("", ""))
	at = apitest.Moment(2)
	want["state"], want["next_attempt_at"], want["created_at"] = "pending", "2025-01-28T00:00:02Z",
		"2025-01-28T00:00:02Z"
	want["explanation"] = "No attempt has ended yet. The next attempt has been due since 2025-01-28T00:00:02Z."
	expect("ended")

	attempted(h, id, 1, 3, failure(503), execution.Pending, "")
	want["attempts"], want["next_attempt_at"] = 1.0, "2025-01-28T00:01:03Z"
	want["explanation"] = "Attempt 1 failed: the receiver answered 503. The next attempt is at 2025-01-28T00:01:03Z."
	expect("failed")

	attempted(h, id, 2, 63, failure(410), execution.Dead, execution.Gone)
	want["attempts"], want["state"], want["reason"], want["next_attempt_at"], want["ended_at"] = 2.0, "dead", "gone",
		nil, "2025-01-28T00:01:04Z"
	want["explanation"] = "Given up: the receiver answered 410 Gone."
	expect("gone")

	at = apitest.Moment(100)
	want["state"], want["reason"], want["next_attempt_at"], want["ended_at"] = "pending", nil,
		"2025-01-28T00:01:40Z", nil
	want["explanation"] = "It is sent again after attempt 2: the receiver answered 410. The next attempt has been " +
		"due since 2025-01-28T00:01:40Z."
	check("redelivered", h.Call(http.MethodPost, "/executions/"+string(id)+"/callback/redeliver", h.Ann, ""))
	expect("redelivered")

	attempted(h, id, 3, 100, success(), execution.Delivered, "")
	want["attempts"], want["state"], want["next_attempt_at"], want["ended_at"] = 3.0, "delivered", nil,
		"2025-01-28T00:01:41Z"
	want["explanation"] = "Delivered at attempt 3: the receiver answered 204."
	expect("delivered")

	want["state"], want["next_attempt_at"], want["ended_at"] = "pending", "2025-01-28T00:01:40Z", nil
	want["explanation"] = "It is sent again after attempt 3: the receiver answered 204. The next attempt has been " +
		"due since 2025-01-28T00:01:40Z."
	check("delivered once more", h.Call(http.MethodPost, "/executions/"+string(id)+"/callback/redeliver", h.Ann, ""))
}

func TestTheExplanationOfADeadDeliveryNamesTheCause(t *testing.T) {
	h := apitest.Open(t)
	blocked := execution.Attempt{
		Outcome: execution.AttemptBlocked,
		Detail:  "The callback must not go to a private address.",
	}
	for reason, c := range map[execution.DeadReason]struct {
		attempt execution.Attempt
		want    string
	}{
		execution.Blocked: {blocked, "Given up: the callback must not go to a private address."},
		execution.Exhausted: {failure(500), "Given up: the schedule has no further attempt. Attempt 1 failed: the " +
			"receiver answered 500."},
	} {
		id := ended(h, h.Ann, receiverURL)
		attempted(h, id, 1, 3, c.attempt, execution.Dead, reason)
		if got := h.Get("/executions/"+string(id)+"/callback", h.Ann).JSON(t)["explanation"]; got != c.want {
			t.Errorf("%s: got %q; want %q", reason, got, c.want)
		}
	}
}

func TestTheExplanationOfADueDeliveryTellsOfAnOpenBreaker(t *testing.T) {
	now := apitest.Moment(100)
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) { d.Now = func() time.Time { return now } })
	id := ended(h, h.Ann, receiverURL)
	attempted(h, id, 1, 3, failure(503), execution.Pending, "") // the next at moment 63
	const own = "https://example.com:443"
	const due = "Attempt 1 failed: the receiver answered 503. The next attempt has been due since 2025-01-28T00:01:03Z."
	for _, c := range []struct {
		breaker execution.Breaker
		want    string
	}{
		{
			execution.Breaker{
				Subject: "ann", Destination: "https://other.example:443", Openings: 1, OpenUntil: apitest.Moment(160),
			}, due,
		},
		{execution.Breaker{Subject: "ann", Destination: own, Openings: 1, OpenUntil: apitest.Moment(99)}, due},
		{execution.Breaker{Subject: "bob", Destination: own, Openings: 1, OpenUntil: apitest.Moment(160)}, due},
		{
			execution.Breaker{Subject: "ann", Destination: own, Openings: 2, OpenUntil: apitest.Moment(160)},
			"Attempt 1 failed: the receiver answered 503. " +
				"Nearly all attempts to https://example.com:443 fail, so nothing is sent there before " +
				"2025-01-28T00:02:40Z.",
		},
	} {
		if err := h.Store.KeepBreaker(t.Context(), c.breaker); err != nil {
			t.Fatal(err)
		}
		if got := h.Get("/executions/"+string(id)+"/callback", h.Ann).JSON(t)["explanation"]; got != c.want {
			t.Errorf("%+v: got %q; want %q", c.breaker, got, c.want)
		}
	}
	now = apitest.Moment(61)
	attempted(h, id, 2, 120, failure(503), execution.Pending, "") // the next after the breaker's end
	if got := h.Get("/executions/"+string(id)+"/callback", h.Ann).JSON(t)["explanation"]; got !=
		"Attempt 2 failed: the receiver answered 503. The next attempt is at 2025-01-28T00:03:00Z." {
		t.Errorf("later than the breaker: got %q", got)
	}
}

func TestAnExecutionWithoutACallbackSaysSo(t *testing.T) {
	h := apitest.Open(t)
	id := string(h.Call(http.MethodPost, "/execute/background", h.Ann, `{"code":"1"}`, apitest.AsJSON).ID(t))
	got := h.Get("/executions/"+id+"/callback", h.Ann).JSON(t)
	if got["explanation"] != "The execution has no callback." || got["state"] != "none" || got["url"] != "" ||
		got["destination"] != "" {
		t.Errorf("got %v; want that there is none", got)
	}
	if a := h.Get("/executions/"+id+"/callback/attempts", h.Ann); a.JSON(t)["count"] != 0.0 {
		t.Errorf("got %s; want no attempts", a.Body)
	}
	queued := string(h.Submit(h.Ann, apitest.Hello))
	for id, want := range map[string]string{
		id:     "The execution has no callback.",
		queued: "The execution has not ended yet; its result is posted when it has.",
	} {
		a := h.Call(http.MethodPost, "/executions/"+id+"/callback/redeliver", h.Ann, "")
		if got := a.JSON(t); a.Status != http.StatusConflict || got["code"] != "CONFLICT" || got["message"] != want {
			t.Errorf("got %d %s; want 409 CONFLICT: %s", a.Status, a.Body, want)
		}
	}
}

func TestAttemptsAreShownWithTheAnswers(t *testing.T) {
	h := apitest.Open(t)
	id := ended(h, h.Ann, receiverURL)
	text := failure(503)
	text.Answer, text.RetryAfter = []byte("maintenance <until noon>\n"), 90*time.Second
	bytes := failure(500)
	bytes.Answer = []byte("a\xff\x00b")
	attempted(h, id, 1, 3, text, execution.Pending, "")
	attempted(h, id, 2, 63, bytes, execution.Pending, "")
	attempted(h, id, 3, 123, execution.Attempt{
		Outcome: execution.AttemptDNS,
		Detail:  "The receiver's name has no address.",
	}, execution.Pending, "")
	want := map[string]any{
		"execution_id": string(id), "count": 3.0,
		"attempts": []any{
			map[string]any{
				"number": 1.0, "started_at": "2025-01-28T00:00:03Z", "duration": 1.0, "outcome": "http_status",
				"status_code": 503.0,
				"detail":      "The receiver answered 503.", "answer": "maintenance <until noon>\n",
				"answer_base64": nil,
				"retry_after":   90.0,
			},
			map[string]any{
				"number": 2.0, "started_at": "2025-01-28T00:01:03Z", "duration": 1.0, "outcome": "http_status",
				"status_code": 500.0,
				"detail":      "The receiver answered 500.", "answer": "a\uFFFD\x00b", "answer_base64": "Yf8AYg==",
				"retry_after": nil,
			},
			map[string]any{
				"number": 3.0, "started_at": "2025-01-28T00:02:03Z", "duration": 1.0, "outcome": "dns_error",
				"status_code": nil,
				"detail":      "The receiver's name has no address.", "answer": "", "answer_base64": nil,
				"retry_after": nil,
			},
		},
	}
	if diff := cmp.Diff(want, h.Get("/executions/"+string(id)+"/callback/attempts", h.Ann).JSON(t)); diff != "" {
		t.Errorf("the attempts differ (-want +got):\n%s", diff)
	}
}

func TestToOthersADeliveryDoesNotExist(t *testing.T) {
	h := apitest.Open(t)
	id := ended(h, h.Ann, receiverURL)
	attempted(h, id, 1, 3, failure(410), execution.Dead, execution.Gone)
	for _, call := range [][2]string{
		{http.MethodGet, "/executions/%s/callback"},
		{http.MethodGet, "/executions/%s/callback/attempts"},
		{http.MethodPost, "/executions/%s/callback/redeliver"},
	} {
		words := map[string]bool{}
		for _, id := range []string{string(id), "exec_00000000000000000000000000", "nonsense"} {
			a := h.Call(call[0], fmt.Sprintf(call[1], id), h.Bob, "")
			if a.Status != http.StatusNotFound || a.JSON(t)["code"] != "EXECUTION_NOT_FOUND" {
				t.Errorf("%v: got %d %s; want 404 EXECUTION_NOT_FOUND", call, a.Status, a.Body)
			}
			words[fmt.Sprint(a.JSON(t)["message"])] = true
		}
		if len(words) != 1 {
			t.Errorf("%v: got %v; want the same words for another's, a missing and an impossible one", call, words)
		}
	}
	if a := h.Call(http.MethodPost, "/callbacks/recover", h.Bob, ""); a.JSON(t)["recovered"] != 0.0 {
		t.Errorf("another's recovery: got %s; want none", a.Body)
	}
	if a := h.Get("/callbacks", h.Bob); a.JSON(t)["count"] != 0.0 {
		t.Errorf("another's list: got %s; want none", a.Body)
	}
	if d, err := h.Store.Delivery(t.Context(), id); err != nil || d.State != execution.Dead {
		t.Errorf("got %s, %v; want it still dead", d.State, err)
	}
	if a := h.Get("/executions/"+string(id)+"/callback", h.Admin); a.Status != http.StatusOK {
		t.Errorf("an administrator: got %d %s; want the delivery", a.Status, a.Body)
	}
	if a := h.Call(http.MethodPost, "/callbacks/recover", h.Admin, ""); a.JSON(t)["recovered"] != 1.0 {
		t.Errorf("an administrator's recovery: got %s; want 1", a.Body)
	}
}

func TestDeliveriesShowNoSecrets(t *testing.T) {
	h := apitest.Open(t)
	id := ended(h, h.Ann, "https://example.com/hook")
	for _, path := range []string{"/callbacks", "/executions/" + string(id) + "/callback", "/executions/" + string(id) +
		"/callback/attempts"} {
		if a := h.Get(path, h.Ann); a.Status != http.StatusOK || strings.Contains(a.Body, "CANARY") {
			t.Errorf("%s: got %d %s; want it without secrets", path, a.Status, a.Body)
		}
	}
}

func executionIDs(page map[string]any) (ids []execution.ID) {
	list, _ := page["callbacks"].([]any)
	for _, item := range list {
		line, _ := item.(map[string]any)
		ids = append(ids, execution.ID(fmt.Sprint(line["execution_id"])))
	}
	return ids
}

func TestCallbacksAreListedAndChosen(t *testing.T) {
	h := apitest.Open(t)
	pending := ended(h, h.Ann, receiverURL)
	dead := ended(h, h.Ann, "https://other.example:8443/hook")
	attempted(h, dead, 1, 3, failure(410), execution.Dead, execution.Gone)
	delivered := ended(h, h.Ann, receiverURL)
	attempted(h, delivered, 1, 3, success(), execution.Delivered, "")
	ended(h, h.Bob, receiverURL)
	h.Submit(h.Ann, apitest.Hello) // has not ended
	for query, want := range map[string][]execution.ID{
		"":                      {delivered, dead, pending},
		"status=dead":           {dead},
		"status=pending,dead":   {dead, pending},
		"cursor=":               {delivered, dead, pending},
		"limit=2":               {delivered, dead},
		"since=" + stamped(2):   {delivered, dead, pending},
		"since=" + stamped(3):   nil,
		"until=" + stamped(2):   nil,
		"until=" + stamped(3):   {delivered, dead, pending},
		"destination=" + quoted: {delivered, pending},
		"destination=" + url.QueryEscape("https://other.example:8443/elsewhere"): {dead},
		"destination=" + url.QueryEscape("https://other.example"):                nil,
	} {
		a := h.Get("/callbacks?"+query, h.Ann)
		if got := executionIDs(a.JSON(t)); a.Status != http.StatusOK || !slices.Equal(got, want) {
			t.Errorf("%s: got %d %v; want %v", query, a.Status, got, want)
		}
	}
	want := map[string]any{
		"execution_id": string(dead), "state": "dead", "reason": "gone", "url": "https://other.example:8443/hook",
		"destination": "https://other.example:8443", "attempts": 1.0, "next_attempt_at": nil,
		"created_at": "2025-01-28T00:00:02Z", "ended_at": "2025-01-28T00:00:04Z",
	}
	if diff := cmp.Diff([]any{want}, h.Get("/callbacks?status=dead", h.Ann).JSON(t)["callbacks"]); diff != "" {
		t.Errorf("the dead one (-want +got):\n%s", diff)
	}
	if p := h.Get("/callbacks", h.Admin).JSON(t); p["count"] != 4.0 {
		t.Errorf("an administrator: got %v; want 4", p["count"])
	}
}

var quoted = url.QueryEscape("https://EXAMPLE.com./anything")

func stamped(s int64) string { return apitest.Moment(s).Format(time.RFC3339) }

func TestTheListOfCallbacksGoesThroughAllOnce(t *testing.T) {
	h := apitest.Open(t)
	var want, got []execution.ID
	for range 5 { // all created at the same time
		want = append([]execution.ID{ended(h, h.Ann, receiverURL)}, want...)
	}
	for path := "/callbacks?limit=2"; ; {
		p := h.Get(path, h.Ann).JSON(t)
		got = append(got, executionIDs(p)...)
		if p["next_cursor"] == nil {
			break
		}
		path = fmt.Sprintf("/callbacks?limit=2&cursor=%s", p["next_cursor"])
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
}

func TestRecoverSendsTheChosenDeliveriesAgain(t *testing.T) {
	h := apitest.Open(t)
	for _, to := range []string{receiverURL, receiverURL, "https://other.example/"} {
		id := ended(h, h.Ann, to)
		attempted(h, id, 1, 3, failure(500), execution.Dead, execution.Exhausted)
	}
	for _, c := range []struct {
		query string
		want  float64
	}{
		{"since=" + stamped(3), 0},
		{"destination=" + quoted + "&since=" + stamped(2), 2},
		{"", 1},
		{"", 0},
	} {
		a := h.Call(http.MethodPost, "/callbacks/recover?"+c.query, h.Ann, "")
		if a.Status != http.StatusOK || a.JSON(t)["recovered"] != c.want {
			t.Errorf("%q: got %d %s; want %v", c.query, a.Status, a.Body, c.want)
		}
	}
	due, _, err := h.Store.News(t.Context(), execution.NewsCursor{}, 10)
	if err != nil || len(due) != 3 {
		t.Errorf("got %d due, %v; want 3", len(due), err)
	}
}

func TestAWrongParameterOfTheCallbacksIsNamed(t *testing.T) {
	h := apitest.Open(t)
	for path, field := range map[string]string{
		"GET /callbacks?status=none":                     "status",
		"GET /callbacks?status=dead,":                    "status",
		"GET /callbacks?limit=201":                       "limit",
		"GET /callbacks?since=yesterday":                 "since",
		"GET /callbacks?until=1":                         "until",
		"GET /callbacks?cursor=last":                     "cursor",
		"GET /callbacks?cursor=1738022402000000000":      "cursor",
		"GET /callbacks?cursor=1738022402000000000.exec": "cursor",
		"GET /callbacks?destination=example.com":         "destination",
		"GET /callbacks?destination=ftp://example.com":   "destination",
		"GET /callbacks?destination=https://":            "destination",
		"POST /callbacks/recover?since=now":              "since",
		"POST /callbacks/recover?destination=%2F":        "destination",
	} {
		method, target, _ := strings.Cut(path, " ")
		a := h.Call(method, target, h.Ann, "")
		details, _ := a.JSON(t)["details"].(map[string]any)
		if a.Status != http.StatusBadRequest || details["field"] != field {
			t.Errorf("%s: got %d %s; want 400 of %s", path, a.Status, a.Body, field)
		}
	}
}

// scripted is a Try that answers with a trial and remembers the sample.
type scripted struct {
	trial  callback.Trial
	err    error
	sample callback.Sample
}

func (s *scripted) try(_ context.Context, sample callback.Sample) (callback.Trial, error) {
	s.sample = sample
	return s.trial, s.err
}

func TestATestAnswersWithTheOutcome(t *testing.T) {
	s := &scripted{}
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) { d.Try = s.try })
	body := `{"callback_url":"` + receiverURL +
		`","callback_headers":{"X-A":"a"},"callback_signature_secret":["new","old"]}`
	for name, c := range map[string]struct {
		trial callback.Trial
		want  map[string]any
	}{
		"arrived": {
			callback.Trial{
				Outcome: execution.AttemptSucceeded, Resolved: true, Connected: true, TLS: "TLS 1.3", StatusCode: 200,
				Answer: []byte("ok"),
				Detail: "The receiver answered 200.", Duration: 1500 * time.Millisecond, Body: []byte(`{"a":"<b>"}`),
			},
			map[string]any{
				"url": receiverURL, "arrived": true, "outcome": "delivered", "detail": "The receiver answered 200.",
				"rule": nil, "resolved": true,
				"connected": true, "tls": "TLS 1.3", "status_code": 200.0, "answer": "ok", "answer_base64": nil,
				"duration": 1.5, "signed": true,
				"body": `{"a":"<b>"}`,
			},
		},
		"blocked": {
			callback.Trial{
				Outcome: execution.AttemptBlocked, Rule: "a private address",
				Detail: "The callback must not go to a private address.", Resolved: true,
			},
			map[string]any{
				"url": receiverURL, "arrived": false, "outcome": "blocked",
				"detail": "The callback must not go to a private address.",
				"rule":   "a private address", "resolved": true, "connected": false, "tls": nil, "status_code": nil,
				"answer": "", "answer_base64": nil,
				"duration": 0.0, "signed": true, "body": "",
			},
		},
	} {
		s.trial = c.trial
		a := h.Call(http.MethodPost, "/callbacks/test", h.Ann, body, apitest.AsJSON)
		if diff := cmp.Diff(c.want, a.JSON(t)); a.Status != http.StatusOK || diff != "" {
			t.Errorf("%s: got %d (-want +got):\n%s", name, a.Status, diff)
		}
		want := callback.Sample{
			Subject: "ann", URL: receiverURL, Headers: map[string]string{"X-A": "a"},
			Secrets: []string{"new", "old"},
		}
		if diff := cmp.Diff(want, s.sample); diff != "" {
			t.Errorf("%s: the sample (-want +got):\n%s", name, diff)
		}
	}
	for _, entry := range h.Log.AllEntries() {
		if line, _ := entry.String(); strings.Contains(line, "q=1") || strings.Contains(line, "hook") {
			t.Errorf("the log has the path or query of the URL: %s", line)
		}
	}
	s.err = errors.New("the cause")
	if a := h.Call(http.MethodPost, "/callbacks/test", h.Ann, body,
		apitest.AsJSON); a.Status != http.StatusInternalServerError || strings.Contains(a.Body, "cause") {
		t.Errorf("our own failure: got %d %s; want 500 without its cause", a.Status, a.Body)
	}
}

func TestATestRefusesTheCallbacksThatASubmissionRefuses(t *testing.T) {
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) {
		d.Try = func(context.Context, callback.Sample) (callback.Trial, error) {
			t.Error("something was sent")
			return callback.Trial{}, nil
		}
	})
	for body, code := range map[string]string{
		`{}`:                     "MISSING_PARAMETER",
		`{"callback_url":"/a"}`:  "INVALID_REQUEST",
		`{"callback_url":3}`:     "INVALID_REQUEST",
		`{"callback_url":"x"} x`: "INVALID_JSON",
		`{"callback_url":"http://169.254.169.254/latest"}`:                               "CALLBACK_NOT_ALLOWED",
		`{"callback_url":"https://example.com/","callback_headers":{"Host":"a"}}`:        "INVALID_REQUEST",
		`{"callback_url":"https://example.com/","callback_signature_secret":[""]}`:       "INVALID_REQUEST",
		`{"callback_url":"https://example.com/","callback_signature_secret":["a",null]}`: "INVALID_REQUEST",
	} {
		test := h.Call(http.MethodPost, "/callbacks/test", h.Ann, body, apitest.AsJSON)
		submission := h.Call(http.MethodPost, "/execute/async", h.Ann, strings.Replace(body, "{", `{"code":"1",`, 1),
			apitest.AsJSON)
		if body == `{}` {
			submission = h.Call(http.MethodPost, "/execute/async", h.Ann, `{"code":"1"}`, apitest.AsJSON)
		}
		got, want := test.JSON(t), submission.JSON(t)
		same := got["message"] == want["message"] && cmp.Equal(got["details"], want["details"])
		if test.Status != submission.Status || got["code"] != code || want["code"] != code ||
			code != "INVALID_JSON" && !same {
			t.Errorf("%s: got %d %s; want as for a submission, %d %s", body, test.Status, test.Body, submission.Status,
				submission.Body)
		}
	}
	if a := h.Call(http.MethodPost, "/callbacks/test", h.Ann, "{}"); a.Status != http.StatusUnsupportedMediaType {
		t.Errorf("without a type: got %d; want 415", a.Status)
	}
	if a := h.Call(http.MethodPost, "/callbacks/test", "", "{}", apitest.AsJSON); a.Status != http.StatusUnauthorized {
		t.Errorf("without a token: got %d; want 401", a.Status)
	}
}

func TestARefusedTestIsAnAnswerOfItsOwn(t *testing.T) {
	var subject string
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) {
		d.Try = func(_ context.Context, s callback.Sample) (callback.Trial, error) {
			subject = s.Subject
			return callback.Trial{}, fault.New(fault.RateLimitExceeded, "Too many of your tests.")
		}
	})
	a := h.Call(http.MethodPost, "/callbacks/test", h.Ann, `{"callback_url":"https://example.com/"}`, apitest.AsJSON)
	if a.Status != http.StatusTooManyRequests || a.JSON(t)["message"] != "Too many of your tests." ||
		a.Header.Get("Retry-After") == "" || subject != "ann" {
		t.Errorf("got %d %s for the subject %q; want 429 RATE_LIMIT_EXCEEDED for ann", a.Status, a.Body, subject)
	}
}

// The receiver takes longer than any other request may: 1.5 s with a timeout of 1 s.
func TestATestMayTakeAsLongAsItsReceiver(t *testing.T) {
	h := apitest.Open(t, func(c *server.Config, d *apitest.Deps) {
		c.Timeout = time.Second
		d.Try = func(ctx context.Context, _ callback.Sample) (callback.Trial, error) {
			select {
			case <-ctx.Done():
				return callback.Trial{}, context.Cause(ctx)
			case <-time.After(1500 * time.Millisecond):
				return callback.Trial{Outcome: execution.AttemptSucceeded, StatusCode: 200}, nil
			}
		}
	})
	a := h.Call(http.MethodPost, "/callbacks/test", h.Ann, `{"callback_url":"https://example.com/"}`, apitest.AsJSON)
	if a.Status != http.StatusOK || a.JSON(t)["arrived"] != true {
		t.Errorf("got %d %s; want what happened", a.Status, a.Body)
	}
}

func TestAskingAgainIsLogged(t *testing.T) {
	h := apitest.Open(t)
	id := ended(h, h.Ann, receiverURL)
	attempted(h, id, 1, 3, failure(500), execution.Dead, execution.Exhausted)
	h.Call(http.MethodPost, "/callbacks/recover", h.Ann, "")
	h.Call(http.MethodPost, "/executions/"+string(id)+"/callback/redeliver", h.Ann, "")
	lines := map[string]logrus.Fields{}
	for _, entry := range h.Log.AllEntries() {
		lines[entry.Message] = entry.Data
	}
	if got := lines["dead callbacks asked for again"]; got["recovered"] != 1 || got["subject"] != "ann" {
		t.Errorf("recovery: %v", got)
	}
	if got := lines["callback asked for again"]; got["execution_id"] != id || got["subject"] != "ann" {
		t.Errorf("redelivery: %v", got)
	}
}
