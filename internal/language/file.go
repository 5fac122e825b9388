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

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"boomerang/internal/execution"
	"boomerang/internal/network"
	"boomerang/internal/sandbox"
)

// file is languages.yaml. Each language stays a YAML node until the defaults are known.
type file struct {
	Defaults  common              `yaml:"defaults"`
	Languages map[string]ast.Node `yaml:"languages"`
}

// entry is one language in the file.
type entry struct {
	Image     string   `yaml:"image"`
	File      string   `yaml:"file"`
	Command   []string `yaml:"command"`
	Rehearsal []string `yaml:"rehearsal"`
	Aliases   []string `yaml:"aliases"`
	Optional  bool     `yaml:"optional"`
	Common    common   `yaml:",inline"`
}

// common holds the keys that are also allowed under "defaults".
type common struct {
	Pull    string            `yaml:"pull"`
	Env     map[string]string `yaml:"env"`
	Network string            `yaml:"network"`
	Runtime string            `yaml:"runtime"`
	Warm    warm              `yaml:"warm"`
	Limits  limits            `yaml:"limits"`
	Max     most              `yaml:"max"`
}

// limits are the limits of a language, in the file under "limits".
type limits execution.Limits

// UnmarshalYAML reads the limits that the file names and leaves the other limits as they are.
func (l *limits) UnmarshalYAML(decode func(any) error) error {
	return readLimits(decode, execution.AllLimits(), (*execution.Limits)(l))
}

// most bounds the limits that one execution may ask for; 0 means the limit with that name.
type most execution.Limits

// UnmarshalYAML reads the bounds that the file names and leaves the other bounds as they are.
func (m *most) UnmarshalYAML(decode func(any) error) error {
	return readLimits(decode, execution.RequestableLimits(), (*execution.Limits)(m))
}

// warm is a number of containers, or Auto.
type warm int

const maxWarm = 1000

// UnmarshalYAML reads a number or "auto"; its error has the line.
func (w *warm) UnmarshalYAML(node ast.Node) error {
	text := node.GetToken()
	if text.Value == "auto" {
		*w = Auto
		return nil
	}
	n, err := strconv.Atoi(text.Value)
	if err != nil || n < 0 || n > maxWarm {
		return &yaml.SyntaxError{Token: text, Message: fmt.Sprintf("warm must be auto or a number from 0 to %d, not %q",
			maxWarm, text.Value)}
	}
	*w = warm(n)
	return nil
}

// builtin returns the values for keys that the file leaves out, as configs/languages.yaml documents them.
func builtin() common {
	return common{
		Pull:    sandbox.PullMissing,
		Network: network.None,
		Warm:    Auto,
		Limits:  limits(execution.DefaultLimits()),
	}
}

// parse reads the text of languages.yaml. Errors name the language and the key, or the line.
func parse(text []byte) ([]Language, error) {
	f := file{Defaults: builtin()}
	err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&f)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, oneLine(err)
	}
	languages := make([]Language, 0, len(f.Languages))
	for _, name := range slices.Sorted(maps.Keys(f.Languages)) {
		e, err := readLanguage(f.Languages[name], f.Defaults)
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

// readLanguage overlays one language on the defaults. The node is nil if the file has nothing after the language's
// name.
func readLanguage(node ast.Node, defaults common) (entry, error) {
	e := entry{Common: defaults}
	if node != nil {
		if err := yaml.NodeToValue(node, &e, yaml.Strict()); err != nil {
			return entry{}, oneLine(err)
		}
	}
	env := make(map[string]string)
	maps.Copy(env, defaults.Env)
	maps.Copy(env, e.Common.Env)
	e.Common.Env = env
	return e, nil
}

// oneLine returns the parser's error on one line: [line:column] and the problem.
func oneLine(err error) error { return errors.New(yaml.FormatError(err, false, false)) }

var (
	nameForm = regexp.MustCompile(`^[a-z][a-z0-9+#._-]{0,31}$`)
	fileForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$`) // cannot be taken for an option or a path
	envForm  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

const placeholder = "{file}"

// check refuses an entry that cannot run. The error begins with the key.
func (e entry) check(name string) error {
	for _, n := range append([]string{name}, e.Aliases...) {
		if !nameForm.MatchString(n) {
			return fmt.Errorf(
				"the name %q must begin with a letter, be lower case, and have at most 32 of a-z 0-9 + # . _ -", n)
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
		return fmt.Errorf("network must be %s, %s or %s, not %q", network.None, network.Egress, network.Proxy,
			c.Network)
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

func (e entry) language(name string) Language {
	return Language{
		Name:      name,
		Image:     e.Image,
		File:      e.File,
		Command:   e.Command,
		Aliases:   e.Aliases,
		Optional:  e.Optional,
		Env:       e.Common.Env,
		Limits:    execution.Limits(e.Common.Limits),
		Max:       execution.Limits(e.Common.Max),
		Network:   e.Common.Network,
		Runtime:   e.Common.Runtime,
		Warm:      int(e.Common.Warm),
		Pull:      e.Common.Pull,
		Rehearsal: e.Rehearsal,
	}
}
