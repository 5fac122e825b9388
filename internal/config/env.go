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

// overlay puts the environment over c: every key of the file has a variable, its path in upper case joined by
// underscores, so callback.allow_cidrs is BOOMERANG_CALLBACK_ALLOW_CIDRS. Lists are separated by commas, or written as in
// the file, in brackets. A variable that begins like a key's and is none is refused, as an unknown key of the file is; others
// (BOOMERANG_TOKEN) are somebody else's.
func overlay(c *Config, environ []string) error {
	set := make(map[string]string, len(environ))
	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok && strings.HasPrefix(name, prefix+"_") {
			set[name] = value
		}
	}
	known := variables(reflect.ValueOf(c).Elem(), prefix)
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if _, ok := known[name]; !ok && ofARoom(name, known) {
			return fmt.Errorf("environment variable %s: there is no such key", name)
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

// ofARoom tells whether name begins like the variables of a room: BOOMERANG_ROOM_….
func ofARoom(name string, known map[string]reflect.Value) bool {
	room, _, ok := strings.Cut(strings.TrimPrefix(name, prefix+"_"), "_")
	if !ok {
		return false
	}
	for other := range known {
		if strings.HasPrefix(other, prefix+"_"+room+"_") {
			return true
		}
	}
	return false
}

// Variables lists the name of every environment variable that overrides a key.
func Variables() []string {
	c := Defaults()
	var names []string
	for name := range variables(reflect.ValueOf(&c).Elem(), prefix) {
		names = append(names, name)
	}
	return names
}

// variables maps each leaf below v to its environment variable.
func variables(v reflect.Value, path string) map[string]reflect.Value {
	leaves := make(map[string]reflect.Value)
	for i := range v.NumField() {
		tag, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if tag == "" || tag == "-" {
			continue
		}
		name := path + "_" + strings.ToUpper(tag)
		if field := v.Field(i); field.Kind() == reflect.Struct && !written(field) {
			maps.Copy(leaves, variables(field, name))
		} else {
			leaves[name] = field
		}
	}
	return leaves
}

// written tells whether a struct is written as one word, like an address range.
func written(field reflect.Value) bool {
	_, ok := reflect.TypeAssert[encoding.TextUnmarshaler](field.Addr())
	return ok
}

// assign reads value as the YAML of the field's own type would be read.
func assign(field reflect.Value, value string) error {
	switch field.Kind() { //nolint:exhaustive // every other kind is read as one YAML scalar
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
