package docker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
)

// engine is a scripted Docker engine with one container. Each request for the log gets the next of its logs.
type engine struct {
	mu     sync.Mutex // guards all fields below
	logs   []http.HandlerFunc
	states []string // states for successive inspects; the last one stays
	asked  []string // the calls in order: "follow", "read" or "inspect"
}

const (
	running = `{"Status":"running","Running":true}`
	exited  = `{"Status":"exited","ExitCode":0}`
	killed  = `{"Status":"exited","ExitCode":137,"OOMKilled":true}`
)

// ServeHTTP implements http.Handler.
func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/_ping":
		w.Header().Set("Api-Version", "1.41")
	case strings.HasSuffix(r.URL.Path, "/logs"):
		e.nextLog(r)(w, r)
	case strings.HasSuffix(r.URL.Path, "/json"):
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"Id":"c","State":`+e.nextState()+`}`)
	default:
		http.Error(w, "unexpected: "+r.URL.Path, http.StatusNotImplemented)
	}
}

func (e *engine) nextLog(r *http.Request) http.HandlerFunc {
	e.mu.Lock()
	defer e.mu.Unlock()
	verb := "read"
	if r.URL.Query().Get("follow") == "1" {
		verb = "follow"
	}
	if r.URL.Query().Has("since") {
		verb += " since" // the fragments of a line share a timestamp
	}
	e.asked = append(e.asked, verb)
	if len(e.logs) == 0 {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "nothing left", http.StatusTeapot) }
	}
	log := e.logs[0]
	e.logs = e.logs[1:]
	return log
}

func (e *engine) nextState() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = append(e.asked, "inspect")
	state := e.states[0]
	if len(e.states) > 1 {
		e.states = e.states[1:]
	}
	return state
}

// shows is a log that ends after these chunks.
func shows(chunks ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Join(chunks, "")) }
}

// breaksAfter is a log whose connection breaks after these chunks.
func breaksAfter(chunks ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		shows(chunks...)(w, nil)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// refuses is an error answer.
func refuses(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "/var/lib/docker/secret", status) }
}

// hangsAfter is a log that goes silent after these chunks until its reader disconnects.
func hangsAfter(chunks ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		shows(chunks...)(w, r)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

// unlessFollowed is a log that ends at once for followers, and is otherwise log.
func unlessFollowed(log http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("follow") == "" {
			log(w, r)
		}
	}
}

// serve starts the engine and returns a handle of its container.
func (e *engine) serve(t *testing.T) *handle {
	t.Helper()
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	config := Defaults()
	config.Host = "tcp://" + server.Listener.Addr().String()
	config.CallTimeout = 5 * time.Second
	d, err := New(config, "node", 1, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	d.timings.retryPause = time.Millisecond
	return &handle{Docker: d, id: "c"}
}

const nonce = "00112233445566778899aabbccddeeff"

// The journal of a program that wrote "out\n" and "err\n".
var (
	startFrame = chunk(2, string(journal.AppendStart(nil, nonce, journal.Start{})))
	outText    = chunk(1, string(journal.AppendPayload(nil, []byte("out\n"))))
	errText    = chunk(2, string(journal.AppendPayload(nil, []byte("err\n"))))
	outEnd     = chunk(1, string(journal.AppendEnd(nil, nonce, journal.End{Bytes: 4})))
	errEnd     = chunk(2, string(journal.AppendEnd(nil, nonce, journal.End{Bytes: 4})))
)

func TestFollowProvesTheEnd(t *testing.T) {
	whole := shows(startFrame, outText, errText, outEnd, errEnd)
	for name, c := range map[string]struct {
		logs   []http.HandlerFunc
		states []string
		asked  string
	}{
		"in one pass, without asking anything else": {
			logs: []http.HandlerFunc{whole}, asked: "follow",
		},
		"without waiting for the end of the log": {
			logs: []http.HandlerFunc{hangsAfter(startFrame, outText, errText, errEnd, outEnd)}, asked: "follow",
		},
		"when the tail was cut off": {
			logs:   []http.HandlerFunc{shows(startFrame, outText, outEnd), whole},
			states: []string{exited}, asked: "follow inspect read",
		},
		"when a chunk was cut in two, and chunks come differently": {
			logs: []http.HandlerFunc{
				breaksAfter(startFrame, outText[:10]),
				shows(startFrame, chunk(1, "o"), chunk(1, "ut"), errText, chunk(1, "\x1en\n"), errEnd, outEnd),
			},
			states: []string{exited}, asked: "follow inspect read",
		},
		"when the engine restarts and the container lives": {
			logs:   []http.HandlerFunc{breaksAfter(startFrame, outText), shows(startFrame), whole},
			states: []string{running}, asked: "follow inspect follow inspect follow",
		},
		"when the engine cannot read its log for a while": {
			logs:   []http.HandlerFunc{shows(startFrame, outText, chunk(3, "i/o error")), whole},
			states: []string{exited}, asked: "follow inspect read",
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := &engine{logs: c.logs, states: c.states}
			var stdout, stderr bytes.Buffer
			outcome, err := e.serve(t).Follow(t.Context(), nonce, &stdout, &stderr, nil)
			if err != nil || !outcome.Proven() || outcome.Start == nil {
				t.Errorf("follow = %+v, %v, want a start and both ends", outcome, err)
			}
			if stdout.String() != "out\n" || stderr.String() != "err\n" {
				t.Errorf("output = %q, %q, want each byte once", stdout.String(), stderr.String())
			}
			if got := strings.Join(e.asked, " "); got != c.asked {
				t.Errorf("the engine was asked to %s, want %s", got, c.asked)
			}
		})
	}
}

func TestFollowReportsAMissingProof(t *testing.T) {
	cut := shows(startFrame, outText, outEnd, errText, chunk(2, "half a line\x1eboom"))
	e := &engine{logs: []http.HandlerFunc{cut, cut}, states: []string{killed}}
	var stdout, stderr bytes.Buffer
	outcome, err := e.serve(t).Follow(t.Context(), nonce, &stdout, &stderr, nil)
	if err != nil || outcome.Proven() || outcome.Start == nil || outcome.Stdout == nil {
		t.Errorf("follow = %+v, %v, want a start and the end of stdout alone", outcome, err)
	}
	if outcome.ExitCode != 137 || !outcome.OOMKilled {
		t.Errorf("exit code %d, out of memory %t, want the engine's words 137, true", outcome.ExitCode,
			outcome.OOMKilled)
	}
	if got, want := stderr.String(), "err\nhalf a line"; got != want {
		t.Errorf("stderr = %q, want %q: what looked like a frame is the program's", got, want)
	}
}

func TestFollowLeavesADeadContainersSilentLog(t *testing.T) {
	e := &engine{
		logs: []http.HandlerFunc{
			hangsAfter(startFrame, outText), shows(startFrame, outText, errText, outEnd, errEnd),
		},
		states: []string{running, running, exited},
	}
	b := e.serve(t)
	b.timings = followTimings{
		firstCheck: 10 * time.Millisecond, maxInterval: 20 * time.Millisecond,
		drainTime: 10 * time.Millisecond,
	}
	var stdout bytes.Buffer
	outcome, err := b.Follow(t.Context(), nonce, &stdout, io.Discard, nil)
	if err != nil || !outcome.Proven() || stdout.String() != "out\n" {
		t.Errorf("follow = %+v, %v with %q, want a proof", outcome, err, stdout.String())
	}
	if stacks := allStacks(); strings.Contains(stacks, "docker.demux") {
		t.Errorf("a reader was left behind:\n%s", stacks)
	}
}

// slowly takes its time for a file, as a store may, and counts the engine's calls meanwhile.
type slowly struct {
	journal.FileSink
	engine *engine
	asked  *int
	taken  chan struct{}
}

func (slowly) Begin(journal.Collected) {}
func (slowly) Done(bool)               {}
func (s slowly) Write(p []byte) (int, error) {
	defer close(s.taken)
	before := s.engine.questions()
	<-time.After(300 * time.Millisecond) // much longer than the patience with a silent engine
	*s.asked = s.engine.questions() - before
	return len(p), nil
}

func (e *engine) questions() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.asked)
}

func TestFollowDoesNotTakeASlowStoreForASilentEngine(t *testing.T) {
	taken := make(chan struct{})
	e := &engine{states: []string{running}, logs: []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
		shows(startFrame, outText, chunk(1, string(journal.AppendCollected(nil, nonce, "x", []byte("a"), 1,
			0o600))+"1\n"))(w, r)
		_ = http.NewResponseController(w).Flush()
		<-taken
		shows(outEnd, errEnd)(w, r)
	}}}
	b := e.serve(t)
	b.timings = followTimings{
		firstCheck: 10 * time.Millisecond, maxInterval: 10 * time.Millisecond,
		drainTime: time.Minute,
	}
	asked := 0
	outcome, err := b.Follow(t.Context(), nonce, io.Discard, io.Discard, slowly{engine: e, asked: &asked, taken: taken})
	if err != nil || !outcome.Proven() || asked > 1 { // one call may have been under way
		t.Errorf("follow = %+v, %v, and the engine was asked %d times; want a proof and no question", outcome, err,
			asked)
	}
}

func TestFollowDoesNotWaitForAHungEngine(t *testing.T) {
	log := unlessFollowed(hangsAfter(startFrame))
	e := &engine{logs: []http.HandlerFunc{log, log}, states: []string{exited}}
	b := e.serve(t)
	b.config.CallTimeout, b.timings.drainTime = 50*time.Millisecond, time.Millisecond
	if _, err := b.Follow(t.Context(), nonce, io.Discard, io.Discard, nil); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("follow = %v, want %v", err, sandbox.ErrUnavailable)
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	e := &engine{logs: []http.HandlerFunc{hangsAfter(startFrame, outText)}, states: []string{running}}
	b := e.serve(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("detached")
	seen := writerFunc(func([]byte) { cancel(cause) })
	if _, err := b.Follow(ctx, nonce, seen, io.Discard, nil); !errors.Is(err, cause) ||
		errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("follow = %v, want the cause of its context alone", err)
	}
}

type writerFunc func([]byte)

// Write implements io.Writer.
func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

func TestFollowClassifiesErrors(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		want   error
	}{
		"no such container": {http.StatusNotFound, sandbox.ErrGone},
		"being removed":     {http.StatusConflict, sandbox.ErrGone},
		"engine overloaded": {http.StatusServiceUnavailable, sandbox.ErrUnavailable},
		"engine broken":     {http.StatusInternalServerError, sandbox.ErrTemporary},
	} {
		t.Run(name, func(t *testing.T) {
			e := &engine{logs: []http.HandlerFunc{refuses(c.status), refuses(c.status)}, states: []string{exited}}
			if _, err := e.serve(t).Follow(t.Context(), nonce, io.Discard, io.Discard, nil); !errors.Is(err, c.want) {
				t.Errorf("follow = %v, want %v", err, c.want)
			}
		})
	}
}

func TestAnEngineThatIsDownIsUnavailable(t *testing.T) {
	config := Defaults()
	config.Host = "unix:///nonexistent/docker.sock"
	d, err := New(config, "node", 1, quiet())
	if err != nil {
		t.Fatalf("new = %v, want no error: the engine need not be up", err)
	}
	b := &handle{Docker: d, id: "c"}
	for act, call := range map[string]func() error{
		"ping":       func() error { return d.Ping(t.Context()) },
		"has image":  func() error { return d.HasImage(t.Context(), "image") },
		"capacity":   func() error { _, _, err := d.Capacity(t.Context()); return err },
		"prepare":    func() error { _, err := d.Prepare(t.Context(), sandbox.Spec{Image: "image"}); return err },
		"containers": func() error { _, err := d.Containers(t.Context()); return err },
		"follow":     func() error { _, err := b.Follow(t.Context(), nonce, io.Discard, io.Discard, nil); return err },
		"stop":       func() error { return b.Stop(t.Context()) },
		"remove":     func() error { return b.Remove(t.Context()) },
	} {
		if err := call(); !errors.Is(err, sandbox.ErrUnavailable) {
			t.Errorf("%s = %v, want %v", act, err, sandbox.ErrUnavailable)
		}
	}
}

func allStacks() string {
	buffer := make([]byte, 1<<20)
	return string(buffer[:runtime.Stack(buffer, true)])
}
