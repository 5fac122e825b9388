package main

import (
	"errors"
	"fmt"
	"time"
)

// remote are the flags that say which server to call.
type remote struct {
	Server string `help:"The server. Default: http://127.0.0.1:8080." default:"http://127.0.0.1:8080" env:"BOOMERANG_SERVER" placeholder:"URL"`
	Token  string `help:"A token that it accepts; boomerang token prints one." required:"" env:"BOOMERANG_TOKEN" placeholder:"TOKEN"`
}

// Validate refuses a variable that is set to nothing, which no server would take.
func (r *remote) Validate() error {
	if r.Token == "" {
		return errors.New("--token or BOOMERANG_TOKEN must hold a token; boomerang token prints one")
	}
	return nil
}

// instant is a time on the command line; zero when it is not given.
type instant struct{ time.Time }

// UnmarshalText reads a time as RFC 3339 has it, or how long ago it was.
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
