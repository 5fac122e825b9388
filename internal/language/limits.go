package language

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/alecthomas/units"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"boomerang/internal/execution"
)

// Most returns the largest limits that one execution may ask for: the language's Max or, where Max is 0, its Limits.
func (l Language) Most() execution.Limits { return l.Max.Fill(l.Limits) }

// Bound returns the language's limits with the limits that an execution asks for in their place. A limit above Most is
// cut down to Most: the catalogue may have changed since the execution was accepted.
func (l Language) Bound(asked execution.Limits) execution.Limits {
	return l.Limits.Override(asked, l.Most())
}

// value is the node of a limit, with anchors and aliases resolved.
type value struct{ node ast.Node }

// UnmarshalYAML keeps the node until the unit of its limit is known.
func (v *value) UnmarshalYAML(node ast.Node) error {
	v.node = node
	return nil
}

// readLimits reads a mapping from names of limits to values. Errors: yaml.SyntaxError with the line, for a name that is
// not in known and for a value of the wrong kind.
func readLimits(decode func(any) error, known []execution.Limit, into *execution.Limits) error {
	var values map[string]value
	if err := decode(&values); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		node := values[name].node // nil for null
		l, ok := find(known, name)
		switch {
		case !ok && node == nil:
			return fmt.Errorf("unknown field %q", name)
		case !ok:
			return &yaml.SyntaxError{Token: keyOf(node, name), Message: fmt.Sprintf("unknown field %q", name)}
		case node == nil || node.Type() == ast.NullType:
			continue
		}
		if err := readLimit(node, l, into); err != nil {
			return err
		}
	}
	return nil
}

// keyOf returns the token of the key before a node, or the node's own token if another token precedes it.
func keyOf(node ast.Node, key string) *token.Token {
	own := node.GetToken()
	for t := own; t != nil; t = t.Prev {
		if t.Value == key {
			return t
		}
	}
	return own
}

func find(known []execution.Limit, name string) (execution.Limit, bool) {
	for _, l := range known {
		if l.Name == name {
			return l, true
		}
	}
	return execution.Limit{}, false
}

func readLimit(node ast.Node, l execution.Limit, into *execution.Limits) error {
	if l.Unit != execution.UnitBytes {
		return yaml.NodeToValue(node, l.Target(into), yaml.Strict())
	}
	text := node.GetToken()
	n, err := units.ParseBase2Bytes(text.Value)
	if err != nil {
		return &yaml.SyntaxError{Token: text, Message: fmt.Sprintf("%q is not a size such as 512MiB", text.Value)}
	}
	l.Set(into, float64(n))
	return nil
}

// check compares every limit with the smallest value that can work.
func (l limits) check() error {
	for _, f := range execution.AllLimits() {
		if value := f.Float(execution.Limits(l)); !(value >= f.Least) { // refuses NaN as well
			return fmt.Errorf("limits.%s must be at least %s", f.Name, leastText(f))
		}
	}
	return nil
}

// check compares every bound with the limit that it bounds.
func (m most) check(l limits) error {
	for _, f := range execution.RequestableLimits() {
		if bound := f.Float(execution.Limits(m)); bound != 0 && !(bound >= f.Float(execution.Limits(l))) {
			return fmt.Errorf("max.%[1]s must not be less than limits.%[1]s", f.Name)
		}
	}
	return nil
}

// leastText returns the smallest value of a limit as the file writes it: 6MiB, 0.01.
func leastText(l execution.Limit) string {
	if l.Unit == execution.UnitBytes && l.Least > 0 {
		return units.Base2Bytes(l.Least).String()
	}
	return strconv.FormatFloat(l.Least, 'f', -1, 64)
}
