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

// egress is the way by a proxy of the operator.
type egress struct {
	proxy   *url.URL
	trust   trust
	agent   string
	connect time.Duration // to reach the proxy
	tls     time.Duration // to shake hands with it, if it is an https:// one
	whole   time.Duration // until it has answered CONNECT
}

// through makes transport send everything by an egress proxy, which resolves the names and judges the addresses. It is
// dialled wherever it is: the operator named it. For an https:// receiver it gets CONNECT and sees nothing else; for an
// http:// one it gets the whole request.
//
// CONNECT is not left to net/http: that would shake hands below everything that can be listened to.
func through(transport *http.Transport, proxy *url.URL, trust trust, agent string, l limits) {
	e := egress{proxy: proxy, trust: trust, agent: agent, connect: l.connect, tls: l.tls, whole: l.whole}
	plain := &url.URL{Scheme: "http", Host: e.address(), User: proxy.User} // TLS with the proxy is the dial's business
	transport.Proxy = func(request *http.Request) (*url.URL, error) {
		if request.URL.Scheme == "https" {
			return nil, nil
		}
		return plain, nil
	}
	transport.DialContext = e.dial
	transport.DialTLSContext = secure(transport, e.tunnel)
}

// address is the proxy's host and port.
func (e egress) address() string {
	port := e.proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[e.proxy.Scheme]
	}
	return net.JoinHostPort(e.proxy.Hostname(), port)
}

// dial connects to the proxy, whatever the address.
func (e egress) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	if e.proxy.Scheme == "http" {
		return fromProxy((&net.Dialer{Timeout: e.connect}).DialContext(ctx, network, e.address()))
	}
	secure := &tls.Dialer{NetDialer: &net.Dialer{Timeout: e.connect + e.tls}, Config: e.trust.config()}
	// What is for the receiver is not shown to the proxy.
	return fromProxy(secure.DialContext(with(ctx, e.proxy.Hostname()), network, e.address()))
}

// tunnel connects to address by way of the proxy.
func (e egress) tunnel(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, e.whole) // the transport lets a dial go on when its request has ended
	defer cancel()
	conn, err := e.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	err = e.ask(conn, address)
	if !stop() {
		return nil, ctx.Err() // the connection is closed
	}
	if err != nil {
		_ = conn.Close()
		return nil, &proxyError{err}
	}
	return conn, nil
}

// ask sends CONNECT and reads the answer.
func (e egress) ask(conn net.Conn, address string) error {
	request := &http.Request{
		Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{"User-Agent": {e.agent}},
	}
	if user := e.proxy.User; user != nil {
		password, _ := user.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		request.Header.Set("Proxy-Authorization", "Basic "+basic)
	}
	if err := request.Write(conn); err != nil {
		return err
	}
	// What the reader buffers is the proxy's alone: a TLS server does not speak first.
	in := bufio.NewReader(io.LimitReader(conn, answerHeaders))
	answer, err := http.ReadResponse(in, request) //nolint:bodyclose // its body is the tunnel
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("it answered CONNECT with %d", answer.StatusCode)
	}
	return nil
}

// proxyError says that the egress proxy could not be reached or made no connection: it is not the receiver's fault.
type proxyError struct{ cause error }

func (e *proxyError) Error() string { return "egress proxy: " + e.cause.Error() }
func (e *proxyError) Unwrap() error { return e.cause }

func fromProxy(conn net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, &proxyError{err}
	}
	return overhear(conn), nil
}
