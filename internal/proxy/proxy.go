// Package proxy is the one way out for programs of the network "proxy": a forward proxy (CONNECT, and absolute URLs for http://)
// that lets through the hosts on its list, after it has looked at the address that each name leads to.
//
// It refuses to know who the programs are and how they are kept from going round it, and it looks into nothing: of what goes through
// CONNECT it knows host, port and bytes.
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

// Proxy lets programs through to what its configuration allows.
type Proxy struct {
	allowed allowList
	cidrs   []netip.Prefix
	own     func() ([]netip.Addr, error)
	dialer  *net.Dialer
	httpProxy   *httputil.ReverseProxy // for http://
	log     *logrus.Entry
	logLimiter   *rate.Limiter // of the log, about what is refused
	tunnels sync.WaitGroup
}

const (
	dialTimeout   = 10 * time.Second // resolving and connecting together
	headerTimeout = 10 * time.Second // for a program to say what it wants
	idleTimeout   = time.Minute      // between two requests on a connection
	headerSize    = 64 << 10         // bytes of a request's header
)

// What is refused is in the log, but no program may fill the disk with it: so many lines a second, and so many at once.
const (
	logRate  = 5
	logBurst = 100
)

// New makes a proxy. The configuration must be valid.
func New(c Config, l *logrus.Entry) *Proxy {
	p := &Proxy{allowed: newAllowList(c), cidrs: slices.Clone(c.AllowCIDRs), own: address.Interfaces, log: l, logLimiter: rate.NewLimiter(logRate, logBurst)}
	p.dialer = &net.Dialer{Timeout: dialTimeout, ControlContext: p.guard}
	p.httpProxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.Host = r.In.URL.Host             // what was checked, whatever the header says
			r.Out.URL.RawQuery = r.In.URL.RawQuery // also what is no list of parameters
		},
		Transport:     &http.Transport{DialContext: p.dialer.DialContext, DisableCompression: true, IdleConnTimeout: idleTimeout},
		FlushInterval: -1,
		ErrorHandler:  func(w http.ResponseWriter, r *http.Request, err error) { p.answerDialError(w, r, r.URL.Host, err) },
		ErrorLog:      slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	return p
}

// closedError is the guard's refusal. It names the rule, for the log.
type closedAddressError struct{ rule string }

func (e *closedAddressError) Error() string { return "the name leads to " + e.rule }

// guard is called with each resolved address, before it is connected to: a name that changes its address gains nothing.
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
	excepted := rule != address.Metadata && slices.ContainsFunc(p.cidrs, func(c netip.Prefix) bool { return c.Contains(addr) })
	if rule != "" && !excepted {
		return &closedAddressError{rule}
	}
	return nil
}

// Serve answers programs until ctx ends, then cuts off what goes on. It closes l.
func (p *Proxy) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: p, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerSize,
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		ErrorLog:                     slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // what programs do wrong is theirs
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

// ServeHTTP lets one request through, or refuses it.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target := r.URL.Host
	if r.Method == http.MethodConnect {
		target = r.Host
	} else if r.URL.Scheme != "http" || target == "" {
		http.Error(w, "This is a proxy for programs: it takes CONNECT, and absolute http:// URLs.", http.StatusBadRequest)
		return
	}
	host, port, ok := splitTarget(target, r.Method == http.MethodConnect)
	if !ok || !p.allowed.allows(host, port) {
		line := p.logEntry(r, target)
		p.logRefusal(line.Info, line.Debug, "a program was not let through")
		http.Error(w, "The proxy does not let programs through to this host and port.", http.StatusForbidden)
		return
	}
	if r.Method != http.MethodConnect {
		p.httpProxy.ServeHTTP(w, r)
		return
	}
	p.tunnel(w, r, net.JoinHostPort(host, strconv.Itoa(int(port))))
}

// split takes a target apart. Only a URL may leave its port out.
func splitTarget(target string, needsPort bool) (host string, port uint16, ok bool) {
	u := url.URL{Host: target}
	text := u.Port()
	if text == "" && !needsPort {
		text = "80"
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return u.Hostname(), uint16(n), err == nil && n > 0
}

// tunnel joins a program and a host until both have said all, or one is gone, or the proxy ends.
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
	p.logEntry(r, target).Debug("a program was let through")
	if _, err := io.WriteString(program, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { copyUntilEOF(program, host) })
	first := io.LimitReader(buffered, int64(buffered.Reader.Buffered())) // what came along with the request
	copyUntilEOF(host, io.MultiReader(first, program))
	back.Wait()
}

// lingering is how long the other side may go on when one side has said all.
const halfCloseTimeout = 10 * time.Minute

// pass copies to the end, and passes the end on.
func copyUntilEOF(to net.Conn, from io.Reader) {
	_, err := io.Copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		_ = to.Close()
		return
	}
	_ = to.SetReadDeadline(time.Now().Add(halfCloseTimeout))
}

// failed answers a program whose host could not be reached. Which addresses a name has is not for it to know.
func (p *Proxy) answerDialError(w http.ResponseWriter, r *http.Request, target string, err error) {
	if _, refused := errors.AsType[*closedAddressError](err); refused {
		line := p.logEntry(r, target).WithError(err)
		p.logRefusal(line.Warn, line.Debug, "an allowed name leads to a closed address")
		http.Error(w, "The proxy does not let programs through to where this name leads.", http.StatusForbidden)
		return
	}
	p.logEntry(r, target).WithError(err).Debug("reach host")
	http.Error(w, "The proxy cannot reach this host.", http.StatusBadGateway)
}

// refused says of a refusal what there is to say, or quietLogs it when there were too many.
func (p *Proxy) logRefusal(log, quietLog func(...any), sentence string) {
	if p.logLimiter.Allow() {
		log(sentence)
	} else {
		quietLog(sentence)
	}
}

// longestTarget is a name (RFC 1035, section 2.3.4), a colon and a port. A program can write a header full.
const maxTarget = 253 + 1 + 5

func (p *Proxy) logEntry(r *http.Request, target string) *logrus.Entry {
	target = target[:min(len(target), maxTarget)]
	return p.log.WithFields(logrus.Fields{"program": r.RemoteAddr, "target": target})
}
