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
)

// mood is how the proxy treats calls to the engine.
type mood string

const (
	healthy mood = "healthy"
	slow    mood = "slow" // each call waits up to 2 s
	failing mood = "fail" // half of the calls get a 500, or their connection is cut before the engine has the call
	mute    mood = "mute" // the engine does what it is told, and its answer is cut off
	hanging mood = "hang" // no call comes through
)

// proxy stands between boomerang and the engine.
type proxy struct {
	socket string
	server *http.Server
	served chan struct{} // closed when it has ended

	mu     sync.Mutex // guards what follows
	mood   mood
	lifted chan struct{} // closed when the mood changes
	chance *rand.Rand
	fuse   int    // after so many calls more…
	blow   func() // …this is called, while the call waits
}

// newProxy listens on a socket in dir and passes everything on to the engine's.
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
	forward.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // calls are meant to break off
	forward.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	p.server = &http.Server{Handler: p.treat(forward)}
	go func() {
		defer close(p.served)
		_ = p.server.Serve(listener)
	}()
	return p, nil
}

// treat passes a call on as the mood is.
func (p *proxy) treat(forward http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mood, lifted, chance := p.next()
		switch mood {
		case slow:
			rest(r.Context(), time.Duration(chance*float64(2*time.Second)))
		case failing:
			switch {
			case chance < 0.25:
				http.Error(w, `{"message":"the proxy fails this call"}`, http.StatusInternalServerError)
				return
			case chance < 0.5:
				panic(http.ErrAbortHandler)
			}
		case mute:
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

// nowhere takes an answer that is not to arrive.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header       { return n.header }
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) WriteHeader(int)             {}

func (p *proxy) next() (mood mood, lifted chan struct{}, chance float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fuse--; p.fuse == 0 {
		p.blow()
	}
	return p.mood, p.lifted, p.chance.Float64()
}

// set changes the mood.
func (p *proxy) set(m mood) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mood = m
	close(p.lifted)
	p.lifted = make(chan struct{})
}

// light calls blow when so many calls more have come, before the last of them is passed on.
func (p *proxy) light(calls int, blow func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fuse, p.blow = calls, blow
}

func (p *proxy) close() {
	_ = p.server.Close()
	<-p.served
}
