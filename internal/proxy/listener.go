package proxy

import (
	"net"
	"net/netip"
	"sync"
)

// maxConnsPerProgram is the number of connections that one program may have at a time; the next one is closed at once.
// A program may open as many files as its language allows, and must not use up the proxy's.
const maxConnsPerProgram = 128

// limitPerProgram limits the connections of each address to maxConnsPerProgram.
func limitPerProgram(l net.Listener) net.Listener {
	return &limitedListener{Listener: l, open: make(map[netip.Addr]int)}
}

type limitedListener struct {
	net.Listener
	mu   sync.Mutex // guards open
	open map[netip.Addr]int
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
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
		if l.count(from, 1) > maxConnsPerProgram {
			l.count(from, -1)
			_ = c.Close()
			continue
		}
		return &countedConn{TCPConn: tcp, release: sync.OnceFunc(func() { l.count(from, -1) })}, nil
	}
}

func (l *limitedListener) count(from netip.Addr, change int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[from] += change
	n := l.open[from]
	if n == 0 {
		delete(l.open, from)
	}
	return n
}

// countedConn is a connection that reports its end. It embeds *net.TCPConn, so that each direction can be closed alone.
type countedConn struct {
	*net.TCPConn
	release func()
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.release()
	return c.TCPConn.Close()
}
