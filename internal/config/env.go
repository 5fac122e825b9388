package config

import (
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

const prefix = "BOOMERANG"

// overlay overrides settings of c by environment variables. The variable of a key is the key's path in upper case,
// joined by underscores: callback.allow_cidrs is BOOMERANG_CALLBACK_ALLOW_CIDRS. The elements of a list are separated
// by commas, or written in brackets as in the file. A variable of a section without such a key is an error, like an
// unknown key in the file. Other variables, for example BOOMERANG_TOKEN, are ignored.
func overlay(c *Config, environ []string) error {
	set := make(map[string]string, len(environ))
	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok && strings.HasPrefix(name, prefix+"_") {
			set[name] = value
		}
	}
	known := variables(reflect.ValueOf(c).Elem(), prefix)
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if _, ok := known[name]; !ok && inSection(name, known) {
			return fmt.Errorf("environment variable %s: the configuration has no such key", name)
		}
	}
	for name, field := range known {
		value, ok := set[name]
		if !ok {
			continue
		}
		if err := assign(field, value); err != nil {
			return fmt.Errorf("environment variable %s: %s", name, yaml.FormatError(err, false, false))
		}
	}
	return nil
}

// inSection reports whether name begins like the variables of a section of the file: BOOMERANG_SECTION_….
func inSection(name string, known map[string]reflect.Value) bool {
	section, _, ok := strings.Cut(strings.TrimPrefix(name, prefix+"_"), "_")
	if !ok {
		return false
	}
	for other := range known {
		if strings.HasPrefix(other, prefix+"_"+section+"_") {
			return true
		}
	}
	return false
}

// Variables returns the names of all environment variables that override a key.
func Variables() []string {
	c := Defaults()
	var names []string
	for name := range variables(reflect.ValueOf(&c).Elem(), prefix) {
		names = append(names, name)
	}
	return names
}

// variables returns the settings below v by the name of their environment variable.
func variables(v reflect.Value, path string) map[string]reflect.Value {
	leaves := make(map[string]reflect.Value)
	for i := range v.NumField() {
		tag, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if options == "inline" {
			maps.Copy(leaves, variables(v.Field(i), path))
		}
		if tag == "" || tag == "-" {
			continue
		}
		name := path + "_" + strings.ToUpper(tag)
		if field := v.Field(i); field.Kind() == reflect.Struct && !isScalar(field) {
			maps.Copy(leaves, variables(field, name))
		} else {
			leaves[name] = field
		}
	}
	return leaves
}

// isScalar reports whether a struct is one word in the file, like an address range.
func isScalar(field reflect.Value) bool {
	_, ok := reflect.TypeAssert[encoding.TextUnmarshaler](field.Addr())
	return ok
}

// assign decodes value like the YAML of a field of this type.
func assign(field reflect.Value, value string) error {
	switch field.Kind() { //nolint:exhaustive // all other kinds are YAML scalars
	case reflect.String:
		field.SetString(value)
		return nil
	case reflect.Slice:
		if strings.HasPrefix(strings.TrimSpace(value), "[") {
			return yaml.UnmarshalWithOptions([]byte(value), field.Addr().Interface(), yaml.Strict())
		}
		list := reflect.New(field.Type()).Elem()
		for item := range strings.SplitSeq(value, ",") {
			if item = strings.TrimSpace(item); item == "" {
				continue
			}
			element := reflect.New(field.Type().Elem()).Elem()
			if err := assign(element, item); err != nil {
				return err
			}
			list = reflect.Append(list, element)
		}
		field.Set(list)
		return nil
	default:
		return yaml.Unmarshal([]byte(value), field.Addr().Interface())
	}
}
