package language

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/units"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"boomerang/internal/execution"
	"boomerang/internal/network"
	"boomerang/internal/sandbox"
)

// file is languages.yaml. Each language is kept as it stands in the file until the defaults under it are known.
type file struct {
	Defaults  common              `yaml:"defaults"`
	Languages map[string]ast.Node `yaml:"languages"`
}

// entry is one language of the file.
type entry struct {
	Image     string   `yaml:"image"`
	File      string   `yaml:"file"`
	Command   []string `yaml:"command"`
	Rehearsal []string `yaml:"rehearsal"`
	Aliases   []string `yaml:"aliases"`
	Optional  bool     `yaml:"optional"`
	Common    common   `yaml:",inline"`
}

// common is what may also stand under "defaults".
type common struct {
	Pull    string            `yaml:"pull"`
	Env     map[string]string `yaml:"env"`
	Network string            `yaml:"network"`
	Runtime string            `yaml:"runtime"`
	Warm    warm              `yaml:"warm"`
	Limits  limits            `yaml:"limits"`
	Max     most              `yaml:"max"`
}

type limits struct {
	Memory    size    `yaml:"memory"`
	CPUs      float64 `yaml:"cpus"`
	PIDs      int64   `yaml:"pids"`
	Files     int64   `yaml:"files"`
	Workspace size    `yaml:"workspace"`
	Tmp       size    `yaml:"tmp"`
	Output    size    `yaml:"output"`
	Tail      size    `yaml:"tail"`
	Flood     size    `yaml:"flood"`
	Artifacts size    `yaml:"artifacts"`
}

// most bounds what one execution may ask for; 0 = the limit of the same name.
type most struct {
	Memory    size    `yaml:"memory"`
	CPUs      float64 `yaml:"cpus"`
	PIDs      int64   `yaml:"pids"`
	Output    size    `yaml:"output"`
	Workspace size    `yaml:"workspace"`
	Artifacts size    `yaml:"artifacts"`
}

// warm is a number of containers, or auto.
type warm int

const maxWarm = 1000

// UnmarshalYAML reads a number or the word; its error knows the line.
func (w *warm) UnmarshalYAML(node ast.Node) error {
	text := node.GetToken()
	if text.Value == "auto" {
		*w = Auto
		return nil
	}
	n, err := strconv.Atoi(text.Value)
	if err != nil || n < 0 || n > maxWarm {
		return &yaml.SyntaxError{Token: text, Message: fmt.Sprintf("warm must be auto or a number from 0 to %d, not %q", maxWarm, text.Value)}
	}
	*w = warm(n)
	return nil
}

// size is a number of bytes, written with its unit.
type size units.Base2Bytes

// UnmarshalYAML reads a size; its error knows the line, which that of units does not.
func (s *size) UnmarshalYAML(node ast.Node) error {
	text := node.GetToken()
	n, err := units.ParseBase2Bytes(text.Value)
	if err != nil {
		return &yaml.SyntaxError{Token: text, Message: fmt.Sprintf("%q is not a size such as 512MiB", text.Value)}
	}
	*s = size(n)
	return nil
}

// builtin is what holds where the file is silent, as configs/languages.yaml documents it.
func builtin() common {
	return common{
		Pull:    sandbox.PullMissing,
		Network: network.None,
		Warm:    Auto,
		Limits: limits{
			Memory:    size(512 * units.MiB),
			CPUs:      1,
			PIDs:      128,
			Files:     1024,
			Workspace: size(256 * units.MiB),
			Tmp:       size(64 * units.MiB),
			Output:    size(units.MiB),
			Tail:      size(64 * units.KiB),
			Artifacts: size(16 * units.MiB),
		},
	}
}

// parse reads the text of languages.yaml. Errors name the language and the key, or the line.
func parse(text []byte) ([]Language, error) {
	f := file{Defaults: builtin()}
	err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&f)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, plain(err)
	}
	languages := make([]Language, 0, len(f.Languages))
	for _, name := range slices.Sorted(maps.Keys(f.Languages)) {
		e, err := read(f.Languages[name], f.Defaults)
		if err == nil {
			err = e.check(name)
		}
		if err != nil {
			return nil, fmt.Errorf("language %q: %w", name, err)
		}
		languages = append(languages, e.language(name))
	}
	return languages, nil
}

// read lays one language over the defaults. The node is nil where the file has nothing behind the name.
func read(node ast.Node, defaults common) (entry, error) {
	e := entry{Common: defaults}
	if node != nil {
		if err := yaml.NodeToValue(node, &e, yaml.Strict()); err != nil {
			return entry{}, plain(err)
		}
	}
	env := make(map[string]string)
	maps.Copy(env, defaults.Env)
	maps.Copy(env, e.Common.Env)
	e.Common.Env = env
	return e, nil
}

// plain is the parser's error on one line: [line:column] and what is wrong.
func plain(err error) error { return errors.New(yaml.FormatError(err, false, false)) }

