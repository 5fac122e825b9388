package hopx_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/httpapi/apitest"
)

// recorded is a request that a published client has sent.
type recorded struct {
	Client, Method, Path, Body string
	Headers                    map[string]string
}

// recordings are the requests of both clients, as they were recorded.
func recordings(t *testing.T) (all []recorded) {
	t.Helper()
	files, err := filepath.Glob("testdata/hopx-*-sdk.jsonl")
	if err != nil || len(files) != 2 {
		t.Fatalf("got %v, %v; want two files", files, err)
	}
	for _, path := range files {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			var r recorded
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
		}
		if err := file.Close(); err != nil || lines.Err() != nil {
			t.Fatal(err, lines.Err())
		}
	}
	return all
}

// The kinds of values that the models of the clients require.
type kind func(v any) bool

func text(v any) bool    { _, ok := v.(string); return ok }
func number(v any) bool  { _, ok := v.(float64); return ok }
func boolean(v any) bool { _, ok := v.(bool); return ok }
func list(v any) bool    { _, ok := v.([]any); return ok }
func fields(v any) bool  { _, ok := v.(map[string]any); return ok }

func whole(v any) bool {
	n, ok := v.(float64)
	return ok && n == float64(int64(n))
}

// instant is a time with a zone: the clients refuse a time without one.
func instant(v any) bool {
	_, err := time.Parse(time.RFC3339Nano, fmt.Sprint(v))
	return err == nil
}

func is(word string) kind { return func(v any) bool { return v == word } }
func maybe(k kind) kind   { return func(v any) bool { return v == nil || k(v) } }
func oneOf(all ...string) kind {
	return func(v any) bool {
		for _, word := range all {
			if v == word {
				return true
			}
		}
		return false
	}
}

func absolute(v any) bool {
	u, err := url.Parse(fmt.Sprint(v))
	return err == nil && u.IsAbs() && u.Host != "" && u.Path == ""
}

// ahead is a time of more than 90 minutes from now, in whole seconds: clients fetch a new token before each call in the
// last hour, and older clients read no fractions.
func ahead(v any) bool {
	at, err := time.Parse("2006-01-02T15:04:05Z", fmt.Sprint(v))
	return err == nil && time.Until(at) > time.Hour+30*time.Minute
}

// models are the fields that the clients read of each answer.
var models = map[string]map[string]kind{
	"POST /execute/async": {
		"execution_id": text, "status": is("queued"), "callback_url": is("https://example.com/hook"), "message": text,
		"timestamp": instant,
	},
	"POST /execute": {
		"success": boolean, "stdout": text, "stderr": text, "exit_code": maybe(whole), "execution_time": number,
		"language":  is("python"),
		"timestamp": instant, "execution_id": text,
	},
	"POST /execute/background": {
		"process_id": text, "execution_id": text, "name": is("n"), "status": oneOf("queued", "running"),
		"start_time": instant, "message": text,
	},
	"GET /execute/processes": {"processes": list, "count": whole, "timestamp": instant},
	"GET /env":               {"env_vars": fields, "count": whole, "timestamp": instant},
	"GET /metrics/snapshot": {
		"uptime_seconds": number, "active_executions": whole, "total_executions": whole, "process": fields,
		"system": fields, "cache": fields,
	},
	"GET /health": {
		"status": is("healthy"), "agent": text, "version": text, "uptime": text,
		"go_version": text, "features": fields,
	},
	"GET /v1/sandboxes/sb1": {
		"id": is("sb1"), "status": is("running"), "public_host": absolute,
		"organization_id": whole,
	},
	"POST /v1/sandboxes/sb1/token/refresh": {"auth_token": text, "token_expires_at": ahead},
	"POST /v1/sandboxes": {
		"id": text, "status": is("running"), "public_host": absolute, "auth_token": text, "token_expires_at": ahead,
	},
	// Both clients report an unknown process, unless the sentence has the words "not found", which they take for a
	// file.
	"POST /execute/kill/proc_1": {
		"error": is("There is no such process."), "message": is("There is no such process."),
		"code": is("PROCESS_NOT_FOUND"),
	},
}

func TestEveryRecordedRequestGetsAnAnswerThatItsClientUnderstands(t *testing.T) {
	h := apitest.Open(t)
	defer h.Work()()
	seen := map[string]int{}
	for _, r := range recordings(t) {
		call := r.Method + " " + r.Path
		seen[call]++
		var headers []string
		for name, value := range r.Headers {
			headers = append(headers, name+": "+strings.NewReplacer("<token>", h.Ann, "<api-key>",
				h.AnnKey).Replace(value))
		}
		a := h.Call(r.Method, r.Path, "", strings.ReplaceAll(r.Body, "<callback-url>", "https://example.com/hook"),
			headers...)
		want := http.StatusOK
		if r.Path == "/execute/kill/proc_1" {
			want = http.StatusNotFound
		}
		if a.Status != want {
			t.Errorf("%s: %s: got %d %s; want %d", r.Client, call, a.Status, a.Body, want)
			continue
		}
		model, known := models[call]
		if !known {
			t.Errorf("%s: nothing is known of what it reads of %s", r.Client, call)
		}
		shown := a.JSON(t)
		for field, kind := range model {
			if v, there := shown[field]; !there || !kind(v) {
				t.Errorf("%s: %s: %s is %v in %s", r.Client, call, field, v, a.Body)
			}
		}
	}
	for call := range models {
		if seen[call] == 0 {
			t.Errorf("%s was not recorded", call)
		}
	}
	list, err := h.Store.List(t.Context(), execution.Filter{Subject: "ann", Limit: 200})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Executions) != 4+3+2 {
		t.Errorf("%d executions are stored; want 4 async, 3 that were waited for and 2 in the background",
			len(list.Executions))
	}
	for _, e := range list.Executions {
		if e.WorkingDir != "/workspace" || e.Timeout != 30*time.Minute && e.Timeout != 2*time.Minute &&
			e.Timeout != 5*time.Minute {
			t.Errorf("stored %+v; want what was asked", e)
		}
	}
}
