package callback

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// vetted is a connection to an address that the policy let through. It may serve many attempts, so it remembers how.
type vetted struct {
	net.Conn
	excepted bool
}

// dialing makes a connection.
type dialing = func(ctx context.Context, network, address string) (net.Conn, error)

// dialer makes connections to the addresses that policy lets through.
type dialer struct {
	policy   *Policy
	resolver *net.Resolver // nil: the host's
	timeout  time.Duration // resolving and connecting together
}

// dial resolves address ("host:port") and connects to the first of its addresses that is open and answers. When none is
// open the error is a *RefusalError.
func (d dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	v := visa{policy: d.policy, host: host, passed: make(map[netip.Addr]bool)}
	inner := net.Dialer{Timeout: d.timeout, Resolver: d.resolver, ControlContext: v.control}
	conn, err := inner.DialContext(ctx, network, address)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil {
		if v.refusal != nil && len(v.passed) == 0 {
			return nil, v.refusal
		}
		return nil, withoutRefusal(err)
	}
	excepted, known := v.passed[remote(conn)]
	return &vetted{Conn: overhear(conn), excepted: excepted || !known}, nil
}

// visa collects what the policy says of the addresses of one name while they are dialled, two at a time.
type visa struct {
	policy *Policy
	host   string

	mu      sync.Mutex // the dialer races IPv6 against IPv4
	passed  map[netip.Addr]bool
	refusal *RefusalError
}

// control is called with each resolved address, after the socket is made and before it is connected.
func (v *visa) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	resolved, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	verdict, err := v.policy.judge(v.host, resolved.Addr())
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if verdict.refusal != nil {
		v.refusal = verdict.refusal
		return verdict.refusal
	}
	v.passed[resolved.Addr().Unmap()] = verdict.excepted
	return nil
}

// errUnanswered stands for a refusal of one address where others were open: the name may be called, later.
var errUnanswered = errors.New("none of the open addresses answered")

func withoutRefusal(err error) error {
	if _, ok := errors.AsType[*RefusalError](err); ok {
		return errUnanswered
	}
	return err
}

// remote is the address at the other end; the zero Addr when the connection is not TCP.
func remote(conn net.Conn) netip.Addr {
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
