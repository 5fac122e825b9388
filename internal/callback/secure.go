package callback

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
)

// tlsDialFunc returns the function that makes transport's connections to https:// receivers. It dials, does the TLS
// handshake with the transport's configuration, and records above TLS, where the answer is readable. The handshake must
// end within transport.TLSHandshakeTimeout.
func tlsDialFunc(transport *http.Transport, dial dialFunc) dialFunc {
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
		handshakeCtx, cancel := context.WithTimeout(ctx, transport.TLSHandshakeTimeout)
		defer cancel()
		err = secured.HandshakeContext(handshakeCtx)
		if trace := httptrace.ContextClientTrace(ctx); trace != nil && trace.TLSHandshakeDone != nil {
			trace.TLSHandshakeDone(secured.ConnectionState(), err)
		}
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		return recordConn(secured), nil
	}
}
