package app_test

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

func TestTheConfigurationReferenceIsThatOfTheFile(t *testing.T) {
	text := renderConfiguration(read(t, filepath.Join(root, "configs/boomerang.yaml")))
	for _, want := range []string{
		"\n## callback\n", "| `http.rate.per_subject` | `0` |",
		"One entry each: - {host: hooks.example.com", "`[]` | private addresses",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the reference lacks %q", want)
		}
	}
	rendered(t, filepath.Join(root, "docs/CONFIGURATION.md"), "configuration", text)
}

var (
	setting = regexp.MustCompile(`^( *)([a-z_0-9]+):(?: +([^#\s].*?))?(?: +# ?(.*))?$`)
	comment = regexp.MustCompile(`^ *# ?(.*)$`)
)

// renderConfiguration makes a section of each group of boomerang.yaml, with a row for each key. A comment behind a key,
// and in the lines below it, explains that key; a comment above a top-level key explains that one.
func renderConfiguration(file string) string {
	type row struct{ key, value, meaning string }
	type group struct {
		name, meaning string
		rows          []row
	}
	groups := []*group{{name: "General"}}
	var above []string // comment lines above the next key
	var path []string
	var meaning *string // of the last key; nil after an empty line
	_, file, _ = strings.Cut(file, "\n\n")
	for line := range strings.Lines(file) {
		line = strings.TrimRight(line, "\n")
		if key := setting.FindStringSubmatch(line); key != nil {
			depth, name, value, words := len(key[1])/2, key[2], key[3], key[4]
			path = append(path[:depth], name)
			if depth == 0 && value == "" {
				groups = append(groups, &group{name: name, meaning: words})
				meaning = &groups[len(groups)-1].meaning
				continue
			}
			g := groups[len(groups)-1]
			if depth == 0 {
				g, words = groups[0], strings.Join(append(above, words), " ")
			}
			g.rows = append(g.rows, row{strings.Join(path, "."), value, words})
			meaning, above = &g.rows[len(g.rows)-1].meaning, nil
		} else if words := comment.FindStringSubmatch(line); words != nil && meaning != nil {
			*meaning += " " + strings.TrimSpace(words[1])
		} else if words != nil {
			above = append(above, words[1])
		} else if line == "" {
			meaning = nil
		}
	}
	var b strings.Builder
	for _, g := range groups {
		fmt.Fprintf(&b, "\n## %s\n\n", g.name)
		if g.meaning = strings.TrimSpace(g.meaning); g.meaning != "" {
			fmt.Fprintf(&b, "%s\n\n", plain(g.meaning))
		}
		b.WriteString("| key | default | meaning |\n|---|---|---|\n")
		for _, r := range g.rows {
			if r.value == "" && r.meaning == "" {
				continue // a group of keys that needs no words
			}
			value := ""
			if r.value != "" {
				value = "`" + r.value + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.key, value, cell(plain(strings.TrimSpace(r.meaning))))
		}
	}
	b.WriteString("\n")
	return b.String()
}

// plain escapes text that Markdown would read as markup.
func plain(text string) string { return strings.NewReplacer("*", `\*`, "<", `\<`).Replace(text) }

// cell makes text fit into one cell of a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}

func TestTheAPIReferenceIsThatOfTheDescription(t *testing.T) {
	var doc yaml.MapSlice
	text := read(t, filepath.Join(root, "internal/httpapi/openapi.yaml"))
	if err := yaml.UnmarshalWithOptions([]byte(text), &doc, yaml.UseOrderedMap()); err != nil {
		t.Fatal(err)
	}
	want := renderAPI(t, doc)
	if got, routes := strings.Count(want, "\n### "), strings.Count(text, "\n      operationId: "); got < routes {
		t.Errorf("%d headings for %d operations", got, routes)
	}
	rendered(t, filepath.Join(root, "docs/API.md"), "api", want)
}

// at follows keys into nested maps; the result is nil if one is missing.
func at(node any, keys ...string) any {
	for _, key := range keys {
		fields, _ := node.(yaml.MapSlice)
		node = nil
		for _, field := range fields {
			if fmt.Sprint(field.Key) == key {
				node = field.Value
				break
			}
		}
	}
	return node
}

func words(node any, keys ...string) string {
	text, _ := at(node, keys...).(string)
	return strings.TrimSpace(text)
}

func fields(node any, keys ...string) yaml.MapSlice {
	list, _ := at(node, keys...).(yaml.MapSlice)
	return list
}

func items(node any, keys ...string) []any {
	list, _ := at(node, keys...).([]any)
	return list
}

