package server

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/alecthomas/units"
)

// Config is the configuration of the listener and of every request.
type Config struct {
	// Addr is the host:port to listen on; port 0 takes a free one.
	Addr string `yaml:"addr"`
	// Body is the longest request body. Code doubles in size or more when it is written as JSON.
	Body units.Base2Bytes `yaml:"body"`
	// Timeout bounds one request: its reading, its work and its answer. Requests that wait on purpose extend it.
	Timeout time.Duration `yaml:"timeout"`
	// Rate is off by default: the queue of a subject bounds its share of the machine already.
	Rate Rate `yaml:"rate"`
	// TrustedProxies are the addresses whose headers X-Forwarded-For and X-Forwarded-Proto count.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
	// PublicURL is the URL at which clients reach the server. If it is empty, the URL of each request counts.
	PublicURL string `yaml:"public_url"`
	// TLSCert and TLSKey are PEM files; with both the server speaks TLS. Certificate.Reload reads them again.
	TLSCert string `yaml:"tls_cert"`
	TLSKey  string `yaml:"tls_key"`
}

// Defaults listens on the loopback address.
func Defaults() Config {
	return Config{Addr: "127.0.0.1:8080", Body: 8 * units.MiB, Timeout: 30 * time.Second}
}

// Validate checks the configuration. The error begins with the key that is wrong.
func (c Config) Validate() error {
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return fmt.Errorf("addr must be host:port: %w", err)
	}
	if c.Body < units.KiB || c.Body > units.GiB {
		return fmt.Errorf("body must be between 1KiB and 1GiB, not %s", c.Body)
	}
	if c.Timeout < time.Second || c.Timeout > 10*time.Minute {
		return fmt.Errorf("timeout must be between 1s and 10m, not %s", c.Timeout)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("tls_cert and tls_key must both be set, or neither")
	}
	if err := c.Rate.validate(); err != nil {
		return fmt.Errorf("rate.%w", err)
	}
	if c.PublicURL != "" {
		return checkPublicURL(c.PublicURL)
	}
	return nil
}

// PublicURL returns the URL at which clients reach the server that answers r: that of the configuration or, if there is
// none, the one that r was sent to.
func PublicURL(r *http.Request) string {
	c := exchangeOf(r).config
	if c.PublicURL != "" {
		return strings.TrimRight(c.PublicURL, "/")
	}
	scheme := "http"
	if r.TLS != nil || c.behindProxy(r) && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// behindProxy tells whether the peer of the connection is a trusted proxy.
func (c Config) behindProxy(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && contains(c.TrustedProxies, peer.Addr().Unmap())
}

// checkPublicURL refuses a URL to which clients cannot append a path.
func checkPublicURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" ||
		u.Fragment != "" {
		return fmt.Errorf("public_url must be a URL like https://boomerang.example.com, not %q", text)
	}
	return nil
}
