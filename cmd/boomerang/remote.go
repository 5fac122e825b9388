package main

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"boomerang/internal/client"
)

// serverFlags are the flags of commands that call a server.
type serverFlags struct {
	Server string `help:"URL of the server. Default: http://127.0.0.1:8080." env:"BOOMERANG_SERVER" placeholder:"URL"`
	Token  string `help:"Token; see boomerang token." required:"" env:"BOOMERANG_TOKEN" placeholder:"TOKEN"`
}

// Validate rejects an empty token, which an empty environment variable sets.
func (f *serverFlags) Validate() error {
	if f.Token == "" {
		return errors.New("a token is required: set --token or BOOMERANG_TOKEN (boomerang token prints a token)")
	}
	return nil
}

// connect returns a client for the server. It sends no request.
func (f *serverFlags) connect() (*client.Client, error) {
	return client.New(cmp.Or(f.Server, "http://127.0.0.1:8080"), f.Token)
}

// callFlags are the flags of commands that print an answer of a server.
type callFlags struct {
	serverFlags
	JSON bool `help:"Print the server's JSON." name:"json"`
}

// instant is a time on the command line; the zero time if the flag is absent.
type instant struct{ time.Time }

// UnmarshalText reads a time in RFC 3339 format, or a duration before now.
func (i *instant) UnmarshalText(text []byte) (err error) {
	if ago, err := time.ParseDuration(string(text)); err == nil && ago >= 0 {
		i.Time = time.Now().Add(-ago)
		return nil
	}
	if i.Time, err = time.Parse(time.RFC3339, string(text)); err != nil {
		return fmt.Errorf("%q is neither a time like 2025-01-28T00:00:00Z nor a duration like 90m", text)
	}
	return nil
}
