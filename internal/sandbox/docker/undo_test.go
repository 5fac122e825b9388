package docker

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestAFailedPreparationIsUndoneWhenTheEngineAnswersAgain(t *testing.T) {
	var removals atomic.Int64
	d := onHandler(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodDelete && removals.Add(1) < 3:
			panic(http.ErrAbortHandler) // no answer
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	if err := d.removeFailed(t.Context(), "c"); err != nil || removals.Load() != 3 {
		t.Errorf("undo = %v after %d removals, want nil after the third", err, removals.Load())
	}
}

func TestAHelperIsRemovedAlthoughItsMakingWasCalledOff(t *testing.T) {
	var removed atomic.Bool
	asked, called := make(chan struct{}), make(chan struct{})
	d := onHandler(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/containers/create"):
			close(asked)
			<-called // the engine makes the container all the same
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `{"Id": "helper"}`)
		case r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/containers/helper"):
			removed.Store(true)
			w.WriteHeader(http.StatusNoContent)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	filled := make(chan error)
	go func() {
		_, err := d.fillVolume(ctx, imageFacts{}, []file{{name: initName}})
		filled <- err
	}()
	<-asked
	cancel()
	close(called)
	if err := <-filled; !errors.Is(err, context.Canceled) || !removed.Load() {
		t.Errorf("fill = %v, helper removed: %t; want it called off, and nothing left", err, removed.Load())
	}
}

func TestARemovalThatCrossesTheEndIsTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		failures int64
		removed  bool
	}{
		"once":    {1, true},
		"forever": {1 << 30, false},
	} {
		t.Run(name, func(t *testing.T) {
			var removals atomic.Int64
			d := onHandler(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodDelete && removals.Add(1) <= c.failures:
					http.Error(w,
						`{"message": "Could not kill running container c, cannot remove - Container c is not running"}`,
						http.StatusInternalServerError)
				case r.Method == http.MethodDelete:
					w.WriteHeader(http.StatusNoContent)
				}
			})
			if err := d.remove(t.Context(), "c"); (err == nil) != c.removed {
				t.Errorf("remove = %v after %d tries, want removed = %t", err, removals.Load(), c.removed)
			}
		})
	}
}

// onHandler makes a sandbox on an engine that the test plays, except for its ping.
func onHandler(t *testing.T, play http.HandlerFunc) *Docker {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/_ping" {
			w.Header().Set("Api-Version", "1.41")
			return
		}
		play(w, r)
	}))
	t.Cleanup(server.Close)
	config := Defaults()
	config.Host = "tcp://" + server.Listener.Addr().String()
	d, err := New(config, "node", 1, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}
