package httpapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"boomerang/internal/client"
	"boomerang/internal/execution"
	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/wire"
)

func TestTheClientSpeaksThisAPI(t *testing.T) {
	h := apitest.Open(t)
	c, err := client.New(h.URL, h.Ann)
	if err != nil {
		t.Fatal(err)
	}
	s := client.Submission{
		Code: "1", CallbackURL: "https://example.com/hook", Language: "py", Timeout: 60, WorkingDir: "/tmp/a",
		Env: map[string]string{"A": "1"}, CallbackHeaders: map[string]string{"X-A": "a"}, Secrets: client.Secrets{"s"},
		IdempotencyKey: "k",
	}
	id, err := c.Submit(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.Submit(t.Context(), s); err != nil || again != id {
		t.Errorf("submitted again: got %s, %v; want %s", again, err, id)
	}
	e, err := h.Store.Get(t.Context(), id)
	if err != nil || e.Language != "python" || e.Timeout != time.Minute || e.WorkingDir != "/tmp/a" ||
		len(e.EnvNames) != 1 {
		t.Errorf("stored %+v, %v; want what was submitted", e, err)
	}
	h.Start(id)
	h.Live.Print(id, execution.Stderr, "so far")
	if kept, err := c.Output(t.Context(), id, execution.Stderr); string(kept) != "so far" || err != nil {
		t.Errorf("output: got %q, %v", kept, err)
	}
	if r, err := c.Cancel(t.Context(), id); err != nil || r.Status != execution.Running || !r.CancelRequested {
		t.Errorf("cancel: got %+v, %v; want it running and asked to end", r, err)
	}
	h.Finish(id, apitest.Completed("hello", "so far so good"))
	r, err := c.Get(t.Context(), id, time.Minute)
	if err != nil || r.Status != execution.Completed || !r.Success || *r.ExitCode != 0 ||
		r.ExecutionTime != wire.Seconds(1500*time.Millisecond) ||
		r.StdoutBytes != 5 || r.Callback.State != execution.Pending || r.Callback.NextAttemptAt == nil {
		t.Errorf("get: got %+v, %v; want the whole result", r, err)
	}
	var told []string
	end, err := c.Follow(t.Context(), id, func(e client.Event) error {
		told = append(told, fmt.Sprintf("%s %s %s", e.Kind, e.Stream, e.Data))
		return nil
	})
	if want := "output stdout hello, output stderr so far so good"; strings.Join(told, ", ") != want || err != nil ||
		end.Status != execution.Completed || *end.ExitCode != 0 ||
		end.ExecutionTime != wire.Seconds(1500*time.Millisecond) {
		t.Errorf("follow: got %v, %+v, %v; want %s", told, end, err, want)
	}
}
