package server

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

// The limits of every connection beside those of Config.
const (
	headerTimeout = 5 * time.Second // of a request's header
	idleTimeout   = 2 * time.Minute // between two requests
	maxHeader     = 16 << 10        // bytes
)

// NewHTTP makes an http.Server for h that bounds every request in time and size. At shutdown it answers the requests
// that wait for an execution at once. Certificate.Serve runs the server.
func NewHTTP(c Config, h http.Handler, entry *logrus.Entry) *http.Server {
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

// slack is the number of bytes that net/http reads beyond MaxHeaderBytes.
const slack = 4 << 10

type lifetimeKey struct{}

// lifetime tells the requests of a server when it shuts down, and the server when its sockets have ended.
type lifetime struct {
	stopping chan struct{} // closed when the server shuts down

	mu      sync.Mutex     // no socket is added once stopping is closed
	sockets sync.WaitGroup // connections taken over from net/http, which does not wait for them
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

// Stopping returns a channel that is closed when the server of a request with ctx shuts down; nil without such a
// server.
func Stopping(ctx context.Context) <-chan struct{} {
	if life, ok := ctx.Value(lifetimeKey{}).(*lifetime); ok {
		return life.stopping
	}
	return nil
}

// HoldShutdown makes the server of a request with ctx wait at shutdown until done is called. Errors: fault
// SERVICE_UNAVAILABLE if the server shuts down already.
func HoldShutdown(ctx context.Context) (done func(), err error) {
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

// complaints writes the messages of net/http into the log. A message that any client can cause is not a warning.
type complaints struct{ log *logrus.Entry }

// Write implements io.Writer for one line.
func (c complaints) Write(line []byte) (int, error) {
	log := c.log.WithField("said", strings.TrimSpace(string(line)))
	if strings.HasPrefix(string(line), "http: TLS handshake error") {
		log.Debug("http server complains")
	} else {
		log.Warn("http server complains")
	}
	return len(line), nil
}

// Certificate is the certificate of the server with its key, read from files. A nil Certificate serves without TLS.
type Certificate struct {
	cert, key string
	loaded    atomic.Pointer[tls.Certificate]
}

// OpenCertificate reads the files that the configuration names; it returns nil if it names none.
func OpenCertificate(c Config) (*Certificate, error) {
	if c.TLSCert == "" {
		return nil, nil
	}
	certificate := &Certificate{cert: c.TLSCert, key: c.TLSKey}
	return certificate, certificate.Reload()
}

// Reload reads the files again; on an error the old certificate stays.
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

// Serve answers on l until the server is shut down or closed, with TLS if there is a certificate. After a shutdown it
// returns when the last WebSocket has ended, which is soon, because Stopping tells them.
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
