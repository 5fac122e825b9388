package httpapi

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"boomerang/internal/client"
	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

func TestDefaultsAreValid(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidateNamesTheKey(t *testing.T) {
	for key, change := range map[string]func(*Config){
		"addr ":            func(c *Config) { c.Addr = "localhost" },
		"body ":            func(c *Config) { c.Body = 0 },
		"body must":        func(c *Config) { c.Body = 2 << 30 },
		"timeout ":         func(c *Config) { c.Timeout = 0 },
		"rate.per_subject": func(c *Config) { c.Rate.PerSubject = -1 },
		"rate.per_address": func(c *Config) { c.Rate.PerAddress = maxRate + 1 },
		"tls_cert and":     func(c *Config) { c.TLSCert = "cert.pem" },
		"timeout must":     func(c *Config) { c.Timeout = time.Hour },
		"public_url must":  func(c *Config) { c.PublicURL = "boomerang.example.com" },
		"public_url":       func(c *Config) { c.PublicURL = "https://ann:pass@boomerang.example.com/?a" },
	} {
		c := Defaults()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("got %v; want an error that begins with %s", err, key)
		}
	}
}

func TestABodyThatDoesNotComeIsNotWaitedFor(t *testing.T) {
	h := open(t, func(c *Config, _ *Deps) { c.Timeout = time.Second })
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // nothing more is written
	if _, err := fmt.Fprintf(conn, "POST /execute/async HTTP/1.1\r\nHost: x\r\n%s\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{",
		asJSON, h.ann); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return // hung up on: just as well
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusBadRequest {
		t.Errorf("got %d %s; want 400", response.StatusCode, body)
	}
}

func TestTheClientSpeaksThisAPI(t *testing.T) {
	h := open(t)
	c, err := client.New(h.url, h.ann)
	if err != nil {
		t.Fatal(err)
	}
	s := client.Submission{
		Code: "1", CallbackURL: "https://example.com/hook", Language: "py", Timeout: 60, WorkingDir: "/tmp/a",
		Env: map[string]string{"A": "1"}, CallbackHeaders: map[string]string{"X-A": "a"}, Secrets: client.Secrets{"s"}, IdempotencyKey: "k",
	}
	id, err := c.Submit(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.Submit(t.Context(), s); err != nil || again != id {
		t.Errorf("submitted again: got %s, %v; want %s", again, err, id)
	}
	e, err := h.store.Get(t.Context(), id)
	if err != nil || e.Language != "python" || e.Timeout != time.Minute || e.WorkingDir != "/tmp/a" || len(e.EnvNames) != 1 {
		t.Errorf("stored %+v, %v; want what was submitted", e, err)
	}
	h.start(id)
	h.live.print(id, execution.Stderr, "so far")
	if kept, err := c.Output(t.Context(), id, execution.Stderr); string(kept) != "so far" || err != nil {
		t.Errorf("output: got %q, %v", kept, err)
	}
	if r, err := c.Cancel(t.Context(), id); err != nil || r.Status != execution.Running || !r.CancelRequested {
		t.Errorf("cancel: got %+v, %v; want it running and asked to end", r, err)
	}
	h.finish(id, completed("hello", "so far so good"))
	r, err := c.Get(t.Context(), id, time.Minute)
	if err != nil || r.Status != execution.Completed || !r.Success || *r.ExitCode != 0 || r.ExecutionTime != wire.Seconds(1500*time.Millisecond) ||
		r.StdoutBytes != 5 || r.Callback.State != execution.Pending || r.Callback.NextAttemptAt == nil {
		t.Errorf("get: got %+v, %v; want the whole result", r, err)
	}
	var told []string
	end, err := c.Follow(t.Context(), id, func(e client.Event) error {
		told = append(told, fmt.Sprintf("%s %s %s", e.Kind, e.Stream, e.Data))
		return nil
	})
	if want := "output stdout hello, output stderr so far so good"; strings.Join(told, ", ") != want || err != nil ||
		end.Status != execution.Completed || *end.ExitCode != 0 || end.ExecutionTime != wire.Seconds(1500*time.Millisecond) {
		t.Errorf("follow: got %v, %+v, %v; want %s", told, end, err, want)
	}
}
