// Package language knows the catalogue of languages — which image runs what is submitted, and how — and plans an
// execution of one: what the container must be, and what its init is told.
//
// It refuses to know how a plan is carried out.
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

// Config says where the catalogue is.
type Config struct {
	// File is the path of languages.yaml. Empty: the one that ships with the program.
	File string `yaml:"file"`
	// Proxy is the URL at which the programs of the network "proxy" find it: the networks' own setting.
	Proxy string `yaml:"-"`
}

// Defaults is the catalogue that ships with the program.
func Defaults() Config { return Config{} }

// Validate has nothing to refuse: whether the file can be read is found out by Open.
func (Config) Validate() error { return nil }

// Language is one entry of the catalogue. Its slices and its map are shared: they are to be read only.
type Language struct {
	Name      string
	Image     string
	File      string   // the code's file name, in the working directory
	Command   []string // "{file}" stands for File
	Aliases   []string
	Optional  bool // while its image is not there it is not offered, and that is no fault
	Env       map[string]string
	Limits    sandbox.Limits
	Max       execution.Limits // the most that one execution may ask for; 0 = what Limits says
	Network   string           // network.None, Egress or Proxy
	Proxy     string           // the URL of the proxy, for those that have no other way out
	Warm      int              // how many containers wait for its executions; Auto follows the demand
	Runtime   string           // empty = the engine's default
	Pull      string           // whether a missing image is pulled: sandbox.PullMissing or sandbox.PullNever
	Rehearsal []string         // what a container runs once while it waits; empty = nothing
}

// Auto is the Warm that follows the demand.
const Auto = -1

// NoImage says to whom it concerns that the image is not there, and what can be done about it.
func (l Language) NoImage() string {
	if folder, ours := strings.CutPrefix(l.Image, "boomerang/"); ours {
		folder, _, _ = strings.Cut(folder, ":")
		return fmt.Sprintf("The image of the language %q is not on this server; the operator builds it with make images LANGUAGES=%s.", l.Name, folder)
	}
	return fmt.Sprintf("The image of the language %q is not on this server; the operator has to build or pull it.", l.Name)
}

// fallback is the language of a submission that names none.
const defaultLanguage = "python"

// Catalogue holds the languages. It is safe for concurrent use.
type Catalogue struct {
	file    string
	proxy   string
	current atomic.Pointer[snapshot] // replaced whole, so that nobody sees half of a reload
}

// edition is the catalogue as it was read at one time.
type snapshot struct {
	languages []Language          // by name
	named     map[string]Language // by name and by alias
}

// Open reads the catalogue. Errors name the file, and the language and the key that are wrong.
func Open(c Config) (*Catalogue, error) {
	catalogue := &Catalogue{file: c.File, proxy: c.Proxy}
	return catalogue, catalogue.Reload()
}

// Reload reads the catalogue again. On an error the old one stays.
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

// index sorts the languages and refuses a name that two of them bear.
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

// Find returns the language of that name or alias; "" is python. Errors: *fault.Error UNSUPPORTED_LANGUAGE, which
// lists the known ones.
func (c *Catalogue) Find(name string) (Language, error) {
	e := c.current.Load()
	if l, ok := e.named[cmp.Or(name, defaultLanguage)]; ok {
		return l, nil
	}
	return Language{}, unknown(name, e.languages)
}

// unknown is the refusal of a name that nothing bears.
func unknown(name string, supported []Language) *fault.Error {
	return unsupported(fmt.Sprintf("The language %.64q is not supported", cmp.Or(name, defaultLanguage)), supported)
}

// unsupported is a refusal that lists what is supported.
func unsupported(sentence string, languages []Language) *fault.Error {
	names := make([]string, len(languages))
	for i, l := range languages {
		names[i] = l.Name
	}
	return fault.New(fault.UnsupportedLanguage, "%s; these are: %s.", strings.TrimSuffix(sentence, "."), strings.Join(names, ", ")).
		Field("language").Detail("supported", names)
}

// Languages returns all of them, sorted by name.
func (c *Catalogue) Languages() []Language { return slices.Clone(c.current.Load().languages) }
