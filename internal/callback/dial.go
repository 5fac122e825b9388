package callback

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// guardedConn is a connection to an address that the policy allowed. It may serve many attempts, so it remembers
// whether only an exception opened the address.
type guardedConn struct {
	net.Conn
	excepted bool
}

// dialFunc makes a connection.
type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// guardedDialer makes connections to the addresses that policy allows.
type guardedDialer struct {
	policy   *Policy
	resolver *net.Resolver // nil for the resolver of the host
	timeout  time.Duration // DNS and TCP connect together
}

// dial resolves address ("host:port") and connects to the first allowed address that accepts the connection. If no
// address is allowed the error is a *RefusalError.
func (d guardedDialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	g := dialGuard{policy: d.policy, host: host, allowed: make(map[netip.Addr]bool)}
	inner := net.Dialer{Timeout: d.timeout, Resolver: d.resolver, ControlContext: g.control}
	conn, err := inner.DialContext(ctx, network, address)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && g.policy.namesHost(canonicalHost(host), uint16(n)) {
			noteException(ctx) // also if the name has no address
		}
		if g.refusal != nil && len(g.allowed) == 0 {
			return nil, g.refusal
		}
		return nil, hideRefusal(err)
	}
	excepted, known := g.allowed[remoteAddr(conn)]
	return &guardedConn{Conn: recordConn(conn), excepted: excepted || !known}, nil
}

// dialGuard collects the policy's decisions about the addresses of one name while the net package dials up to two of
// them at a time.
type dialGuard struct {
	policy *Policy
	host   string

	mu      sync.Mutex // net.Dialer races IPv6 against IPv4
	allowed map[netip.Addr]bool
	refusal *RefusalError
}

// control implements net.Dialer.ControlContext. The dialer calls it for each resolved address, between socket and
// connect.
func (g *dialGuard) control(ctx context.Context, _, address string, _ syscall.RawConn) error {
	resolved, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	d, err := g.policy.decide(g.host, resolved)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if d.refusal != nil {
		g.refusal = d.refusal
		return d.refusal
	}
	g.allowed[resolved.Addr().Unmap()] = d.excepted
	if d.excepted {
		noteException(ctx)
	}
	return nil
}

// errNoneConnected replaces the refusal of one address if other addresses were allowed: the delivery may be retried.
var errNoneConnected = errors.New("none of the open addresses answered")

func hideRefusal(err error) error {
	if _, ok := errors.AsType[*RefusalError](err); ok {
		return errNoneConnected
	}
	return err
}

// remoteAddr returns the peer's address, or the zero Addr if the connection is not TCP.
func remoteAddr(conn net.Conn) netip.Addr {
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
