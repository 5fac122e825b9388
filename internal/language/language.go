// Package language holds the catalogue of languages: the image and the command that run submitted code. It plans an
// execution: the spec of its container and the job for its init.
//
// The package does not know how a plan is carried out.
package language

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"boomerang/configs"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/sandbox"
)

// Config locates the catalogue.
type Config struct {
	// File is the path of languages.yaml. If empty, the built-in catalogue applies.
	File string `yaml:"file"`
	// Proxy is the URL of the proxy for programs on the network "proxy". It comes from the network configuration.
	Proxy string `yaml:"-"`
}

// Defaults selects the built-in catalogue.
func Defaults() Config { return Config{} }

// Validate accepts every Config: Open finds out whether the file is readable.
func (Config) Validate() error { return nil }

// Language is one entry of the catalogue. Its slices and its map are shared and must not be changed.
type Language struct {
	Name      string
	Image     string
	File      string   // name of the code's file in the working directory
	Command   []string // the argument part "{file}" stands for File
	Aliases   []string
	Optional  bool // without its image the language is not offered, and the server stays ready
	Env       map[string]string
	Limits    sandbox.Limits
	Max       execution.Limits // the largest limits that one execution may ask for; 0 means the limit in Limits
	Network   string           // network.None, Egress or Proxy
	Proxy     string           // URL of the proxy; used on the network "proxy"
	Warm      int              // number of waiting containers; Auto follows the demand
	Runtime   string           // empty means the engine's default
	Pull      string           // sandbox.PullMissing or sandbox.PullNever
	Rehearsal []string         // command that a waiting container runs once; empty means none
}

// Auto is the value of Warm that follows the demand.
const Auto = -1

// NoImage returns a sentence that says that the image is missing and how to provide it.
func (l Language) NoImage() string {
	if folder, ours := strings.CutPrefix(l.Image, "boomerang/"); ours {
		folder, _, _ = strings.Cut(folder, ":")
		return fmt.Sprintf(
			"The image of the language %q is not on this server; the operator builds it with make images LANGUAGES=%s.",
			l.Name, folder)
	}
	return fmt.Sprintf("The image of the language %q is not on this server; the operator has to build or pull it.",
		l.Name)
}

// defaultLanguage is the language of a submission without a language.
const defaultLanguage = "python"

// Catalogue holds the languages. It is safe for concurrent use.
type Catalogue struct {
	file    string
	proxy   string
	current atomic.Pointer[snapshot] // replaced as a whole, so that readers never see half a reload
}

// snapshot is the catalogue as of one reading.
type snapshot struct {
	languages []Language          // sorted by name
	named     map[string]Language // keyed by name and by alias
}

// Open reads the catalogue. Errors name the file, the language and the key.
func Open(c Config) (*Catalogue, error) {
	catalogue := &Catalogue{file: c.File, proxy: c.Proxy}
	return catalogue, catalogue.Reload()
}

// Reload reads the catalogue again. On an error the old catalogue stays in use.
func (c *Catalogue) Reload() error {
	name, text := "languages.yaml", configs.Languages
	if c.file != "" {
		var err error
		name = c.file
		if text, err = os.ReadFile(c.file); err != nil {
			return fmt.Errorf("read languages: %w", err)
		}
	}
	languages, err := parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for i := range languages {
		languages[i].Proxy = c.proxy
	}
	next, err := index(languages)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c.current.Store(next)
	return nil
}

// index sorts the languages and refuses a name that two languages share.
func index(languages []Language) (*snapshot, error) {
	if len(languages) == 0 {
		return nil, errors.New("languages must name at least one")
	}
	slices.SortFunc(languages, func(a, b Language) int { return cmp.Compare(a.Name, b.Name) })
	e := &snapshot{languages: languages, named: make(map[string]Language)}
	for _, l := range languages {
		for _, name := range append([]string{l.Name}, l.Aliases...) {
			if other, taken := e.named[name]; taken {
				return nil, fmt.Errorf("language %q: the name %q already stands for %q", l.Name, name, other.Name)
			}
			e.named[name] = l
		}
	}
	return e, nil
}

// Find returns the language with that name or alias; "" means python. Errors: *fault.Error UNSUPPORTED_LANGUAGE, which
// lists the known languages.
func (c *Catalogue) Find(name string) (Language, error) {
	e := c.current.Load()
	if l, ok := e.named[cmp.Or(name, defaultLanguage)]; ok {
		return l, nil
	}
	return Language{}, unknown(name, e.languages)
}

// unknown returns the error for a name that no language has.
func unknown(name string, supported []Language) *fault.Error {
	return unsupported(fmt.Sprintf("The language %.64q is not supported", cmp.Or(name, defaultLanguage)), supported)
}

// unsupported returns an error that lists the supported languages.
func unsupported(sentence string, languages []Language) *fault.Error {
	names := make([]string, len(languages))
	for i, l := range languages {
		names[i] = l.Name
	}
	return fault.New(fault.UnsupportedLanguage, "%s; these are: %s.", strings.TrimSuffix(sentence, "."),
		strings.Join(names, ", ")).
		Field("language").Detail("supported", names)
}

// Languages returns all languages, sorted by name.
func (c *Catalogue) Languages() []Language { return slices.Clone(c.current.Load().languages) }
