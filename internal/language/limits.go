package language

import (
	"fmt"
	"strconv"

	"github.com/alecthomas/units"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"boomerang/internal/execution"
)

// Most returns the largest limits that one execution may ask for: the language's Max or, where Max is 0, its Limits.
func (l Language) Most() execution.Limits { return l.Max.Fill(l.Limits) }

// Bound returns the language's limits with the limits that an execution asks for in their place. A limit above Most is
// cut down to Most: the catalogue may have changed since the execution was accepted.
func (l Language) Bound(asked execution.Limits) execution.Limits {
	return l.Limits.Override(asked, l.Most())
}

// readLimits reads a mapping from names of limits to values. Errors: yaml.SyntaxError with the line, for a name that is
// not in known and for a value of the wrong kind.
func readLimits(node ast.Node, known []execution.Limit, into *execution.Limits) error {
	if anchor, ok := node.(*ast.AnchorNode); ok {
		node = anchor.Value
	}
	pairs, ok := node.(ast.MapNode)
	if !ok {
		return &yaml.SyntaxError{
			Token: node.GetToken(), Message: fmt.Sprintf("limits must be a mapping, not %q", node.GetToken().Value),
		}
	}
	for pair := pairs.MapRange(); pair.Next(); {
		key := pair.Key().GetToken()
		l, ok := find(known, key.Value)
		if !ok {
			return &yaml.SyntaxError{Token: key, Message: fmt.Sprintf("unknown field %q", key.Value)}
		}
		if err := readLimit(pair.Value(), l, into); err != nil {
			return err
		}
	}
	return nil
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
