package callback

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// through makes transport send everything by an egress proxy, which resolves the names and judges the addresses. It is
// dialled wherever it is: the operator named it. For an https:// receiver it gets CONNECT and sees nothing else; for an
// http:// one it gets the whole request.
func through(transport *http.Transport, proxy *url.URL, trust trust, agent string, l limits) {
	plain := &net.Dialer{Timeout: l.connect}
	secure := &tls.Dialer{NetDialer: &net.Dialer{Timeout: l.connect + l.tls}, Config: trust.config()}
	transport.Proxy = http.ProxyURL(proxy)
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return fromProxy(plain.DialContext(ctx, network, address))
	}
	transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return fromProxy(secure.DialContext(with(ctx, proxy.Hostname()), network, address)) // what is for the receiver is not shown to it
	}
	transport.ProxyConnectHeader = http.Header{"User-Agent": {agent}}
	transport.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
		if answer.StatusCode != http.StatusOK {
			return &proxyError{fmt.Errorf("it answered CONNECT with %d", answer.StatusCode)}
		}
		return nil
	}
}

// proxyError says that the egress proxy could not be reached or made no connection: it is not the receiver's fault.
type proxyError struct{ cause error }

func (e *proxyError) Error() string { return "egress proxy: " + e.cause.Error() }
func (e *proxyError) Unwrap() error { return e.cause }

func fromProxy(conn net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, &proxyError{err}
	}
	return conn, nil
}
