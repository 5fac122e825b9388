package hopx_test

import (
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/hopx"
	"boomerang/internal/httpapi/apitest"
)

func TestACommandLineIsAProgramOfTheShell(t *testing.T) {
	h := apitest.Open(t)
	for body, want := range map[string]string{
		`{"command":"bash","args":["-c","echo 1 | cat"]}`:    "echo 1 | cat",
		`{"command":"sh","args":["-c","echo 1"]}`:            "echo 1",
		`{"command":"echo 1 | cat"}`:                         "echo 1 | cat",
		`{"command":"echo 1","args":[]}`:                     "echo 1",
		`{"command":"echo","args":["a b","it's","$HOME"]}`:   `'echo' 'a b' 'it'\''s' '$HOME'`,
		`{"command":"bash","args":["script.sh"],"code":"x"}`: `'bash' 'script.sh'`,
	} {
		a := h.Call(http.MethodPost, "/commands/background", h.Ann,
			strings.TrimSuffix(body, "}")+`,"workdir":"/tmp","timeout":60}`, apitest.AsJSON)
		if a.Status != http.StatusOK {
			t.Errorf("%s: got %d %s", body, a.Status, a.Body)
			continue
		}
		claimed, err := h.Store.Claim(t.Context(), 1, execution.ClaimLimits{})
		if err != nil || len(claimed) != 1 || claimed[0].ID != a.ID(t) {
			t.Fatalf("claimed %v, %v", claimed, err)
		}
		e := claimed[0]
		code, err := h.Keys.Unseal(e.ID, execution.FieldCode, e.Code)
		if err != nil || string(code) != want || e.Language != "bash" || e.WorkingDir != "/tmp" ||
			e.Timeout != time.Minute || e.Callback.URL != "" || len(e.Input) > 0 {
			t.Errorf("%s: got %s in %s, %v; want %s", body, code, e.Language, err, want)
		}
	}
	for body, field := range map[string]string{
		`{}`: "command", `{"command":""}`: "command", `{"command":["ls"]}`: "command",
		`{"command":"ls","args":"-l"}`: "args", `{"command":"ls","args":[1]}`: "args[0]",
	} {
		for _, path := range []string{"/commands/run", "/commands/background"} {
			a := h.Call(http.MethodPost, path, h.Ann, body, apitest.AsJSON)
			details, _ := a.JSON(t)["details"].(map[string]any)
			if a.Status != http.StatusBadRequest || details["field"] != field {
				t.Errorf("%s %s: got %d %s; want 400 for %s", path, body, a.Status, a.Body, field)
			}
		}
	}
}

func TestACommandIsWaitedFor(t *testing.T) {
	h := apitest.Open(t)
	defer h.Work()()
	a := h.Call(http.MethodPost, "/commands/run", h.Ann, `{"command":"echo 1","timeout":30}`, apitest.AsJSON)
	if got := a.JSON(t); a.Status != http.StatusOK || got["stdout"] != "1\n" || got["exit_code"] != 0.0 {
		t.Errorf("got %d %s; want its result", a.Status, a.Body)
	}
}

func TestAQuotedWordStaysOneWord(t *testing.T) {
	const word = "a 'b' \"c\" $HOME `id` \\ \n*"
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+hopx.OneWord(word)).Output()
	if err != nil || string(out) != word {
		t.Errorf("got %q, %v; want %q", out, err, word)
	}
}
