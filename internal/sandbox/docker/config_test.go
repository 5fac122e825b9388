package docker

import (
	"os"
	"path/filepath"
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
	for key, spoil := range map[string]func(*Config){
		"uid_base":      func(c *Config) { c.UIDBase = -1 },
		"cgroup_parent": func(c *Config) { c.CgroupParent = "/boomerang/../docker" },
		"pull":          func(c *Config) { c.Pull = "always" },
		"call_timeout":  func(c *Config) { c.CallTimeout = 0 },
		"pull_timeout":  func(c *Config) { c.PullTimeout = time.Millisecond },
		"stop_timeout":  func(c *Config) { c.StopTimeout = 1500 * time.Millisecond },
	} {
		c := Defaults()
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+" ") {
			t.Errorf("%s: validate = %v, want an error that begins with the key", key, err)
		}
	}
}

func TestTheProfileIsOneLine(t *testing.T) {
	profile, err := Defaults().profile()
	if err != nil || profile == "" || strings.ContainsAny(profile, "\n\t") {
		t.Errorf("profile = %.80q, %v, want one line", profile, err)
	}
}

func TestTheOperatorChoosesTheProfile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		seccomp, want string
		fails         bool
	}{
		{seccomp: "default", want: ""},
		{
			seccomp: write("own.json", "{\n \"defaultAction\": \"SCMP_ACT_ERRNO\"\n}"),
			want:    `{"defaultAction":"SCMP_ACT_ERRNO"}`,
		},
		{seccomp: write("empty.json", "{ }"), fails: true},
		{seccomp: write("broken.json", "{"), fails: true},
		{seccomp: filepath.Join(dir, "missing.json"), fails: true},
	} {
		got, err := Config{Seccomp: c.seccomp}.profile()
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: profile = %q, %v, want %q and failure %t", c.seccomp, got, err, c.want, c.fails)
		}
	}
}
