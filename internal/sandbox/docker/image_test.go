package docker

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"boomerang/internal/sandbox"
)

// registry is an engine that has an image after it was pulled.
type registry struct {
	mu       sync.Mutex // guards all fields below
	pull     http.HandlerFunc
	has      bool
	pulls    int
	inspects int
}

// ServeHTTP implements http.Handler.
func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case req.URL.Path == "/_ping":
		w.Header().Set("Api-Version", "1.41")
	case strings.HasSuffix(req.URL.Path, "/images/create"):
		r.pulls++
		r.pull(w, req)
	case strings.HasSuffix(req.URL.Path, "/json"):
		r.inspects++
		if !r.has {
			http.Error(w, "No such image", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"Id":"sha256:1","Config":{"Volumes":{"/b":{},"/a":{}}}}`)
	}
}

func (r *registry) open(t *testing.T, pull Pull) *Docker {
	t.Helper()
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	config := Defaults()
	config.Host, config.Pull = "tcp://"+server.Listener.Addr().String(), pull
	d, err := New(config, "node", 1, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func (r *registry) arrives(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, `{"status":"Pulling"}{"status":"Done"}`)
	r.has = true
}

func TestOnePullServesAllWaitingCallers(t *testing.T) {
	r := &registry{}
	r.pull = r.arrives
	d := r.open(t, PullMissing)
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			facts, err := d.image(t.Context(), sandbox.Spec{Image: "image"}, false)
			if err != nil || facts.id != "sha256:1" || !slices.Equal(facts.volumes, []string{"/a", "/b"}) {
				t.Errorf("image = %+v, %v, want sha256:1 with two volumes", facts, err)
			}
		})
	}
	all.Wait()
	if r.pulls != 1 || r.inspects != 2 {
		t.Errorf("%d pulls, %d inspects, want 1 pull, an inspect before and one after", r.pulls, r.inspects)
	}
}

func TestAFailedPullIsReported(t *testing.T) {
	for name, c := range map[string]struct {
		pull http.HandlerFunc
		want error
	}{
		"the registry says no": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "denied", http.StatusInternalServerError)
		}, sandbox.ErrImageUnavailable},
		"the registry says no in the midst": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"status":"Pulling"}{"error":"manifest unknown"}`)
		}, sandbox.ErrImageUnavailable},
		"the engine goes away": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"status":"Pulling"}`)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, sandbox.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			r := &registry{pull: c.pull}
			d := r.open(t, PullMissing)
			for range 2 {
				if _, err := d.image(t.Context(), sandbox.Spec{Image: "image"}, false); !errors.Is(err, c.want) {
					t.Errorf("image = %v, want %v", err, c.want)
				}
			}
			if refused := errors.Is(c.want, sandbox.ErrImageUnavailable); refused != (r.pulls == 1) {
				t.Errorf("%d pulls, want a second one only when the registry was not asked", r.pulls)
			}
		})
	}
}

func TestPullNeverPullsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		config Pull
		spec   string
	}{
		"for the whole engine": {config: PullNever},
		"for one language":     {config: PullMissing, spec: sandbox.PullNever},
	} {
		t.Run(name, func(t *testing.T) {
			r := &registry{}
			_, err := r.open(t, c.config).image(t.Context(), sandbox.Spec{Image: "image", Pull: c.spec}, false)
			if !errors.Is(err, sandbox.ErrImageUnavailable) || r.pulls != 0 {
				t.Errorf("image = %v after %d pulls, want %v after none", err, r.pulls, sandbox.ErrImageUnavailable)
			}
		})
	}
}

func TestACallerThatWaitsForAPullCanGiveUp(t *testing.T) {
	pulling, leave := make(chan struct{}), make(chan struct{})
	r := &registry{}
	r.pull = func(w http.ResponseWriter, req *http.Request) {
		close(pulling)
		<-leave
		r.arrives(w, req)
	}
	d := r.open(t, PullMissing)
	var puller sync.WaitGroup
	puller.Go(func() {
		if _, err := d.image(t.Context(), sandbox.Spec{Image: "image"}, false); err != nil {
			t.Errorf("the one who pulls: image = %v, want nil", err)
		}
	})
	<-pulling
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.image(ctx, sandbox.Spec{Image: "image"}, false); !errors.Is(err, context.Canceled) {
		t.Errorf("the one who waits: image = %v, want %v", err, context.Canceled)
	}
	close(leave)
	puller.Wait()
}

func TestLookAnewForgetsImages(t *testing.T) {
	r := &registry{has: true}
	d := r.open(t, PullNever)
	for range 2 {
		for range 3 {
			if _, err := d.image(t.Context(), sandbox.Spec{Image: "i"}, false); err != nil {
				t.Fatal(err)
			}
		}
		d.LookAnew()
	}
	if r.inspects != 2 {
		t.Errorf("the engine was asked %d times, want once before and once behind it", r.inspects)
	}
}
