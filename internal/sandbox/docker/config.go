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

// Config configures the engine and the settings that all containers share.
type Config struct {
	// Host is the engine's address (unix:///…, tcp://…). If empty, DOCKER_HOST and its companions decide, then the
	// default socket.
	Host string `yaml:"host"`
	// InitDir is the directory of boomerang-init-linux-<architecture>. If empty, it is the directory of this program.
	InitDir string `yaml:"init_dir"`
	// UIDBase is the UID and GID of slot 0; slot n has UIDBase + n. 0 means 100000, or 20000 on an engine that remaps
	// users.
	UIDBase int `yaml:"uid_base"`
	// CgroupParent is the cgroup of all containers, whose limits bound them together: a path for the engine's cgroup
	// driver cgroupfs, the name of a slice for systemd. If empty, the engine chooses.
	CgroupParent string `yaml:"cgroup_parent"`
	// Seccomp is a path to a profile in Docker's JSON or "default" for the engine's own profile. If empty, the built-in
	// profile applies.
	Seccomp string `yaml:"seccomp"`
	// Strict refuses to start on an engine that has warnings or does not answer.
	Strict bool `yaml:"strict"`
	// Pull says whether a missing image is pulled.
	Pull Pull `yaml:"pull"`

	CallTimeout time.Duration `yaml:"call_timeout"` // limit of one call to the engine
	PullTimeout time.Duration `yaml:"pull_timeout"` // limit of pulling one image
	// StopTimeout is the time between SIGTERM and SIGKILL for the init, in whole seconds. It must be longer than any
	// job's grace period.
	StopTimeout time.Duration `yaml:"stop_timeout"`

	// Networks are the networks that a container may use; they have a section of their own in the configuration.
	Networks network.Config `yaml:"-"`
}

// Pull says whether a missing image is pulled.
type Pull string

// The values of Pull.
const (
	PullMissing Pull = "missing" // pull the image from its registry
	PullNever   Pull = "never"   // fail; the operator provides images in other ways
)

// engineSeccomp is the value of Config.Seccomp that selects the engine's own profile.
const engineSeccomp = "default"

// Defaults returns a configuration for an engine on this machine.
func Defaults() Config {
	return Config{
		Pull:        PullMissing,
		CallTimeout: 30 * time.Second,
		PullTimeout: 30 * time.Minute,
		StopTimeout: 10 * time.Second,
		Networks:    network.Defaults(),
	}
}

// Validate checks the values; its error begins with the key.
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

// profile returns the seccomp profile in one line, as the engine's API expects it. It is empty if the engine's own
// profile applies.
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

// gvisorProfile returns the profile for gVisor's kernel, which answers EPERM where a profile says ENOSYS. C libraries
// would then start no thread instead of falling back to clone. So clone3 is allowed there: the namespaces of that
// kernel are not the machine's.
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

// initDir returns the directory of the init's binaries.
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
