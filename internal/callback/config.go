// Package callback posts the results of executions to the URLs that clients named. It decides which destinations are
// allowed, builds and signs the body, makes attempts, and retries until a result has arrived or is given up.
//
// The package knows executions and their deliveries, HTTP as a client, and the addresses that clients may not reach
// through this server. It does not know SQL (see Store), the sealing of secrets, or how programs run.
package callback

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/alecthomas/units"

	"boomerang/internal/address"
)

// Config holds the settings of callbacks.
type Config struct {
	AllowCIDRs         []address.Range     `yaml:"allow_cidrs"`         // ranges open despite a rule
	AllowHosts         []address.Host      `yaml:"allow_hosts"`         // names open wherever they lead
	RevealExceptions   bool                `yaml:"reveal_exceptions"`   // show how attempts at them fail
	RequireHTTPS       bool                `yaml:"require_https"`       // refuse http://
	Proxy              string              `yaml:"proxy"`               // URL of an egress proxy; empty = none
	CAFile             string              `yaml:"ca_file"`             // PEM file of additional authorities
	ClientCertificates []ClientCertificate `yaml:"client_certificates"` // for receivers that ask for one
	InlineOutput       units.Base2Bytes    `yaml:"inline_output"`       // bytes of each stream in the body
	Schedule           []time.Duration     `yaml:"schedule"`            // pauses before the attempts after the first
	Concurrency        int                 `yaml:"concurrency"`         // simultaneous attempts, all destinations
	Destination        Destination         `yaml:"destination"`
}

// Destination holds the limits for one destination: one scheme, host and port.
type Destination struct {
	Concurrency int     `yaml:"concurrency"` // attempts at the same time
	Rate        float64 `yaml:"rate"`        // average attempts per second; 0 = no limit
	Breaker     bool    `yaml:"breaker"`     // pause when nearly all attempts fail
}

// Defaults returns settings for eleven attempts in about three days, to public addresses only.
func Defaults() Config {
	return Config{
		InlineOutput: units.MiB,
		Schedule: []time.Duration{
			5 * time.Second, 30 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour,
			5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
		},
		Concurrency: 64,
		Destination: Destination{Concurrency: 4, Rate: 10, Breaker: true},
	}
}

// Limits of the settings.
const (
	minInline      = units.KiB
	maxInline      = 64 * units.MiB
	maxPause       = 30 * 24 * time.Hour
	maxConcurrency = 4096
	maxRate        = 100_000 // per second
)

// Validate returns an error that names the first invalid key.
func (c Config) Validate() error {
	for _, r := range c.AllowCIDRs {
		if !r.Prefix.IsValid() {
			return errors.New("allow_cidrs: every entry must be an address range like 10.0.0.0/8")
		}
		if err := checkPorts(r.Ports); err != nil {
			return fmt.Errorf("allow_cidrs: %q %w", r, err)
		}
	}
	for _, host := range c.AllowHosts {
		if err := errors.Join(checkAllowed(host.Name), checkPorts(host.Ports)); err != nil {
			return fmt.Errorf("allow_hosts: %q %w", host, err)
		}
	}
	if _, err := c.proxy(); err != nil {
		return err
	}
	if err := c.checkClientCertificates(); err != nil {
		return fmt.Errorf("client_certificates: %w", err)
	}
	if c.InlineOutput < minInline || c.InlineOutput > maxInline {
		return fmt.Errorf("inline_output must be between %s and %s", minInline, maxInline)
	}
	for _, pause := range c.Schedule {
		if pause <= 0 || pause > maxPause {
			return fmt.Errorf("schedule: every pause must be more than 0 and at most %s", maxPause)
		}
	}
	if c.Concurrency < 1 || c.Concurrency > maxConcurrency {
		return fmt.Errorf("concurrency must be between 1 and %d", maxConcurrency)
	}
	if d := c.Destination; d.Concurrency < 1 || d.Concurrency > c.Concurrency {
		return fmt.Errorf("destination.concurrency must be between 1 and concurrency (%d)", c.Concurrency)
	}
	if d := c.Destination; !(d.Rate >= 0 && d.Rate <= maxRate) { // NaN fails both comparisons
		return fmt.Errorf("destination.rate must be between 0 and %d", maxRate)
	}
	return nil
}

// checkClientCertificates does not read the files; loadTrust reads them once, at the start.
func (c Config) checkClientCertificates() error {
	seen := make(map[string]bool, len(c.ClientCertificates))
	for _, own := range c.ClientCertificates {
		host := identityHost(own.Host)
		_, err := netip.ParseAddr(host)
		switch {
		case err != nil && (checkName(host) != nil || endsInNumber(host)):
			return fmt.Errorf("%q must be a host name or an address, without scheme and port", own.Host)
		case own.Certificate == "" || own.Key == "":
			return fmt.Errorf("%q needs both certificate and key", own.Host)
		case seen[host]:
			return fmt.Errorf("%q appears twice", own.Host)
		}
		seen[host] = true
	}
	return nil
}

// checkAllowed returns an error if an entry of allow_hosts would not work as its author expects.
func checkAllowed(host string) error {
	switch {
	case checkName(canonicalHost(host)) != nil:
		return errors.New("must be a host name without scheme, alone or with ports like receiver:9000 or " +
			"receiver:9000-9010")
	case endsInNumber(host):
		return errors.New("is an address: put it into allow_cidrs")
	case address.MetadataName(canonicalHost(host)):
		return errors.New("leads to cloud metadata, which is never opened")
	}
	return nil
}

// checkPorts returns an error if an exception names a port that every policy closes.
func checkPorts(p address.Ports) error {
	if p != (address.Ports{}) && p.First < minPort && (p.First != p.Last || !wellKnown(p.First)) {
		return fmt.Errorf("must have ports from %d on, or 80 or 443: no callback goes to others", minPort)
	}
	return nil
}

// proxy returns the URL of the egress proxy, or nil without a proxy.
func (c Config) proxy() (*url.URL, error) {
	if c.Proxy == "" {
		return nil, nil
	}
	u, err := url.Parse(c.Proxy)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("proxy must be an http:// or https:// URL") // without the value: it may hold a password
	}
	return u, nil
}