var (
	nameForm = regexp.MustCompile(`^[a-z][a-z0-9+#._-]{0,31}$`)
	fileForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$`) // never an option, never a path
	envForm  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

const placeholder = "{file}"

// check refuses what cannot be run. The error begins with the key.
func (e entry) check(name string) error {
	for _, n := range append([]string{name}, e.Aliases...) {
		if !nameForm.MatchString(n) {
			return fmt.Errorf("the name %q must begin with a letter, be lower case, and have at most 32 of a-z 0-9 + # . _ -", n)
		}
	}
	if e.Image == "" || strings.ContainsAny(e.Image, " \t\n") {
		return fmt.Errorf("image must name an image, not %q", e.Image)
	}
	if !fileForm.MatchString(e.File) {
		return fmt.Errorf("file must be a plain file name, not %q", e.File)
	}
	if len(e.Command) == 0 || e.Command[0] == "" {
		return errors.New("command must name a program")
	}
	if !slices.ContainsFunc(e.Command, func(arg string) bool { return strings.Contains(arg, placeholder) }) {
		return fmt.Errorf("command must say with %s where the name of the code's file belongs", placeholder)
	}
	if len(e.Rehearsal) > 0 && e.Rehearsal[0] == "" {
		return errors.New("rehearsal must name a program")
	}
	return e.Common.check()
}

func (c common) check() error {
	if c.Pull != sandbox.PullMissing && c.Pull != sandbox.PullNever {
		return fmt.Errorf("pull must be %s or %s, not %q", sandbox.PullMissing, sandbox.PullNever, c.Pull)
	}
	switch c.Network {
	case network.None, network.Egress, network.Proxy:
	default:
		return fmt.Errorf("network must be %s, %s or %s, not %q", network.None, network.Egress, network.Proxy, c.Network)
	}
	for key, value := range c.Env {
		if !envForm.MatchString(key) || strings.ContainsRune(value, 0) {
			return fmt.Errorf("env cannot hold %q: names are letters, digits and _, values have no NUL", key)
		}
	}
	if err := c.Limits.check(); err != nil {
		return err
	}
	return c.Max.check(c.Limits)
}

// check holds every bound against the limit that it stands above.
func (m most) check(l limits) error {
	for _, bound := range []struct {
		key   string
		holds bool
	}{
		{"memory", m.Memory == 0 || m.Memory >= l.Memory},
		{"cpus", m.CPUs == 0 || m.CPUs >= l.CPUs},
		{"pids", m.PIDs == 0 || m.PIDs >= l.PIDs},
		{"output", m.Output == 0 || m.Output >= l.Output},
		{"workspace", m.Workspace == 0 || m.Workspace >= l.Workspace},
		{"artifacts", m.Artifacts == 0 || m.Artifacts >= l.Artifacts},
	} {
		if !bound.holds {
			return fmt.Errorf("max.%[1]s must not be less than limits.%[1]s", bound.key)
		}
	}
	return nil
}

// check holds every limit against the least that can work; for memory and CPUs that is Docker's own minimum.
func (l limits) check() error {
	for _, limit := range []struct {
		key   string
		holds bool
		least string
	}{
		{"memory", l.Memory >= 6*size(units.MiB), "6MiB"},
		{"cpus", l.CPUs >= 0.01, "0.01"},
		{"pids", l.PIDs >= 1, "1"},
		{"files", l.Files >= 1, "1"},
		{"workspace", l.Workspace >= 1, "1B"},
		{"tmp", l.Tmp >= 1, "1B"},
		{"output", l.Output >= 1, "1B"},
		{"tail", l.Tail >= 1, "1B"},
		{"flood", l.Flood >= 0, "0"},
		{"artifacts", l.Artifacts >= 0, "0"},
	} {
		if !limit.holds {
			return fmt.Errorf("limits.%s must be at least %s", limit.key, limit.least)
		}
	}
	return nil
}

func (e entry) language(name string) Language {
	return Language{
		Name:     name,
		Image:    e.Image,
		File:     e.File,
		Command:  e.Command,
		Aliases:  e.Aliases,
		Optional: e.Optional,
		Env:      e.Common.Env,
		Limits: sandbox.Limits{
			Memory:    int64(e.Common.Limits.Memory),
			CPUs:      e.Common.Limits.CPUs,
			PIDs:      e.Common.Limits.PIDs,
			Files:     e.Common.Limits.Files,
			Workspace: int64(e.Common.Limits.Workspace),
			Tmp:       int64(e.Common.Limits.Tmp),
			Output:    int64(e.Common.Limits.Output),
			Tail:      int64(e.Common.Limits.Tail),
			Flood:     int64(e.Common.Limits.Flood),
			Artifacts: int64(e.Common.Limits.Artifacts),
		},
		Max: execution.Limits{
			Memory:    int64(e.Common.Max.Memory),
			CPUs:      e.Common.Max.CPUs,
			PIDs:      e.Common.Max.PIDs,
			Output:    int64(e.Common.Max.Output),
			Workspace: int64(e.Common.Max.Workspace),
			Artifacts: int64(e.Common.Max.Artifacts),
		},
		Network:   e.Common.Network,
		Runtime:   e.Common.Runtime,
		Warm:      int(e.Common.Warm),
		Pull:      e.Common.Pull,
		Rehearsal: e.Rehearsal,
	}
}
