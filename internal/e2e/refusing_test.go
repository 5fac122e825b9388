//go:build e2e

package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/config"
	"boomerang/internal/execution"
)

const plainBash = "languages:\n  bash: {image: 'boomerang/bash:latest', pull: never, file: main.sh, command: [bash, '{file}'], warm: 0}\n"

// seccomp makes the server use a profile of this text.
func seccomp(t testing.TB, text string) func(*config.Config) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "seccomp.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *config.Config) { c.Docker.Seccomp = path }
}

// engineCheck waits until the check "engine" of /readyz fails, or passes with the engine proven, and returns its sentence.
func (h *house) engineCheck(ok bool) string {
	h.t.Helper()
	for end := time.Now().Add(patience); ; <-time.After(100 * time.Millisecond) {
		_, answer := h.call(http.MethodGet, "/readyz", nil)
		warned := false
		for _, w := range list(answer["warnings"]) {
			warned = warned || strings.Contains(w.(string), "no container was started")
		}
		for _, c := range list(answer["checks"]) {
			check := c.(map[string]any)
			if check["name"] == "engine" && check["ok"] == ok && !warned {
				sentence, _ := check["error"].(string)
				return sentence
			}
		}
		if time.Now().After(end) {
			h.t.Fatalf("the check never was %t: %v", ok, answer)
		}
	}
}

func list(of any) []any {
	l, _ := of.([]any)
	return l
}

func TestAnEngineThatRefusesEveryContainerIsToldAtOnce(t *testing.T) {
	h := enter(t, catalogue(t, strings.Replace(plainBash, "warm: 0", "warm: 0, runtime: no-such-runtime", 1)))
	if got := h.engineCheck(false); !strings.Contains(got, "refuses every container") {
		t.Errorf("/readyz says %q", got)
	}
	begin := time.Now()
	id := h.submit("echo never", bash)
	h.expect(id, ending{Status: execution.Failed, Reason: execution.StartFailed, ExitCode: none, NeverRan: true}, "refused", `"bash"`)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if log := h.log.String(); !strings.Contains(log, "no-such-runtime") {
		t.Error("the log does not have the engine's words")
	}
	if err := os.WriteFile(h.config.Languages.File, []byte(plainBash), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.app.Reload(); err != nil {
		t.Fatal(err)
	}
	h.expect(h.submit("echo now", bash), ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "now\n"})
	if got := h.engineCheck(true); got != "" {
		t.Errorf("/readyz says %q after an execution", got)
	}
}

func TestAnEngineThatCannotReadTheSeccompProfileFailsItsCheck(t *testing.T) {
	profile := `{"defaultAction": "SCMP_ACT_NO_SUCH_ACTION", "syscalls": [` +
		strings.Repeat(`{"names": ["read", "write", "a_name_of_the_profile"], "action": "SCMP_ACT_ALLOW"}, `, 200) + `{"names": ["exit"], "action": "SCMP_ACT_ALLOW"}]}`
	h := enter(t, catalogue(t, plainBash), seccomp(t, profile))
	h.config.Log.Level = "debug"
	if got := h.engineCheck(false); got == "" {
		t.Error("/readyz has no sentence")
	}
	if status, failing := h.failing(); status != http.StatusServiceUnavailable || !cmp.Equal(failing, []string{"engine"}) {
		t.Errorf("readyz: %d, failing %v", status, failing)
	}
	if strings.Contains(h.log.String(), "a_name_of_the_profile") {
		t.Error("the log has the profile")
	}
}

func TestAServerProvesItsEngine(t *testing.T) {
	h := enter(t, catalogue(t, plainBash))
	begin := time.Now()
	if status, failing := h.failing(); status != http.StatusOK {
		t.Errorf("readyz right after the start: %d, failing %v", status, failing)
	}
	h.engineCheck(true)
	t.Logf("proven after %s", time.Since(begin))
	for end := time.Now().Add(patience); len(h.containers()) > 0; <-time.After(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the container of the proof is left")
		}
	}
}
