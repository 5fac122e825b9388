package app_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"boomerang/internal/app"
	"boomerang/internal/auth"
	"boomerang/internal/config"
	"boomerang/internal/servertest"
)

// recordedEngine replays the answers of an engine with a vulnerable runc.
func recordedEngine(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../sandbox/docker/testdata/engines/debian-20.10.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct{ Info, Version json.RawMessage }
	if err := json.Unmarshal(text, &recorded); err != nil {
		t.Fatal(err)
	}
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/info"):
			_, _ = w.Write(recorded.Info)
		case strings.HasSuffix(r.URL.Path, "/version"):
			_, _ = w.Write(recorded.Version)
		}
	}))
	t.Cleanup(engine.Close)
	return "tcp://" + strings.TrimPrefix(engine.URL, "http://")
}

func TestAnEngineWithAWarning(t *testing.T) {
	for name, c := range map[string]struct {
		strict  bool
		parent  string // docker.cgroup_parent
		host    string
		refused string // words of the error; empty if the server starts
	}{
		"is good enough":       {host: recordedEngine(t)},
		"is refused if strict": {host: recordedEngine(t), strict: true, refused: "runc"},
		"is refused by settings that do not fit": {
			host: recordedEngine(t), parent: "boomerang.slice",
			refused: "docker.cgroup_parent",
		},
		"may be down":                {host: "tcp://127.0.0.1:1"},
		"must not be down if strict": {host: "tcp://127.0.0.1:1", strict: true, refused: "docker.strict"},
	} {
		t.Run(name, func(t *testing.T) {
			settings := config.Defaults()
			settings.DataDir, settings.HTTP.Addr = t.TempDir(), "127.0.0.1:0"
			settings.Docker.Host, settings.Docker.Strict, settings.Docker.CgroupParent = c.host, c.strict, c.parent
			log := logrus.New()
			log.SetOutput(io.Discard)
			server, err := app.New(t.Context(), settings, "test", logrus.NewEntry(log))
			if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
				t.Fatalf("New: %v, want an error that mentions %q", err, c.refused)
			}
			if server == nil {
				return
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- server.Run(ctx) }()
			warned := strings.Contains(readyz(t, server.Addr(), settings.DataDir), `"engine: runc"`)
			if answers := c.host != "tcp://127.0.0.1:1"; warned != answers {
				t.Errorf("/readyz warns: %t, want %t", warned, answers)
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// readyz returns the answer of /readyz for an administrator.
func readyz(t *testing.T, addr, dir string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+servertest.Token(t, dir, "root", auth.ScopeAdmin))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
