package docker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"boomerang/configs"
	"boomerang/internal/network"
)

// Config of the engine and of what every container gets.
type Config struct {
	// Host is the engine's address (unix:///…, tcp://…); empty follows DOCKER_HOST and its companions, then the default socket.
	Host string `yaml:"host"`
	// InitDir is where boomerang-init-linux-<architecture> lies; empty = beside this program.
	InitDir string `yaml:"init_dir"`
	// UIDBase is the UID and GID of slot 0; slot n has UIDBase + n. 0: 100000, or 20000 on an engine that remaps users.
	UIDBase int `yaml:"uid_base"`
	// CgroupParent puts all containers under one cgroup, whose limits then hold for all together: a path for the engine's
	// driver cgroupfs, the name of a slice for systemd. Empty = the engine's choice.
	CgroupParent string `yaml:"cgroup_parent"`
	// Seccomp is empty for the built-in profile, "default" for the engine's own, or a path to a profile in Docker's JSON.
	Seccomp string `yaml:"seccomp"`
	// Strict refuses to start on an engine whose facts hold a warning, or that does not answer.
	Strict bool `yaml:"strict"`
	// Pull tells what to do about an image that is not there.
	Pull Pull `yaml:"pull"`

	CallTimeout time.Duration `yaml:"call_timeout"` // of one call to the engine
	PullTimeout time.Duration `yaml:"pull_timeout"` // of one image
	// StopTimeout is how long the init has between SIGTERM and SIGKILL, in whole seconds; more than any job's grace.
	StopTimeout time.Duration `yaml:"stop_timeout"`

	// Networks are those that a container may be on: their own setting.
	Networks network.Config `yaml:"-"`
}

// Pull tells what to do about an image that is not there.
type Pull string

// The ways to get an image.
const (
	PullMissing Pull = "missing" // fetch it from its registry
	PullNever   Pull = "never"   // give up: images come by other roads
)

// engineSeccomp is the value of Config.Seccomp that leaves the profile to the engine.
const engineSeccomp = "default"

// Defaults suit an engine on this machine.
func Defaults() Config {
	return Config{
		Pull:        PullMissing,
		CallTimeout: 30 * time.Second,
		PullTimeout: 30 * time.Minute,
		StopTimeout: 10 * time.Second,
		Networks:    network.Defaults(),
	}
}

// Validate names the key that is wrong.
func (c Config) Validate() error {
	switch c.Pull {
	case PullMissing, PullNever:
	default:
		return fmt.Errorf("pull must be %q or %q, not %q", PullMissing, PullNever, c.Pull)
	}
	switch {
	case c.UIDBase < 0 || c.UIDBase > 2_000_000_000:
		return fmt.Errorf("uid_base must be between 1 and 2000000000, or 0, not %d", c.UIDBase)
	case c.CgroupParent != "" && slices.Contains(strings.Split(c.CgroupParent, "/"), ".."):
		return fmt.Errorf("cgroup_parent must not lead upwards, as %q does", c.CgroupParent)
	case c.CallTimeout < time.Second:
		return fmt.Errorf("call_timeout must be at least 1s, not %s", c.CallTimeout)
	case c.PullTimeout < time.Second:
		return fmt.Errorf("pull_timeout must be at least 1s, not %s", c.PullTimeout)
	case c.StopTimeout < time.Second || c.StopTimeout%time.Second != 0:
		return fmt.Errorf("stop_timeout must be whole seconds and at least 1s, not %s", c.StopTimeout)
	}
	return nil
}

// profile returns the seccomp profile as the engine's API wants it, in one line; empty leaves it to the engine.
func (c Config) profile() (string, error) {
	text := configs.Seccomp
	switch c.Seccomp {
	case engineSeccomp:
		return "", nil
	case "":
	default:
		var err error
		if text, err = os.ReadFile(c.Seccomp); err != nil {
			return "", fmt.Errorf("seccomp: %w", err)
		}
	}
	var line bytes.Buffer
	if err := json.Compact(&line, text); err != nil {
		return "", fmt.Errorf("seccomp: %s: %w", c.Seccomp, err)
	}
	if line.String() == "{}" {
		return "", errors.New("seccomp: an empty profile would allow everything")
	}
	return line.String(), nil
}

// forGVisor is the profile for gVisor's kernel, which answers EPERM where a profile says ENOSYS: C libraries then start no
// thread instead of taking clone. So clone3 is left to that kernel, whose namespaces are not the machine's.
func gvisorProfile(profile string) (string, error) {
	if profile == "" {
		return "", nil
	}
	var whole map[string]any
	if err := json.Unmarshal([]byte(profile), &whole); err != nil {
		return "", fmt.Errorf("seccomp: %w", err)
	}
	rules, _ := whole["syscalls"].([]any)
	for _, r := range rules {
		rule, _ := r.(map[string]any)
		names, _ := rule["names"].([]any)
		if slices.Contains(names, any("clone3")) && rule["action"] == "SCMP_ACT_ERRNO" {
			rule["names"] = slices.DeleteFunc(names, func(name any) bool { return name == "clone3" })
		}
	}
	whole["syscalls"] = append(rules, map[string]any{"action": "SCMP_ACT_ALLOW", "names": []string{"clone3"}})
	text, err := json.Marshal(whole)
	if err != nil {
		return "", fmt.Errorf("seccomp: %w", err)
	}
	return string(text), nil
}

// initDir is where the init's binaries lie.
func (c Config) initDir() (string, error) {
	if c.InitDir != "" {
		return c.InitDir, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return filepath.Dir(self), nil
}
