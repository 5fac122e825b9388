package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"boomerang/internal/app"
	"boomerang/internal/auth"
	"boomerang/internal/config"
	"boomerang/internal/sandbox/docker/dockertest"
)

// server is a running server on a scripted engine.
type server struct {
	t      *testing.T
	config config.Config
	addr   string
	log    *logBuffer
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (d *logBuffer) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

func (d *logBuffer) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

const oneLanguage = "languages:\n  play: {image: player, pull: never, file: main.p, command: [play, '{file}']}\n"

// serve starts a server with the languages of a YAML text.
func serve(t *testing.T, e *dockertest.Engine, languages string, change ...func(*config.Config)) *server {
	t.Helper()
	s := &server{t: t, config: config.Defaults(), log: &logBuffer{}}
	s.config.DataDir, s.config.HTTP.Addr = t.TempDir(), "127.0.0.1:0"
	s.config.Docker.Host, s.config.Docker.InitDir = e.Host, e.InitDir
	s.config.Languages.File = s.config.DataDir + "/languages.yaml"
	if err := os.WriteFile(s.config.Languages.File, []byte(languages), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(&s.config)
	}
	s.addr = run(t, s.config, s.log)
	return s
}

// run runs a server until the test ends and returns its address.
func run(t *testing.T, c config.Config, log *logBuffer) string {
	t.Helper()
	made, err := app.New(t.Context(), c, "test", config.Log{Level: "debug", Format: "json"}.Logger(log))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- made.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return made.Addr()
}

// until waits up to ten seconds for an answer of /readyz.
func (s *server) until(description string, says func(answer string) bool) string {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		answer := readyz(s.t, s.addr, s.config.DataDir)
		if says(answer) {
			return answer
		}
		if time.Now().After(end) {
			s.t.Fatalf("/readyz never showed %s: %s\n%s", description, answer, s.log)
		}
		<-time.After(100 * time.Millisecond)
	}
}

const unproven = "engine: no container was started yet"

func fails(answer string) bool  { return strings.Contains(answer, `{"name":"engine","ok":false`) }
func proven(answer string) bool { return !fails(answer) && !strings.Contains(answer, unproven) }

func TestAServerProvesItsEngineWithTheSmallestImage(t *testing.T) {
	e := dockertest.New(t, nil)
	e.Sized("large", 300<<20)
	e.Sized("small", 3<<20)
	e.Sized("middle", 30<<20)
	s := serve(t, e, `languages:
  a: {image: large, pull: never, file: main.p, command: [play, '{file}']}
  b: {image: small, pull: never, file: main.p, command: [play, '{file}']}
  c: {image: middle, pull: never, file: main.p, command: [play, '{file}']}
`)
	s.until("the proof of the engine", proven)
	if got := e.Images(); !slices.Equal(got, []string{"small"}) {
		t.Errorf("containers of %v were made, want one of the smallest image", got)
	}
	for end := time.Now().Add(10 * time.Second); e.Containers() > 0; <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the container is left")
		}
	}
}

func TestReadinessDoesNotWaitForTheProof(t *testing.T) {
	e := dockertest.New(t, dockertest.Until(dockertest.Create, 0, dockertest.Answer{Hang: true}))
	s := serve(t, e, oneLanguage, func(c *config.Config) { c.Docker.CallTimeout = time.Second })
	if answer := readyz(t, s.addr, s.config.DataDir); !strings.Contains(answer, `"status":"ready"`) ||
		!strings.Contains(answer, unproven) {
		t.Errorf("/readyz: %s; want it ready, with a warning", answer)
	}
}

func TestAnEngineThatStartsNoContainerFailsItsCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		act    dockertest.Act
		status int
		says   string
	}{
		"create is refused": {dockertest.Create, http.StatusBadRequest, "refuses every container"},
		"create fails":      {dockertest.Create, http.StatusInternalServerError, "fails to start containers"},
		"start is refused":  {dockertest.Start, http.StatusBadRequest, "refuses every container"},
		"start fails":       {dockertest.Start, http.StatusInternalServerError, "fails to start containers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := dockertest.New(t,
				dockertest.Refuse(c.act, c.status, "OCI runtime create failed: /var/lib/docker/SECRET"))
			s := serve(t, e, oneLanguage)
			if answer := s.until("the failed check", fails); !strings.Contains(answer, c.says) ||
				strings.Contains(answer, "SECRET") {
				t.Errorf("/readyz: %s; want a sentence with %q, without the engine's words", answer, c.says)
			}
			if !strings.Contains(s.log.String(), "OCI runtime create failed") {
				t.Error("the log does not have the engine's words")
			}
			e.Play(nil)
			s.until("the proof of the engine", proven)
		})
	}
}