// common are the answers that nearly every call may give; a section of their own has them.
var common = []string{"Unauthorized", "TooMany", "Internal", "Unavailable"}

// api renders one OpenAPI description.
type api struct {
	*testing.T
	strings.Builder
	doc yaml.MapSlice
}

func renderAPI(t *testing.T, doc yaml.MapSlice) string {
	t.Helper()
	a := &api{T: t, doc: doc}
	a.WriteString("\n## Common answers\n\nNearly every call may give these answers; ")
	a.WriteString("the tables below do not repeat them.\n\n")
	a.WriteString("| answer | meaning | body |\n|---|---|---|\n")
	for i, status := range []string{"401", "429", "500", "503"} {
		a.answer(status, at(doc, "components", "responses", common[i]))
	}
	for _, tag := range items(doc, "tags") {
		name := words(tag, "name")
		fmt.Fprintf(&a.Builder, "\n## %s%s\n\n%s\n", strings.ToUpper(name[:1]), name[1:], words(tag, "description"))
		for _, path := range fields(doc, "paths") {
			for _, method := range fields(path.Value) {
				if tags := items(method.Value, "tags"); len(tags) > 0 && tags[0] == name {
					title := strings.ToUpper(fmt.Sprint(method.Key)) + " " + fmt.Sprint(path.Key)
					a.operation(title, method.Value, items(path.Value, "parameters"))
				}
			}
		}
	}
	a.WriteString("\n## Schemas\n\nThe JSON objects of requests and answers. A field in **bold** is always present.\n")
	for _, schema := range fields(doc, "components", "schemas") {
		fmt.Fprintf(&a.Builder, "\n### %s\n", schema.Key)
		if text := words(schema.Value, "description"); text != "" {
			fmt.Fprintf(&a.Builder, "\n%s\n", text)
		}
		a.properties(schema.Value)
	}
	a.WriteString("\n")
	return a.String()
}

func (a *api) operation(title string, operation any, parameters []any) {
	fmt.Fprintf(&a.Builder, "\n### `%s`\n\n%s.\n", title, strings.TrimSuffix(words(operation, "summary"), "."))
	if text := words(operation, "description"); text != "" {
		fmt.Fprintf(&a.Builder, "\n%s\n", text)
	}
	if list := slices.Concat(parameters, items(operation, "parameters")); len(list) > 0 {
		a.WriteString("\n| parameter | in | type | meaning |\n|---|---|---|---|\n")
		for _, parameter := range list {
			parameter = a.resolve(parameter)
			fmt.Fprintf(&a.Builder, "| %s | %s | %s | %s |\n",
				mark(words(parameter, "name"), at(parameter, "required") == true),
				words(parameter, "in"), a.kind(at(parameter, "schema")), cell(words(parameter, "description")))
		}
	}
	a.body(operation)
	a.WriteString("\n| answer | meaning | body |\n|---|---|---|\n")
	for _, response := range fields(operation, "responses") {
		if !slices.Contains(common, reference(response.Value)) {
			a.answer(fmt.Sprint(response.Key), a.resolve(response.Value))
		}
	}
	for _, callback := range fields(operation, "callbacks") {
		for _, url := range fields(callback.Value) {
			a.WriteString("\nThe callback:\n")
			a.operationOfCallback(at(url.Value, "post"))
		}
	}
}

func (a *api) answer(status string, answer any) {
	body := ""
	for _, media := range fields(answer, "content") {
		body = a.kind(at(media.Value, "schema"))
		if media.Key != "application/json" {
			body = "`" + fmt.Sprint(media.Key) + "`"
		}
	}
	fmt.Fprintf(&a.Builder, "| %s | %s | %s |\n", status, cell(words(answer, "description")), body)
}

// body renders the body of a request and its first example.
func (a *api) body(operation any) {
	for _, media := range fields(operation, "requestBody", "content") {
		schema := at(media.Value, "schema")
		if name := reference(schema); name != "" {
			fmt.Fprintf(&a.Builder, "\nBody: %s, `%v`.\n", a.kind(schema), media.Key)
		} else {
			fmt.Fprintf(&a.Builder, "\nBody: `%v`.\n", media.Key)
			a.properties(schema)
		}
		example := at(media.Value, "example")
		if list := fields(media.Value, "examples"); example == nil && len(list) > 0 {
			example = at(list[0].Value, "value")
		}
		if example != nil {
			fmt.Fprintf(&a.Builder, "\n```json\n%s\n```\n", a.json(example))
		}
	}
}

