//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"boomerang/internal/auth"
	"boomerang/internal/config"
	"boomerang/internal/execution"
)

// newHarnessWithKeys starts a server with an API key for each subject.
func newHarnessWithKeys(t *testing.T, subjects ...string) (h *harness, keys []string) {
	t.Helper()
	return newHarness(t, func(c *config.Config) {
		for _, subject := range subjects {
			key, hashed, err := auth.NewAPIKey(subject)
			if err != nil {
				t.Fatal(err)
			}
			keys, c.Auth.APIKeys = append(keys, key), append(c.Auth.APIKeys, hashed)
		}
	}), keys
}

// sdkPatience is the time after which a published SDK repeats a call that runs no program.
const sdkPatience = 10 * time.Second

func TestEveryRecordedSDKRequestIsAnswered(t *testing.T) {
	h, keys := newHarnessWithKeys(t, "me")
	arrived := make(chan execution.ID, 16)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body struct {
			ID execution.ID `json:"execution_id"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		arrived <- body.ID
	}))
	t.Cleanup(hook.Close)
	fill := strings.NewReplacer("<token>", h.token, "<api-key>", keys[0], "<callback-url>", hook.URL)
	files, err := filepath.Glob("../hopx/testdata/hopx-*-sdk.jsonl")
	if err != nil || len(files) != 2 {
		t.Fatalf("got %v, %v; want two files", files, err)
	}
	posted := map[execution.ID]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
			var recorded struct {
				Client, Method, Path, Body string
				Headers                    map[string]string
			}
			if err := json.Unmarshal(lines.Bytes(), &recorded); err != nil {
				t.Fatal(err)
			}
			within := sdkPatience
			if recorded.Path == "/execute" {
				within = patience
			}
			status, answer := h.replay(recorded.Method, recorded.Path, fill.Replace(recorded.Body), recorded.Headers,
				fill, within)
			want := http.StatusOK
			if strings.HasPrefix(recorded.Path, "/execute/kill/") {
				want = http.StatusNotFound
			}
			if status != want {
				t.Errorf("%s %s %s: got %d %v; want %d", recorded.Client, recorded.Method, recorded.Path, status,
					answer, want)
			}
			switch recorded.Path {
			case "/execute/async":
				posted[execution.ID(answer["execution_id"].(string))] = true
			case "/execute":
				stderr, _ := answer["stderr"].(string)
				printed := answer["success"] == true && answer["stdout"] == "1\n" && answer["exit_code"] == 0.0
				refused := answer["success"] == false && answer["exit_code"] == 1.0 &&
					strings.Contains(stderr, "NameError")
				if strings.Contains(recorded.Body, "print(1)") != printed || printed == refused {
					t.Errorf("%s: %s: got %v", recorded.Client, recorded.Body, answer)
				}
			}
		}
	}
	for waiting := maps.Clone(posted); len(waiting) > 0; {
		select {
		case id := <-arrived:
			delete(waiting, id)
		case <-time.After(patience):
			t.Fatalf("no callbacks of %v arrived", slices.Collect(maps.Keys(waiting)))
		}
	}
	if len(posted) != 4 {
		t.Errorf("got %d callbacks, want 4", len(posted))
	}
	for _, status := range []string{"queued", "running"} { // they would otherwise outlive the server
		if !eventually(t, func() bool {
			_, answer := h.call(http.MethodGet, "/executions?status="+status, nil)
			open, _ := answer["executions"].([]any)
			return len(open) == 0
		}) {
			t.Errorf("some executions are still %s", status)
		}
	}
}

// replay sends a recorded request unchanged.
func (h *harness) replay(
	method, path, body string, headers map[string]string, fill *strings.Replacer, within time.Duration,
) (status int, answer map[string]any) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), within)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for name, value := range headers {
		r.Header.Set(name, fill.Replace(value))
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		h.t.Fatalf("%s %s: %d, no JSON: %q", method, path, response.StatusCode, text)
	}
	return response.StatusCode, answer
}

func TestMinimalSDKClientsWork(t *testing.T) {
	h, keys := newHarnessWithKeys(t, "python", "node")
	var clients sync.WaitGroup
	for i, command := range [][]string{{python(t), "testdata/hopx.py"}, {"node", "testdata/hopx.mjs"}} {
		clients.Go(func() {
			program := exec.CommandContext(t.Context(), command[0], append(command[1:], h.url, keys[i])...)
			if out, err := program.CombinedOutput(); err != nil || string(out) != "ok\n" {
				t.Errorf("%v: %v\n%s", command, err, out)
			}
		})
	}
	clients.Wait()
}

func TestClosingTheConnectionCancelsTheProgram(t *testing.T) {
	h := newHarness(t)
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url+"/execute",
		strings.NewReader(`{"code":"import time\nprint('up', flush=True)\ntime.sleep(300)","timeout":300}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+h.token)
	r.Header.Set("Content-Type", "application/json")
	left := make(chan error, 1)
	go func() {
		response, err := http.DefaultClient.Do(r)
		if err == nil {
			err = response.Body.Close()
		}
		left <- err
	}()
	var id execution.ID
	if !eventually(t, func() bool {
		_, page := h.call(http.MethodGet, "/executions", nil)
		if listed := ids(page); len(listed) == 1 {
			id = execution.ID(listed[0])
		}
		return id != ""
	}) {
		t.Fatal("the submission was not accepted")
	}
	h.awaitOutput(id, "up\n")
	hangUp()
	<-left
	if record := h.awaitRecord(id); record["status"] != "cancelled" || record["stdout"] != "up\n" {
		t.Errorf("got %v, want it cancelled", record)
	}
}
