package quota

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Config is the section quota of boomerang.yaml: the limits of every subject, and those of some subjects.
type Config struct {
	Limits `yaml:",inline"`
	// Subjects overrides limits by the name of a subject. One * in a name stands for any characters. The exact name
	// goes first, then the longest one with a *. Limits that an entry does not name are those of every subject.
	Subjects map[string]ast.Node `yaml:"subjects"`
}

// DefaultConfig returns the quotas without overrides.
func DefaultConfig() Config { return Config{Limits: Defaults()} }

// Validate returns an error that names the wrong key.
func (c Config) Validate() error {
	_, err := newTable(c)
	return err
}

// Quotas finds the limits of each subject. It is safe for concurrent use.
type Quotas struct{ current atomic.Pointer[table] }

// New returns the quotas of a valid configuration.
func New(c Config) (*Quotas, error) {
	q := new(Quotas)
	return q, q.Reload(c)
}

// Reload replaces all limits. After an error the old ones hold.
func (q *Quotas) Reload(c Config) error {
	t, err := newTable(c)
	if err == nil {
		q.current.Store(t)
	}
	return err
}

// Of returns the limits of a subject.
func (q *Quotas) Of(subject string) Limits { return q.current.Load().of(subject) }

// table has the limits of one configuration.
type table struct {
	every    Limits
	named    map[string]Limits
	patterns []pattern // the longest first
}

// pattern is a name with one *.
type pattern struct {
	before, after string
	limits        Limits
}

func newTable(c Config) (*table, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	t := &table{every: c.Limits, named: make(map[string]Limits)}
	for _, name := range slices.Sorted(maps.Keys(c.Subjects)) {
		limits := c.Limits
		if node := c.Subjects[name]; node != nil && node.Type() != ast.NullType {
			if err := yaml.NodeToValue(node, &limits, yaml.Strict()); err != nil {
				return nil, fmt.Errorf("subjects.%s: %s", name, yaml.FormatError(err, false, false))
			}
		}
		if err := limits.validate(); err != nil {
			return nil, fmt.Errorf("subjects.%s.%w", name, err)
		}
		before, after, wild := strings.Cut(name, "*")
		switch {
		case name == "":
			return nil, errors.New("subjects: the name of a subject must not be empty")
		case !wild:
			t.named[name] = limits
		case strings.Contains(after, "*"):
			return nil, fmt.Errorf("subjects.%s: a name may have one * at most", name)
		default:
			t.patterns = append(t.patterns, pattern{before, after, limits})
		}
	}
	slices.SortStableFunc(t.patterns, func(a, b pattern) int {
		return cmp.Compare(len(b.before)+len(b.after), len(a.before)+len(a.after))
	})
	return t, nil
}

func (t *table) of(subject string) Limits {
	if l, ok := t.named[subject]; ok {
		return l
	}
	for _, p := range t.patterns {
		if len(subject) >= len(p.before)+len(p.after) &&
			strings.HasPrefix(subject, p.before) && strings.HasSuffix(subject, p.after) {
			return p.limits
		}
	}
	return t.every
}
