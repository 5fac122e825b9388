// Package proxy is the forward proxy of programs on the network "proxy". It serves CONNECT, and absolute URLs for
// http://, to the hosts on its list, after a check of the address behind each name.
//
// The package does not know the programs or the firewall that forces them to use the proxy. It does not inspect
// traffic: of a CONNECT tunnel it knows host, port and bytes.
package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/time/rate"

	"boomerang/internal/address"
)

// Proxy connects programs to the hosts of its configuration.
type Proxy struct {
	allowed    allowList
	cidrs      []netip.Prefix
	own        func() ([]netip.Addr, error)
	dialer     *net.Dialer
	httpProxy  *httputil.ReverseProxy // for http://
	log        *logrus.Entry
	logLimiter *rate.Limiter // limits log lines about refusals
	tunnels    sync.WaitGroup
}

const (
	dialTimeout   = 10 * time.Second // DNS and TCP connect together
	headerTimeout = 10 * time.Second // for the header of a request
	idleTimeout   = time.Minute      // between two requests on a connection
	headerSize    = 64 << 10         // bytes of a request's header
)

// Refusals are logged, but no program may fill the disk with them: lines per second, and lines at once.
const (
	logRate  = 5
	logBurst = 100
)

// New returns a proxy. The configuration must be valid.
func New(c Config, l *logrus.Entry) *Proxy {
	p := &Proxy{
		allowed:    newAllowList(c),
		cidrs:      slices.Clone(c.AllowCIDRs),
		own:        address.Interfaces,
		log:        l,
		logLimiter: rate.NewLimiter(logRate, logBurst),
	}
	p.dialer = &net.Dialer{Timeout: dialTimeout, ControlContext: p.guard}
	p.httpProxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.Host = r.In.URL.Host             // the checked host, whatever the header says
			r.Out.URL.RawQuery = r.In.URL.RawQuery // even if it is not a list of parameters
		},
		Transport: &http.Transport{
			DialContext:        p.dialer.DialContext,
			DisableCompression: true,
			IdleConnTimeout:    idleTimeout,
		},
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			p.answerDialError(w, r, r.URL.Host, err)
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	return p
}

// closedAddressError is the error of guard for a closed address. It names the rule, for the log.
type closedAddressError struct{ rule string }

func (e *closedAddressError) Error() string { return "the name leads to " + e.rule }

// guard implements net.Dialer.ControlContext. It checks each resolved address before the connection, so a name that
// changes its address gains nothing.
func (p *Proxy) guard(_ context.Context, _, target string, _ syscall.RawConn) error {
	resolved, err := netip.ParseAddrPort(target)
	if err != nil {
		return err
	}
	rule, err := address.Rule(resolved.Addr(), p.own)
	if err != nil {
		return err
	}
	addr := resolved.Addr().Unmap().WithZone("")
	excepted := rule != address.Metadata &&
		slices.ContainsFunc(p.cidrs, func(c netip.Prefix) bool { return c.Contains(addr) })
	if rule != "" && !excepted {
		return &closedAddressError{rule}
	}
	return nil
}

// Serve serves programs until ctx ends, then closes all connections. It closes l.
func (p *Proxy) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: p, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerSize,
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		// Errors that programs cause are not logged.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	unhook := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer p.tunnels.Wait()
	defer unhook()
	err := server.Serve(limitPerProgram(l))
	if ctx.Err() != nil && errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// ServeHTTP forwards one request, or refuses it.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target := r.URL.Host
	if r.Method == http.MethodConnect {
		target = r.Host
	} else if r.URL.Scheme != "http" || target == "" {
		http.Error(w, "This is a proxy for programs: it takes CONNECT, and absolute http:// URLs.",
			http.StatusBadRequest)
		return
	}
	host, port, ok := splitTarget(target, r.Method == http.MethodConnect)
	if !ok || !p.allowed.allows(host, port) {
		line := p.logEntry(r, target)
		p.logRefusal(line.Info, line.Debug, "a connection of a program was refused")
		http.Error(w, "The proxy does not allow programs to connect to this host and port.", http.StatusForbidden)
		return
	}
	if r.Method != http.MethodConnect {
		p.httpProxy.ServeHTTP(w, r)
		return
	}
	p.tunnel(w, r, net.JoinHostPort(host, strconv.Itoa(int(port))))
}

// splitTarget splits a target into host and port. Only a URL may leave the port out.
func splitTarget(target string, needsPort bool) (host string, port uint16, ok bool) {
	u := url.URL{Host: target}
	text := u.Port()
	if text == "" && !needsPort {
		text = "80"
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return u.Hostname(), uint16(n), err == nil && n > 0
}

// tunnel connects a program and a host until both have finished, or one is gone, or the proxy stops.
func (p *Proxy) tunnel(w http.ResponseWriter, r *http.Request, target string) {
	host, err := p.dialer.DialContext(r.Context(), "tcp", target)
	if err != nil {
		p.answerDialError(w, r, target, err)
		return
	}
	defer func() { _ = host.Close() }()
	p.tunnels.Add(1)
	defer p.tunnels.Done()
	program, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		p.logEntry(r, target).WithError(err).Warn("take over connection")
		return
	}
	defer func() { _ = program.Close() }()
	unhook := context.AfterFunc(r.Context(), func() { _, _ = program.Close(), host.Close() })
	defer unhook()
	p.logEntry(r, target).Debug("a program was connected")
	if _, err := io.WriteString(program, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { copyUntilEOF(program, host) })
	first := io.LimitReader(buffered, int64(buffered.Reader.Buffered())) // bytes that arrived with the request
	copyUntilEOF(host, io.MultiReader(first, program))
	back.Wait()
}

// halfCloseTimeout limits how long one side may go on sending after the other has finished.
const halfCloseTimeout = 10 * time.Minute

// copyUntilEOF copies until the end of the input, and passes the end on.
func copyUntilEOF(to net.Conn, from io.Reader) {
	_, err := io.Copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		_ = to.Close()
		return
	}
	_ = to.SetReadDeadline(time.Now().Add(halfCloseTimeout))
}

// answerDialError answers a program whose host could not be reached. The answer never contains the addresses of a name.
func (p *Proxy) answerDialError(w http.ResponseWriter, r *http.Request, target string, err error) {
	if _, refused := errors.AsType[*closedAddressError](err); refused {
		line := p.logEntry(r, target).WithError(err)
		p.logRefusal(line.Warn, line.Debug, "an allowed name leads to a closed address")
		http.Error(w, "The proxy does not allow programs to connect to the address of this name.", http.StatusForbidden)
		return
	}
	p.logEntry(r, target).WithError(err).Debug("reach host")
	http.Error(w, "The proxy cannot reach this host.", http.StatusBadGateway)
}

// logRefusal logs a refusal with log, or with quietLog if there were too many refusals.
func (p *Proxy) logRefusal(log, quietLog func(...any), sentence string) {
	if p.logLimiter.Allow() {
		log(sentence)
	} else {
		quietLog(sentence)
	}
}

// maxTarget is the length of a name (RFC 1035, section 2.3.4), a colon and a port. A program can send a whole header of
// it.
const maxTarget = 253 + 1 + 5

func (p *Proxy) logEntry(r *http.Request, target string) *logrus.Entry {
	target = target[:min(len(target), maxTarget)]
	return p.log.WithFields(logrus.Fields{"program": r.RemoteAddr, "target": target})
}
