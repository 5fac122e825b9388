package server

import (
	"strings"
	"testing"
	"time"
)

func TestDefaultsAreValid(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidateNamesTheKey(t *testing.T) {
	for key, change := range map[string]func(*Config){
		"addr ":            func(c *Config) { c.Addr = "localhost" },
		"body ":            func(c *Config) { c.Body = 0 },
		"body must":        func(c *Config) { c.Body = 2 << 30 },
		"timeout ":         func(c *Config) { c.Timeout = 0 },
		"rate.per_subject": func(c *Config) { c.Rate.PerSubject = -1 },
		"rate.per_address": func(c *Config) { c.Rate.PerAddress = maxRate + 1 },
		"tls_cert and":     func(c *Config) { c.TLSCert = "cert.pem" },
		"timeout must":     func(c *Config) { c.Timeout = time.Hour },
		"public_url must":  func(c *Config) { c.PublicURL = "boomerang.example.com" },
		"public_url":       func(c *Config) { c.PublicURL = "https://ann:pass@boomerang.example.com/?a" },
	} {
		c := Defaults()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("got %v; want an error that begins with %s", err, key)
		}
	}
}
