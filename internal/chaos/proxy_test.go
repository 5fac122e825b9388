//go:build chaos

package chaos

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"boomerang/internal/servertest"
)

// behaviour is how the proxy handles calls to the engine.
type behaviour string

const (
	healthy behaviour = "healthy"
	slow    behaviour = "slow" // delays each call by up to 2 s
	// Answers half of the calls with 500, or cuts their connection before the engine gets them.
	failing  behaviour = "fail"
	dropping behaviour = "mute" // passes calls on and cuts off the answers
	hanging  behaviour = "hang" // passes no call on
)

// proxy forwards calls of the server to the engine.
type proxy struct {
	socket string
	server *http.Server
	served chan struct{} // closed when the server of the proxy has ended

	mu     sync.Mutex // guards the fields below
	mood   behaviour
	lifted chan struct{} // closed when the behaviour changes
	chance *rand.Rand
	fuse   int    // number of calls until blow
	blow   func() // called while the last of these calls waits
}

// newProxy listens on a socket in dir and forwards to that of the engine.
func newProxy(dir, engine string, seed uint64) (*proxy, error) {
	p := &proxy{
		socket: filepath.Join(dir, "proxy.sock"), mood: healthy, lifted: make(chan struct{}),
		chance: rand.New(rand.NewPCG(seed, 1)), served: make(chan struct{}),
	}
	_ = os.Remove(p.socket)
	listener, err := net.Listen("unix", p.socket)
	if err != nil {
		return nil, err
	}
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "docker"})
	forward.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", engine)
		},
		MaxIdleConns: 16,
	}
	forward.FlushInterval = -1
	forward.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // aborted calls are intended
	forward.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	p.server = &http.Server{Handler: p.handle(forward)}
	go func() {
		defer close(p.served)
		_ = p.server.Serve(listener)
	}()
	return p, nil
}

// handle forwards a call according to the behaviour.
func (p *proxy) handle(forward http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mood, lifted, chance := p.next()
		switch mood {
		case slow:
			servertest.Rest(r.Context(), time.Duration(chance*float64(2*time.Second)))
		case failing:
			switch {
			case chance < 0.25:
				http.Error(w, `{"message":"the proxy fails this call"}`, http.StatusInternalServerError)
				return
			case chance < 0.5:
				panic(http.ErrAbortHandler)
			}
		case dropping:
			if r.Header.Get("Upgrade") == "" && r.Method != http.MethodGet {
				forward.ServeHTTP(nowhere{http.Header{}}, r)
				panic(http.ErrAbortHandler)
			}
		case hanging:
			select {
			case <-lifted:
			case <-r.Context().Done():
				return
			}
		case healthy:
		}
		forward.ServeHTTP(w, r)
	})
}

// nowhere discards an answer.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header       { return n.header }
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) WriteHeader(int)             {}

func (p *proxy) next() (mood behaviour, lifted chan struct{}, chance float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fuse--; p.fuse == 0 {
		p.blow()
	}
	return p.mood, p.lifted, p.chance.Float64()
}

// set changes the behaviour.
func (p *proxy) set(m behaviour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mood = m
	close(p.lifted)
	p.lifted = make(chan struct{})
}

// callAfter calls blow after a number of calls, before the last of them is forwarded.
func (p *proxy) callAfter(calls int, blow func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fuse, p.blow = calls, blow
}

func (p *proxy) close() {
	_ = p.server.Close()
	<-p.served
}
