package callback

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
)

// ClientCertificate is what proves to one receiver that a callback comes from this server (mutual TLS).
//
// It belongs to a host, and there is none for everybody: a client chooses the receiver, so a certificate for everybody
// would tell any stranger whose server this is, and would let one be asked for in the name of another.
type ClientCertificate struct {
	Host        string `yaml:"host"`        // the name or address in the URL, on every port; of the proxy too
	Certificate string `yaml:"certificate"` // PEM file: the certificate, and those between it and the root
	Key         string `yaml:"key"`         // PEM file
}

// trust is what a TLS handshake proves: whom we take the receiver for, and who we are.
type trust struct {
	roots      *x509.CertPool              // nil: the system's
	identities map[string]*tls.Certificate // by identityHost
}

// loadTrust reads the files that c names. They are read once: a change needs a restart. Errors name the key and the file.
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

// loadRoots adds the certificates of a PEM file to the system's.
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

// identityHost is the form in which the hosts of client certificates are compared.
func identityHost(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().String()
	}
	return canonicalHost(host)
}

// peer is the key of a context whose value is the host that a handshake under it speaks with.
type peer struct{}

// with returns a context for connections to host. The transport dials and shakes hands with the values of the request's
// context, and only hands a connection to requests to the same host and port.
func with(ctx context.Context, host string) context.Context {
	return context.WithValue(ctx, peer{}, identityHost(host))
}

func (t trust) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.roots, GetClientCertificate: t.identify}
}

// identify gives the other end the certificate that it was given by the operator, and an empty one when it has none.
func (t trust) identify(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	host, _ := request.Context().Value(peer{}).(string)
	if own := t.identities[host]; own != nil {
		return own, nil
	}
	return &tls.Certificate{}, nil
}