func TestAnUnsupportedEngineIsNamed(t *testing.T) {
	profile, err := os.ReadFile("../../configs/seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	e := dockertest.New(t, dockertest.Refuse(dockertest.Create, http.StatusInternalServerError,
		"container create: opening seccomp profile failed: open "+string(profile)+": file name too long"))
	e.Say("Components", []map[string]any{{"Name": "Podman Engine", "Version": "4.3.1"}})
	s := serve(t, e, oneLanguage)
	const reason = "Podman is not supported: its Docker API takes the seccomp profile as the path of a file"
	if answer := readyz(t, s.addr, s.config.DataDir); !strings.Contains(answer, `"engine: `+reason) {
		t.Errorf("/readyz: %s; want the warning", answer)
	}
	if !strings.Contains(s.log.String(), reason) {
		t.Error("the log at start does not have the reason")
	}
	if answer := s.until("the failed check", fails); !strings.Contains(answer, "fails to start containers") ||
		strings.Count(answer, reason) != 2 {
		t.Errorf("/readyz: %s; want the reason in the check as well", answer)
	}
	for line := range strings.Lines(s.log.String()) {
		if len(line) > 2048 || strings.Contains(line, "SCMP_ACT") {
			t.Errorf("a line of %d bytes, or with the profile: %.300s", len(line), line)
		}
	}
}

func TestAnAPIShowsTheChecksOfItsRunner(t *testing.T) {
	e := dockertest.New(t, dockertest.Refuse(dockertest.Create, http.StatusBadRequest, "no"))
	e.Say("Components", []map[string]any{{"Name": "Podman Engine", "Version": "4.3.1"}})
	api := serve(t, e, oneLanguage, func(c *config.Config) { c.Role = config.API; c.Docker.Host = "tcp://127.0.0.1:1" })
	if answer := readyz(t, api.addr, api.config.DataDir); !strings.Contains(answer, "runner has not been heard of") ||
		strings.Contains(answer, `"warnings"`) {
		t.Errorf("/readyz without a runner: %s", answer)
	}
	c := api.config
	c.Role, c.Docker.Host = config.Runner, e.Host
	run(t, c, api.log)
	answer := api.until("the failed check of the runner",
		func(a string) bool { return fails(a) && strings.Contains(a, "refuses every container") })
	if !strings.Contains(answer, `"warnings":["engine: Podman is not supported`) {
		t.Errorf("/readyz: %s; want the runner's warnings", answer)
	}
}

func TestARefusedContainerFailsTheExecutionAtOnce(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]func(dockertest.Act, int) dockertest.Answer{
		"create, 400": dockertest.Refuse(dockertest.Create, http.StatusBadRequest, "unknown runtime /opt/SECRET"),
		"create, 403": dockertest.Refuse(dockertest.Create, http.StatusForbidden,
			"authorization denied by plugin /opt/SECRET"),
		"create, 404": dockertest.Refuse(dockertest.Create, http.StatusNotFound, "network /opt/SECRET not found"),
		"start, 400": dockertest.Refuse(dockertest.Start, http.StatusBadRequest,
			"OCI runtime create failed: /opt/SECRET"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, dockertest.New(t, script), oneLanguage)
			begin := time.Now()
			record := s.execute("play")
			if record["status"] != "failed" || record["reason"] != "start_failed" || time.Since(begin) > 5*time.Second {
				t.Errorf("after %s: %v", time.Since(begin), record)
			}
			if sentence, _ := record["error"].(string); !strings.Contains(sentence,
				`refused a container of the language "play"`) || strings.Contains(sentence, "SECRET") {
				t.Errorf("the sentence is %q", sentence)
			}
		})
	}
}

// execute submits a program and returns its record after its end.
func (s *server) execute(language string) (record map[string]any) {
	s.t.Helper()
	tokens, err := auth.New(s.config.Auth, s.config.DataDir)
	if err != nil {
		s.t.Fatal(err)
	}
	token, err := tokens.Issue("me", time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	call := func(method, path, body string) map[string]any {
		request, err := http.NewRequestWithContext(s.t.Context(), method,
			"http://"+s.addr+path, strings.NewReader(body))
		if err != nil {
			s.t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			s.t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		var answer map[string]any
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
			s.t.Fatal(err)
		}
		return answer
	}
	id, _ := call(http.MethodPost, "/execute/background",
		`{"code": "x", "language": "`+language+`"}`)["execution_id"].(string)
	return call(http.MethodGet, "/executions/"+id+"?wait=30", "")
}
