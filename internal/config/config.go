// Package config composes the settings of all packages into one, and reads them from a file and from the environment.
//
// Each package defines its settings, their defaults and their valid values. This package knows where a setting is
// written, and does not know its meaning.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/callback"
	"boomerang/internal/dispatch"
	"boomerang/internal/language"
	"boomerang/internal/metrics"
	"boomerang/internal/network"
	"boomerang/internal/pool"
	"boomerang/internal/proxy"
	"boomerang/internal/quota"
	"boomerang/internal/sandbox/docker"
	"boomerang/internal/server"
	"boomerang/internal/store"
	"boomerang/internal/upkeep"
	"boomerang/internal/workspace"
)

// Role is the share of the work that a process does. The process that listens and the process with access to the
// engine can be separate. They share only the data directory.
type Role string

// The roles.
const (
	Everything Role = "all"
	API        Role = "api"    // listens, stores executions, sends callbacks; has no access to the engine
	Runner     Role = "runner" // runs programs; does not listen
)

// Config is the content of boomerang.yaml.
type Config struct {
	DataDir   string           `yaml:"data_dir"`
	Role      Role             `yaml:"role"`
	HTTP      server.Config    `yaml:"http"`
	Auth      auth.Config      `yaml:"auth"`
	Admission admission.Config `yaml:"admission"`
	Quota     quota.Config     `yaml:"quota"`
	Languages language.Config  `yaml:"languages"`
	Dispatch  dispatch.Config  `yaml:"dispatch"`
	Pool      pool.Config      `yaml:"pool"`
	Docker    docker.Config    `yaml:"docker"`
	Network   network.Config   `yaml:"network"`
	Proxy     proxy.Config     `yaml:"proxy"`
	Callback  callback.Config  `yaml:"callback"`
	Store     store.Config     `yaml:"store"`
	Upkeep    upkeep.Config    `yaml:"upkeep"`
	Metrics   metrics.Config   `yaml:"metrics"`

	Workspaces workspace.Config `yaml:"workspaces"`
	Log        Log              `yaml:"log"`
}

// Defaults returns the settings of a server without a configuration file.
func Defaults() Config {
	c := Config{
		DataDir:   "data",
		Role:      Everything,
		HTTP:      server.Defaults(),
		Auth:      auth.Defaults(),
		Admission: admission.Defaults(),
		Quota:     quota.DefaultConfig(),
		Languages: language.Defaults(),
		Dispatch:  dispatch.Defaults(),
		Pool:      pool.Defaults(),
		Docker:    docker.Defaults(),
		Network:   network.Defaults(),
		Proxy:     proxy.Defaults(),
		Callback:  callback.Defaults(),
		Store:     store.Defaults(),
		Upkeep:    upkeep.Defaults(),
		Metrics:   metrics.Defaults(),

		Workspaces: workspace.Defaults(),
		Log:        Log{Level: "info", Format: "auto"},
	}
	c.share()
	return c
}

// Load returns the settings of the file at path. If path is empty, it reads the file that Find returns, if any.
// Environment variables (BOOMERANG_…) override the file. Load validates the result. Errors name the key.
func Load(path string, environ []string) (Config, error) {
	c := Defaults()
	if path == "" {
		path = Find("boomerang.yaml")
	}
	if path != "" {
		if err := c.read(path); err != nil {
			return Config{}, err
		}
	}
	if err := overlay(&c, environ); err != nil {
		return Config{}, err
	}
	if c.Languages.File == "" {
		c.Languages.File = Find("languages.yaml")
	}
	if err := c.Validate(); err != nil {
		return c, err
	}
	c.share()
	return c, nil
}

// share copies settings that two packages need.
func (c *Config) share() { c.Docker.Networks, c.Languages.Proxy = c.Network, c.Network.ProxyURL() }

func (c *Config) read(path string) error {
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	parsed, err := parser.ParseBytes(text, 0)
	if err != nil {
		return fmt.Errorf("%s: %s", path, yaml.FormatError(err, false, true))
	}
	if !slices.ContainsFunc(parsed.Docs, func(d *ast.DocumentNode) bool { return d.Body != nil }) {
		return nil // from a file with only comments the decoder would reset the defaults
	}
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(c); err != nil {
		return fmt.Errorf("%s: %s", path, yaml.FormatError(err, false, true))
	}
	return nil
}

// Validate checks the settings of all packages. The error names the key.
func (c Config) Validate() error {
	if c.DataDir == "" {
		return errors.New("data_dir must not be empty")
	}
	if !slices.Contains([]Role{Everything, API, Runner}, c.Role) {
		return fmt.Errorf("role must be %s, %s or %s", Everything, API, Runner)
	}
	for _, section := range []struct {
		key   string
		check func() error
	}{
		{"http", c.HTTP.Validate},
		{"auth", c.Auth.Validate},
		{"admission", c.Admission.Validate},
		{"quota", c.Quota.Validate},
		{"languages", c.Languages.Validate},
		{"dispatch", c.Dispatch.Validate},
		{"pool", c.Pool.Validate},
		{"docker", c.Docker.Validate},
		{"network", c.Network.Validate},
		{"proxy", c.Proxy.Validate},
		{"callback", c.Callback.Validate},
		{"store", c.Store.Validate},
		{"upkeep", c.Upkeep.Validate},
		{"metrics", c.Metrics.Validate},
		{"workspaces", c.Workspaces.Validate},
		{"log", c.Log.Validate},
	} {
		if err := section.check(); err != nil {
			return fmt.Errorf("configuration: %s.%w", section.key, err)
		}
	}
	return nil
}

// Find returns the path of a configuration file: in configs/ beside the executable, in configs/ beside the
// executable's folder, or in /etc/boomerang. It returns "" if the file is in none of them.
func Find(name string) string {
	var folders []string
	if exe, err := os.Executable(); err == nil {
		dir := filepath.Dir(exe)
		folders = append(folders, filepath.Join(dir, "configs"), filepath.Join(filepath.Dir(dir), "configs"))
	}
	for _, folder := range append(folders, "/etc/boomerang") {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}
