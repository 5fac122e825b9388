package callback

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
)

// secure returns what makes connections for transport to https:// receivers: it dials, shakes hands with what transport
// is configured to, and listens above TLS, where the answer can be read. The handshake must end within
// transport.TLSHandshakeTimeout.
func secure(transport *http.Transport, dial dialing) dialing {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		config := transport.TLSClientConfig.Clone()
		config.ServerName = host
		secured := tls.Client(conn, config)
		shaking, cancel := context.WithTimeout(ctx, transport.TLSHandshakeTimeout)
		defer cancel()
		err = secured.HandshakeContext(shaking)
		if trace := httptrace.ContextClientTrace(ctx); trace != nil && trace.TLSHandshakeDone != nil {
			trace.TLSHandshakeDone(secured.ConnectionState(), err)
		}
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		return overhear(secured), nil
	}
}
