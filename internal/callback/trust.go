package callback

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
)

// ClientCertificate proves to one receiver that a callback comes from this server (mutual TLS).
//
// It belongs to one host. There is no certificate for all hosts, because clients choose the receivers: such a
// certificate would reveal the operator of this server to any stranger, and would let a client use it in another
// client's name.
type ClientCertificate struct {
	Host        string `yaml:"host"`        // name or address in the URL, on every port; may be the proxy's
	Certificate string `yaml:"certificate"` // PEM file: the certificate, and those between it and the root
	Key         string `yaml:"key"`         // PEM file
}

// trust holds the certificate authorities that prove a receiver's identity, and the client certificates that prove
// ours.
type trust struct {
	roots      *x509.CertPool              // nil for the system's authorities
	identities map[string]*tls.Certificate // by identityHost
}

// loadTrust reads the files that c names, once: a change needs a restart. Errors name the key and the file.
func loadTrust(c Config) (trust, error) {
	t := trust{identities: make(map[string]*tls.Certificate, len(c.ClientCertificates))}
	if c.CAFile != "" {
		var err error
		if t.roots, err = loadRoots(c.CAFile); err != nil {
			return trust{}, fmt.Errorf("callback.ca_file: %w", err)
		}
	}
	for _, own := range c.ClientCertificates {
		pair, err := tls.LoadX509KeyPair(own.Certificate, own.Key)
		if err != nil {
			return trust{}, fmt.Errorf("callback.client_certificates: %s with %s: %w", own.Certificate, own.Key, err)
		}
		t.identities[identityHost(own.Host)] = &pair
	}
	return t, nil
}

// loadRoots adds the certificates of a PEM file to those of the system.
func loadRoots(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's certificates: %w", err)
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return roots, nil
}

// identityHost returns the form in which the hosts of client certificates are compared.
func identityHost(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().String()
	}
	return canonicalHost(host)
}

// peerKey is the context key of the host that a TLS handshake connects to.
type peerKey struct{}

// withPeer returns a context for connections to host. The transport dials with the values of the request's context, and
// reuses a connection only for requests to the same host and port.
func withPeer(ctx context.Context, host string) context.Context {
	return context.WithValue(ctx, peerKey{}, identityHost(host))
}

func (t trust) tlsConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.roots, GetClientCertificate: t.clientCertificate}
}

// clientCertificate returns the operator's certificate for the peer, or an empty certificate if there is none.
func (t trust) clientCertificate(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	host, _ := request.Context().Value(peerKey{}).(string)
	if own := t.identities[host]; own != nil {
		return own, nil
	}
	return &tls.Certificate{}, nil
}
