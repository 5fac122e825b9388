package app_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"boomerang/internal/config"
)

// composeFile is the part of docker-compose.yml that the tests look at.
type composeFile struct {
	Services map[string]struct {
		Image       string
		PullPolicy  string `yaml:"pull_policy"`
		Build       map[string]any
		Environment map[string]string
	}
}

// composeFiles returns docker-compose.yml as it stands, and as each installed Docker Compose reads it.
func composeFiles(t *testing.T) map[string]composeFile {
	t.Helper()
	path := filepath.Join(root, "docker-compose.yml")
	texts := map[string]string{"the file": read(t, path)}
	for _, command := range []string{"docker-compose", "docker compose"} {
		words := strings.Fields(command)
		if exec.CommandContext(t.Context(), words[0], append(slices.Clone(words[1:]), "version")...).Run() != nil {
			continue // not installed
		}
		arguments := append(slices.Clone(words[1:]), "-f", path, "--profile", "proxy", "config")
		text, err := exec.CommandContext(t.Context(), words[0], arguments...).CombinedOutput()
		if err != nil {
			t.Errorf("%s config: %v\n%s", command, err, text)
			continue
		}
		texts[command] = string(text)
	}
	files := make(map[string]composeFile)
	for reader, text := range texts {
		var f composeFile
		if err := yaml.Unmarshal([]byte(text), &f); err != nil {
			t.Fatalf("%s: %v", reader, err)
		}
		files[reader] = f
	}
	return files
}

// An image from a registry would get the engine's socket. Compose 1.29 accepts pull_policy and ignores it; there a
// service with a build is built and never pulled.
func TestComposeBuildsItsImageAndNeverPullsIt(t *testing.T) {
	for reader, f := range composeFiles(t) {
		if len(f.Services) != 3 {
			t.Errorf("%s: got %d services; want api, runner and proxy", reader, len(f.Services))
		}
		for name, s := range f.Services {
			if s.PullPolicy != "never" || s.Build["dockerfile"] != "images/boomerang/Dockerfile" {
				t.Errorf("%s: %s has pull_policy %q and build %v; want never, and a build", reader, name, s.PullPolicy,
					s.Build)
			}
		}
	}
	for line := range strings.Lines(read(t, filepath.Join(root, ".ci", "compose"))) {
		if strings.Contains(line, "docker run") && !strings.Contains(line, "--pull never") {
			t.Errorf(".ci/compose may pull: %s", line)
		}
	}
}

func TestComposeAllowsEachPrivateReceiverOnOnePort(t *testing.T) {
	value := composeFiles(t)["the file"].Services["api"].Environment["BOOMERANG_CALLBACK_ALLOW_HOSTS"]
	_, hosts, _ := strings.Cut(strings.TrimSuffix(value, "}"), ":-")
	c, err := config.Load("", []string{"BOOMERANG_CALLBACK_ALLOW_HOSTS=" + hosts})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Callback.AllowHosts) == 0 {
		t.Errorf("got no host from %q", value)
	}
	for _, h := range c.Callback.AllowHosts {
		if h.Ports.First == 0 || h.Ports.First != h.Ports.Last {
			t.Errorf("%s is open on %+v; want one port", h, h.Ports)
		}
	}
}
