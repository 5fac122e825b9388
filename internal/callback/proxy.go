package callback

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// egressProxy makes connections by way of the operator's proxy.
type egressProxy struct {
	proxy   *url.URL
	trust   trust
	agent   string
	connect time.Duration // timeout for the TCP connection to the proxy
	tls     time.Duration // timeout for the TLS handshake with an https:// proxy
	total   time.Duration // timeout until the proxy has answered CONNECT
}

// useProxy makes transport send all requests by an egress proxy, which resolves names and checks addresses. The proxy
// itself is dialled at any address, because the operator named it. For an https:// receiver the proxy gets CONNECT and
// sees only encrypted bytes; for an http:// receiver it gets the whole request.
//
// CONNECT is not left to net/http, which would do the TLS handshake below the recording connection.
func useProxy(transport *http.Transport, proxy *url.URL, trust trust, agent string, l timeouts) {
	e := egressProxy{proxy: proxy, trust: trust, agent: agent, connect: l.connect, tls: l.tls, total: l.total}
	plain := &url.URL{Scheme: "http", Host: e.address(), User: proxy.User} // dial does TLS with the proxy
	transport.Proxy = func(request *http.Request) (*url.URL, error) {
		if request.URL.Scheme == "https" {
			return nil, nil
		}
		return plain, nil
	}
	transport.DialContext = e.dial
	transport.DialTLSContext = tlsDialFunc(transport, e.tunnel)
}

// address returns the proxy's host and port.
func (e egressProxy) address() string {
	port := e.proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[e.proxy.Scheme]
	}
	return net.JoinHostPort(e.proxy.Hostname(), port)
}

// dial connects to the proxy, whatever the address.
func (e egressProxy) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	if e.proxy.Scheme == "http" {
		return recordProxyConn((&net.Dialer{Timeout: e.connect}).DialContext(ctx, network, e.address()))
	}
	secure := &tls.Dialer{NetDialer: &net.Dialer{Timeout: e.connect + e.tls}, Config: e.trust.tlsConfig()}
	// The receiver's client certificate is never shown to the proxy.
	return recordProxyConn(secure.DialContext(withPeer(ctx, e.proxy.Hostname()), network, e.address()))
}

// tunnel connects to address by way of the proxy.
func (e egressProxy) tunnel(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, e.total) // the transport continues a dial after its request has ended
	defer cancel()
	conn, err := e.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	err = e.sendConnect(conn, address)
	if !stop() {
		return nil, ctx.Err() // conn is closed
	}
	if err != nil {
		_ = conn.Close()
		return nil, &proxyError{err}
	}
	return conn, nil
}

// sendConnect sends CONNECT and reads the answer.
func (e egressProxy) sendConnect(conn net.Conn, address string) error {
	request := &http.Request{
		Method: http.MethodConnect,
		URL:    &url.URL{Opaque: address},
		Host:   address,
		Header: http.Header{"User-Agent": {e.agent}},
	}
	if user := e.proxy.User; user != nil {
		password, _ := user.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		request.Header.Set("Proxy-Authorization", "Basic "+basic)
	}
	if err := request.Write(conn); err != nil {
		return err
	}
	// The reader buffers only bytes of the proxy: a TLS server does not speak first.
	in := bufio.NewReader(io.LimitReader(conn, maxAnswerHeaders))
	answer, err := http.ReadResponse(in, request) //nolint:bodyclose // its body is the tunnel
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("it answered CONNECT with %d", answer.StatusCode)
	}
	return nil
}

// proxyError says that the egress proxy could not be reached or made no connection. The receiver is not at fault.
type proxyError struct{ cause error }

func (e *proxyError) Error() string { return "egress proxy: " + e.cause.Error() }
func (e *proxyError) Unwrap() error { return e.cause }

func recordProxyConn(conn net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, &proxyError{err}
	}
	return recordConn(conn), nil
}
