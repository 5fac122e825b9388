package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log" //nolint:depguard // net/http takes nothing else
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/fault"
)

// The bounds of every connection, beside those of the configuration.
const (
	headerTimeout = 5 * time.Second // of a request's header
	idleTimeout   = 2 * time.Minute // between two requests
	maxHeader     = 16 << 10        // bytes
)

// Server makes the server that h is safe behind: every request is bounded in time and size. When it shuts down, those
// that wait for an execution are answered at once. Certificate.Serve runs it.
func Server(c Config, h http.Handler, entry *logrus.Entry) *http.Server {
	life := &lifetime{stopping: make(chan struct{})}
	server := &http.Server{
		Addr:              c.Addr,
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       c.Timeout,
		WriteTimeout:      c.Timeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader - slack,
		ErrorLog:          log.New(complaints{entry}, "", 0),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), lifetimeKey{}, life)
		},
	}
	server.RegisterOnShutdown(life.stop)
	return server
}

// slack is what net/http reads beyond MaxHeaderBytes.
const slack = 4 << 10

type lifetimeKey struct{}

// lifetime is that of a server.
type lifetime struct {
	stopping chan struct{} // closed when it shuts down

	mu      sync.Mutex     // guards that sockets grows no more once stopping is closed
	sockets sync.WaitGroup // connections that are not HTTP's any more, for which net/http does not wait
}

// stop is idempotent.
func (l *lifetime) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.stopping:
	default:
		close(l.stopping)
	}
}

// stopping is closed when the server that ctx belongs to shuts down; nil, which never is, without such a server.
func stopping(ctx context.Context) <-chan struct{} {
	if life, ok := ctx.Value(lifetimeKey{}).(*lifetime); ok {
		return life.stopping
	}
	return nil
}

// serving makes the server that ctx belongs to wait, before it has shut down, until done is called. Errors: fault
// SERVICE_UNAVAILABLE when it shuts down already.
func serving(ctx context.Context) (done func(), err error) {
	life, ok := ctx.Value(lifetimeKey{}).(*lifetime)
	if !ok {
		return func() {}, nil
	}
	life.mu.Lock()
	defer life.mu.Unlock()
	select {
	case <-life.stopping:
		return nil, fault.New(fault.ServiceUnavailable, "The server stops.")
	default:
		life.sockets.Add(1)
		return life.sockets.Done, nil
	}
}

// complaints puts what net/http has to say into the log. What strangers can bring about is not a warning.
type complaints struct{ log *logrus.Entry }

// Write gets one line.
func (c complaints) Write(line []byte) (int, error) {
	log := c.log.WithField("said", strings.TrimSpace(string(line)))
	if strings.HasPrefix(string(line), "http: TLS handshake error") {
		log.Debug("http server complains")
	} else {
		log.Warn("http server complains")
	}
	return len(line), nil
}

// Certificate is the server's certificate with its key, in files.
type Certificate struct {
	cert, key string
	loaded    atomic.Pointer[tls.Certificate]
}

// OpenCertificate reads the files that the configuration names. It returns nil, which serves without TLS, when there are none.
func OpenCertificate(c Config) (*Certificate, error) {
	if c.TLSCert == "" {
		return nil, nil
	}
	certificate := &Certificate{cert: c.TLSCert, key: c.TLSKey}
	return certificate, certificate.Reload()
}

// Reload reads the files again; on an error the old certificate stays. Without a certificate it does nothing.
func (c *Certificate) Reload() error {
	if c == nil {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("read TLS certificate: %w", err)
	}
	c.loaded.Store(&pair)
	return nil
}

// Serve answers on l until the server is shut down or closed: with TLS when there is a certificate. After a shutdown it
// returns when the last WebSocket has ended, which is soon: they are told.
func (c *Certificate) Serve(server *http.Server, l net.Listener) error {
	life, ok := server.BaseContext(l).Value(lifetimeKey{}).(*lifetime)
	err := c.serve(server, l)
	if ok && errors.Is(err, http.ErrServerClosed) {
		life.stop() // also after a Close
		life.sockets.Wait()
	}
	return err
}

func (c *Certificate) serve(server *http.Server, l net.Listener) error {
	if c == nil {
		return server.Serve(l)
	}
	server.TLSConfig = &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.loaded.Load(), nil },
	}
	return server.ServeTLS(l, "", "")
}
