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

const plainBash = "languages:\n" +
	"  bash: {image: 'boomerang/bash:latest', pull: never, file: main.sh, command: [bash, '{file}'], warm: 0}\n"

// withSeccomp makes the server use a profile with this text.
func withSeccomp(t testing.TB, text string) func(*config.Config) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "seccomp.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *config.Config) { c.Docker.Seccomp = path }
}

// awaitEngineCheck waits until the check "engine" of /readyz fails, or passes after a container has started. It returns
// the error of the check.
func (h *harness) awaitEngineCheck(ok bool) string {
	h.t.Helper()
	for end := time.Now().Add(patience); ; <-time.After(100 * time.Millisecond) {
		_, answer := h.readiness()
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
			h.t.Fatalf("the engine check never became %t: %v", ok, answer)
		}
	}
}

// list returns a JSON array, or nil if the value is none.
func list(of any) []any {
	l, _ := of.([]any)
	return l
}

func TestAnEngineThatRefusesEveryContainerIsReportedAtOnce(t *testing.T) {
	h := newHarness(t, withLanguages(t, strings.Replace(plainBash, "warm: 0", "warm: 0, runtime: no-such-runtime", 1)))
	if got := h.awaitEngineCheck(false); !strings.Contains(got, "refuses every container") {
		t.Errorf("got the error %q in /readyz", got)
	}
	begin := time.Now()
	id := h.submit("echo never", bash)
	h.expectResult(id, result{
		Status: execution.Failed, Reason: execution.StartFailed, ExitCode: noExitCode,
		NeverRan: true,
	}, "refused", `"bash"`)
	if took := time.Since(begin); took > time.Minute { // a failure, unlike a refusal, is tried for two minutes
		t.Errorf("the execution took %s, want an end without another try", took)
	}
	if log := h.log.String(); !strings.Contains(log, "no-such-runtime") {
		t.Error("the log does not contain the message of the engine")
	}
	if err := os.WriteFile(h.config.Languages.File, []byte(plainBash), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.app.Reload(h.config); err != nil {
		t.Fatal(err)
	}
	h.expectResult(h.submit("echo now", bash), completed("now\n"))
	if got := h.awaitEngineCheck(true); got != "" {
		t.Errorf("got the error %q in /readyz after an execution", got)
	}
}

func TestAnEngineThatCannotReadTheSeccompProfileFailsItsCheck(t *testing.T) {
	profile := `{"defaultAction": "SCMP_ACT_NO_SUCH_ACTION", "syscalls": [` +
		strings.Repeat(`{"names": ["read", "write", "a_name_of_the_profile"], "action": "SCMP_ACT_ALLOW"}, `, 200) +
		`{"names": ["exit"], "action": "SCMP_ACT_ALLOW"}]}`
	h := newHarness(t, withLanguages(t, plainBash), withSeccomp(t, profile))
	h.config.Log.Level = "debug"
	if got := h.awaitEngineCheck(false); got == "" {
		t.Error("got no error in /readyz")
	}
	if status, failing := h.failingChecks(); status != http.StatusServiceUnavailable ||
		!cmp.Equal(failing, []string{"engine"}) {
		t.Errorf("readyz: %d, failing %v", status, failing)
	}
	if strings.Contains(h.log.String(), "a_name_of_the_profile") {
		t.Error("the log contains the profile")
	}
}

func TestAServerProvesItsEngine(t *testing.T) {
	h := newHarness(t, withLanguages(t, plainBash))
	begin := time.Now()
	if status, failing := h.failingChecks(); status != http.StatusOK {
		t.Errorf("readyz right after the start: %d, failing %v", status, failing)
	}
	h.awaitEngineCheck(true)
	t.Logf("the engine was proven after %s", time.Since(begin))
	if !eventually(t, func() bool { return len(h.containers()) == 0 }) {
		t.Fatal("the container that proved the engine is left")
	}
}