func (a *api) operationOfCallback(operation any) {
	fmt.Fprintf(&a.Builder, "\n%s.\n\n%s\n", words(operation, "summary"), words(operation, "description"))
	if list := items(operation, "parameters"); len(list) > 0 {
		a.WriteString("\n| header | meaning |\n|---|---|\n")
		for _, parameter := range list {
			name := mark(words(parameter, "name"), at(parameter, "required") == true)
			fmt.Fprintf(&a.Builder, "| %s | %s |\n", name, cell(words(parameter, "description")))
		}
	}
	a.body(operation)
}

// properties renders the fields of an object schema.
func (a *api) properties(schema any) {
	for _, part := range items(schema, "allOf") {
		if name := reference(part); name != "" {
			fmt.Fprintf(&a.Builder, "\nAll fields of %s.\n", a.kind(part))
		} else {
			a.properties(part)
		}
	}
	list := fields(schema, "properties")
	if len(list) == 0 {
		if len(items(schema, "allOf")) == 0 {
			fmt.Fprintf(&a.Builder, "\nType: %s.\n", a.kind(schema))
		}
		return
	}
	required := map[any]bool{}
	for _, name := range items(schema, "required") {
		required[name] = true
	}
	a.WriteString("\n| field | type | meaning |\n|---|---|---|\n")
	for _, field := range list {
		a.property(fmt.Sprint(field.Key), field.Value, required[field.Key])
	}
}

func (a *api) property(name string, schema any, required bool) {
	fmt.Fprintf(&a.Builder, "| %s | %s | %s |\n",
		mark(name, required), a.kind(schema), cell(words(schema, "description")))
	element := schema
	if at(schema, "type") == "array" {
		element = at(schema, "items")
		name += "[]"
	}
	for _, part := range append([]any{element}, items(element, "allOf")...) {
		for _, field := range fields(part, "properties") {
			a.property(name+"."+fmt.Sprint(field.Key), field.Value, false)
		}
	}
}

func mark(name string, required bool) string {
	if required {
		return "**`" + name + "`**"
	}
	return "`" + name + "`"
}

// kind describes a schema in a few words, fit for a cell.
func (a *api) kind(schema any) string {
	text := ""
	if name := reference(schema); name != "" {
		return "[" + name + "](#" + strings.ToLower(name) + ")"
	}
	for _, union := range []struct{ key, word string }{{"oneOf", " or "}, {"anyOf", " or "}, {"allOf", " and "}} {
		var kinds []string
		for _, part := range items(schema, union.key) {
			kinds = append(kinds, a.kind(part))
		}
		if len(kinds) > 0 {
			text = strings.Join(kinds, union.word)
		}
	}
	if list := items(schema, "enum"); len(list) > 0 {
		var values []string
		for _, value := range list {
			if value != nil {
				values = append(values, "`"+fmt.Sprint(value)+"`")
			}
		}
		text = strings.Join(values, ", ")
	} else if at(schema, "type") == "array" {
		text = "array of " + a.kind(at(schema, "items"))
	} else if text == "" {
		text = words(schema, "type")
		if format := words(schema, "format"); format != "" && format != "int64" {
			text += " (" + format + ")"
		}
	}
	parts := []string{text}
	for _, limit := range []struct{ key, name string }{
		{"minimum", "≥"},
		{"maximum", "≤"},
		{"maxLength", "length ≤"},
		{"maxItems", "items ≤"},
		{"maxProperties", "entries ≤"},
		{"default", "default"},
	} {
		if value := at(schema, limit.key); value != nil {
			parts = append(parts, fmt.Sprint(limit.name, " ", value))
		}
	}
	text = strings.TrimPrefix(strings.Join(parts, ", "), ", ")
	if at(schema, "nullable") == true {
		text = cmp.Or(text, "any value") + " or null"
	}
	return cell(text)
}

// reference is the name of the component that a node stands for.
func reference(node any) string {
	target := words(node, "$ref")
	return target[strings.LastIndexByte(target, '/')+1:]
}

// resolve replaces a reference by its component.
func (a *api) resolve(node any) any {
	target, ok := at(node, "$ref").(string)
	if !ok {
		return node
	}
	found := at(a.doc, strings.Split(strings.TrimPrefix(target, "#/"), "/")...)
	if found == nil {
		a.Errorf("openapi.yaml refers to %s, which is missing", target)
	}
	return found
}

func (a *api) json(value any) string {
	text, err := yaml.MarshalWithOptions(value, yaml.JSON())
	if err != nil {
		a.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}
