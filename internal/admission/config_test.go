package admission

import (
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/units"
)

func TestDefaultsAreValid(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidateNamesTheKey(t *testing.T) {
	tests := map[string]func(*Config){
		"code ":             func(c *Config) { c.Code = 0 },
		"code must":         func(c *Config) { c.Code = 65 * units.MiB },
		"timeout.max":       func(c *Config) { c.Timeout.Max = 0 },
		"timeout.max must":  func(c *Config) { c.Timeout.Max = 31 * 24 * time.Hour },
		"timeout.default":   func(c *Config) { c.Timeout.Default = 25 * time.Hour },
		"timeout.default m": func(c *Config) { c.Timeout.Default = 1500 * time.Millisecond },
		"env.entries":       func(c *Config) { c.Env.Entries = -1 },
		"env.size":          func(c *Config) { c.Env.Size = 129 * units.KiB },
		"args.entries":      func(c *Config) { c.Args.Entries = -1 },
		"args.size":         func(c *Config) { c.Args.Size = 129 * units.KiB },
		"stdin":             func(c *Config) { c.Stdin = 33 * units.MiB },
		"files.entries":     func(c *Config) { c.Files.Entries = -1 },
		"files.size":        func(c *Config) { c.Files.Size = 32 * units.MiB }, // stdin takes 1 MiB of them
		"queue.size":        func(c *Config) { c.Queue.Size = -1 },
		"queue.total":       func(c *Config) { c.Queue.Total = -1 },
	}
	for key, change := range tests {
		c := Defaults()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("got %v; want an error that begins with %s", err, key)
		}
	}
}
