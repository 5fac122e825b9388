package app_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"boomerang/internal/auth"
	"boomerang/internal/config"
	"boomerang/internal/sandbox/docker/dockertest"
	"boomerang/internal/servertest"
	"boomerang/internal/store"
)

// send sends a request with a header to the server and returns the answer. The caller closes its body.
func (s *server) send(method, path, header, value, body string) *http.Response {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set(header, value)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	return response
}

// status returns the status of an answer, which it closes.
func (s *server) status(method, path, header, value string) int {
	s.t.Helper()
	response := s.send(method, path, header, value, "")
	_ = response.Body.Close()
	return response.StatusCode
}

func TestARunningServerRefusesWhatIsRevokedWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	key, hashed, err := auth.NewAPIKey("kim")
	if err != nil {
		t.Fatal(err)
	}
	// No container starts, so the execution stays queued and its stream open.
	s := serve(t, dockertest.New(t, nil), oneLanguage, func(c *config.Config) {
		c.Role, c.Docker.Host, c.Auth.APIKeys = config.API, "tcp://127.0.0.1:1", []auth.APIKey{hashed}
	})
	anns, bens := servertest.Token(t, s.config.DataDir, "ann"), servertest.Token(t, s.config.DataDir, "ben")
	accepted := s.send(http.MethodPost, "/execute/background", "Authorization", "Bearer "+anns,
		`{"code": "x", "language": "play"}`)
	text, err := io.ReadAll(accepted.Body)
	_ = accepted.Body.Close()
	_, id, ok := strings.Cut(string(text), `"execution_id":"`)
	if err != nil || !ok {
		t.Fatalf("got %s, %v", text, err)
	}
	id, _, _ = strings.Cut(id, `"`)
	stream := s.send(http.MethodGet, "/executions/"+id+"/events", "Authorization", "Bearer "+anns, "")
	defer func() { _ = stream.Body.Close() }()
	ended := make(chan time.Time, 1)
	go func() {
		_, _ = io.Copy(io.Discard, stream.Body)
		ended <- time.Now()
	}()
	statuses := func() []int {
		return []int{
			s.status(http.MethodGet, "/executions", "Authorization", "Bearer "+anns),
			s.status(http.MethodGet, "/executions", "Authorization", "Bearer "+bens),
			s.status(http.MethodGet, "/v1/sandboxes/x", "X-API-Key", key),
		}
	}
	if got := statuses(); !slices.Equal(got, []int{200, 200, 200}) {
		t.Fatalf("before: got %v; want all accepted", got)
	}
	now := time.Now()
	for _, r := range []auth.Revocation{
		{Kind: auth.RevokedSubject, Name: "ann", Before: now.Add(time.Second), Until: now.Add(time.Hour)},
		{Kind: auth.RevokedKey, Name: hashed.ID()},
	} {
		if err := store.Revoke(t.Context(), s.config.DataDir, r, now); err != nil {
			t.Fatal(err)
		}
	}
	want := []int{401, 200, 401}
	for got := statuses(); !slices.Equal(got, want); got = statuses() { // requests go on meanwhile
		if time.Since(now) > 5*time.Second {
			t.Fatalf("five seconds later: got %v; want %v", got, want)
		}
		<-time.After(50 * time.Millisecond)
	}
	select {
	case at := <-ended:
		t.Logf("the stream ended after %s", at.Sub(now))
	case <-time.After(time.Until(now.Add(5 * time.Second))):
		t.Error("the stream of a revoked token is open five seconds later")
	}
}
