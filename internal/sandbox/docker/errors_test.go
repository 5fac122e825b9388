package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/docker/dockertest"
)

// kinds are the three kinds of an engine's errors.
var kinds = []error{sandbox.ErrRefused, sandbox.ErrTemporary, sandbox.ErrUnavailable}

func wantKind(t *testing.T, what string, err, want error) {
	t.Helper()
	for _, kind := range kinds {
		if errors.Is(err, kind) != errors.Is(want, kind) {
			t.Errorf("%s: got %v, want the kind %q alone", what, err, want)
			return
		}
	}
}

// onEngine makes a sandbox on a scripted engine.
func onEngine(t *testing.T, e *dockertest.Engine) *Docker {
	t.Helper()
	config := Defaults()
	config.Host, config.InitDir, config.CallTimeout = e.Host, e.InitDir, time.Second
	d, err := New(config, "node", 1, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

var sample = sandbox.Spec{Language: "play", Image: "player", Network: "none"}

func TestEveryStatusOfAnEngineHasItsKind(t *testing.T) {
	e := dockertest.New(t, nil)
	d := onEngine(t, e)
	for status := 400; status < 600; status++ {
		want := sandbox.ErrRefused
		switch {
		case status == 408, status == 409, status == 429:
			want = sandbox.ErrTemporary
		case status == 502, status == 503, status == 504:
			want = sandbox.ErrUnavailable
		case status >= 500:
			want = sandbox.ErrTemporary
		}
		e.Play(dockertest.Refuse(dockertest.Ping, status, "no"))
		_, err := callEngine(t.Context(), d, "inspect image", func(ctx context.Context) (struct{}, error) {
			e.Play(dockertest.Refuse(dockertest.Image, status, "no"))
			_, err := d.client.ImageInspect(ctx, "x")
			return struct{}{}, err
		})
		wantKind(t, strconv.Itoa(status), err, want)
	}
}

func TestPrepareClassifiesTheEnginesErrors(t *testing.T) {
	const refused = http.StatusBadRequest
	for name, c := range map[string]struct {
		script        func(dockertest.Act, int) dockertest.Answer
		want          error // nil if the preparation succeeds
		create, start int   // numbers of calls
	}{
		"works": {script: nil, create: 1, start: 1},
		"create is refused": {
			dockertest.Refuse(dockertest.Create, refused, "unknown runtime"),
			sandbox.ErrRefused, 2, 0,
		},
		"no network of that name": {
			dockertest.Refuse(dockertest.Create, http.StatusNotFound, "no network"),
			sandbox.ErrRefused, 2, 0,
		},
		"forbidden": {
			dockertest.Refuse(dockertest.Create, http.StatusForbidden, "plugin"),
			sandbox.ErrRefused, 2, 0,
		},
		"too large": {
			dockertest.Refuse(dockertest.Create, http.StatusRequestEntityTooLarge, "proxy"),
			sandbox.ErrRefused, 2, 0,
		},
		"conflict": {
			dockertest.Refuse(dockertest.Create, http.StatusConflict, "name in use"),
			sandbox.ErrTemporary, 1, 0,
		},
		"too many": {
			dockertest.Refuse(dockertest.Create, http.StatusTooManyRequests, "slow down"),
			sandbox.ErrTemporary, 1, 0,
		},
		"slow": {
			dockertest.Refuse(dockertest.Create, http.StatusRequestTimeout, "slow"),
			sandbox.ErrTemporary, 1, 0,
		},
		"create fails": {
			dockertest.Refuse(dockertest.Create, 500, "no space left on device"),
			sandbox.ErrTemporary, 1, 0,
		},
		"a proxy has no engine": {
			dockertest.Refuse(dockertest.Create, http.StatusBadGateway, ""),
			sandbox.ErrUnavailable, 1, 0,
		},
		"the engine is not there": {
			dockertest.Refuse(dockertest.Create, http.StatusServiceUnavailable, ""),
			sandbox.ErrUnavailable, 1, 0,
		},
		"create hangs": {
			dockertest.Until(dockertest.Create, 0, dockertest.Answer{Hang: true}),
			sandbox.ErrUnavailable, 1, 0,
		},
		"create breaks off": {
			dockertest.Until(dockertest.Create, 0, dockertest.Answer{Close: true}),
			sandbox.ErrUnavailable, 1, 0,
		},
		"create answers no JSON": {
			dockertest.Until(dockertest.Create, 0, dockertest.Answer{Body: "<html>"}),
			sandbox.ErrTemporary, 1, 0,
		},
		// the client reports no status
		"attach is refused": {dockertest.Refuse(dockertest.Attach, refused, "no"), sandbox.ErrTemporary, 1, 0},
		"start is refused": {
			dockertest.Refuse(dockertest.Start, refused, "OCI runtime create failed"),
			sandbox.ErrRefused, 2, 2,
		},
		"start fails": {
			dockertest.Refuse(dockertest.Start, 500, "OCI runtime create failed"),
			sandbox.ErrTemporary, 2, 2,
		},
		"start hangs": {
			dockertest.Until(dockertest.Start, 0, dockertest.Answer{Hang: true}),
			sandbox.ErrUnavailable, 1, 1,
		},
		"start fails once": {dockertest.Until(dockertest.Start, 1, dockertest.Answer{Status: 500}), nil, 2, 2},
		"create is refused once": {
			dockertest.Until(dockertest.Create, 1, dockertest.Answer{Status: refused}), nil,
			2, 1,
		},
		"the volume is not filled": {
			dockertest.Refuse(dockertest.Helper, 500, "no space left on device"),
			sandbox.ErrTemporary, 0, 0,
		},
		"the helper is refused": {dockertest.Refuse(dockertest.Helper, refused, "no"), sandbox.ErrRefused, 0, 0},
		"the image cannot be found": {
			dockertest.Refuse(dockertest.Image, 500, "broken layer"), sandbox.ErrTemporary, 0,
			0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := dockertest.New(t, c.script)
			made, err := onEngine(t, e).Prepare(t.Context(), sample)
			if c.want == nil {
				if err != nil {
					t.Fatalf("prepare = %v", err)
				}
				if err := made.Remove(t.Context()); err != nil {
					t.Error(err)
				}
			} else {
				wantKind(t, name, err, c.want)
			}
			if create, start := e.Calls(dockertest.Create), e.Calls(dockertest.Start); create != c.create ||
				start != c.start {
				t.Errorf("%d calls of create and %d of start, want %d and %d", create, start, c.create, c.start)
			}
			if n := e.Containers(); n != 0 {
				t.Errorf("%d containers are left", n)
			}
		})
	}
}

func TestAConnectionThatFailsIsNoAnswer(t *testing.T) {
	for name, host := range map[string]string{
		"refused":            "tcp://127.0.0.1:1",
		"the socket is gone": "unix:///nonexistent/docker.sock",
		"no such name":       "tcp://engine.invalid:2375",
	} {
		config := Defaults()
		config.Host = host
		d, err := New(config, "node", 1, quiet())
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Prepare(t.Context(), sample)
		wantKind(t, name, err, sandbox.ErrUnavailable)
		_ = d.Close()
	}
}

func TestNoErrorHoldsTheSeccompProfile(t *testing.T) {
	e := dockertest.New(t, nil)
	d := onEngine(t, e)
	compact := func(profile string) string {
		var whole map[string]any
		if err := json.Unmarshal([]byte(profile), &whole); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for name, quoted := range map[string]string{
		"as it is":         d.seccomp,
		"gVisor's":         d.gvisorSeccomp,
		"quoted":           fmt.Sprintf("%q", d.seccomp),
		"quoted twice":     fmt.Sprintf("%q", fmt.Sprintf("%q", d.seccomp)),
		"its beginning":    d.seccomp[:len(d.seccomp)/2],
		"a short piece":    d.seccomp[:200],
		"without spaces":   compact(d.seccomp),
		"quoted, in parts": fmt.Sprintf("%q", compact(d.seccomp)[:900]),
	} {
		e.Play(dockertest.Refuse(dockertest.Create, 500,
			"create container: opening seccomp profile failed: open "+quoted+": file name too long"))
		_, err := d.Prepare(t.Context(), sample)
		if err == nil {
			t.Fatalf("%s: no error", name)
		}
		text := err.Error()
		for _, piece := range []string{"defaultAction", "SCMP_ACT", "syscalls", "accept4"} {
			if strings.Contains(text, piece) {
				t.Errorf("%s: the error holds %q of the profile: %s", name, piece, text)
			}
		}
		if len(text) > 700 || !strings.Contains(text, "opening seccomp profile failed") {
			t.Errorf("%s: the error of %d bytes does not say what is wrong: %s", name, len(text), text)
		}
	}
}

func TestNoErrorHoldsAnOperatorsProfile(t *testing.T) {
	d := onEngine(t, dockertest.New(t, nil))
	d.seccomp = `{"syscalls":[{"names":["read","write","accept4"],"action":"SCMP_ACT_ALLOW"}],` +
		`"defaultAction":"SCMP_ACT_ERRNO"}`
	part := d.seccomp[:70] // without the part that identifies a profile
	for name, quoted := range map[string]string{
		"as it is": part, "quoted": fmt.Sprintf("%q", part),
		"twice": fmt.Sprintf("%q", fmt.Sprintf("%q", part)),
	} {
		if got := d.logText("open " + quoted); strings.Contains(got, "accept4") || !strings.HasPrefix(got, "open ") {
			t.Errorf("%s: %q holds a piece of the profile", name, got)
		}
	}
}

func TestTheWordsOfAnEngineAreShortened(t *testing.T) {
	e := dockertest.New(t, dockertest.Refuse(dockertest.Create, 500, "it begins"+strings.Repeat(" with\nmany words",
		2000)+" and ends so"))
	_, err := onEngine(t, e).Prepare(t.Context(), sample)
	if text := err.Error(); len(text) > 700 || strings.Contains(text, "\n") ||
		!strings.Contains(text, "it begins") || !strings.Contains(text, "and ends so") ||
		!strings.Contains(text, "bytes left out") {
		t.Errorf("the error of %d bytes: %q; want one line with both ends", len(text), text)
	}
}
