package proxy

import (
	"net"
	"net/netip"
	"sync"
)

// perProgram is how many connections one program may have at a time; the next is closed at once. A program has as many files as
// its language allows, and must not use up the proxy's.
const perProgram = 128

// bounded holds the connections of each address to perProgram.
func bounded(l net.Listener) net.Listener {
	return &listener{Listener: l, open: make(map[netip.Addr]int)}
}

type listener struct {
	net.Listener
	mu   sync.Mutex // guards open
	open map[netip.Addr]int
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := c.(*net.TCPConn)
		peer, known := c.RemoteAddr().(*net.TCPAddr)
		if !ok || !known {
			return c, nil
		}
		from := peer.AddrPort().Addr()
		if l.count(from, 1) > perProgram {
			l.count(from, -1)
			_ = c.Close()
			continue
		}
		return &counted{TCPConn: tcp, leave: sync.OnceFunc(func() { l.count(from, -1) })}, nil
	}
}

func (l *listener) count(from netip.Addr, change int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[from] += change
	n := l.open[from]
	if n == 0 {
		delete(l.open, from)
	}
	return n
}

// counted is a connection that says when it is closed. It is a *net.TCPConn, so that its halves can be closed.
type counted struct {
	*net.TCPConn
	leave func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.leave()
	return c.TCPConn.Close()
}
