package config

import (
	"reflect"
	"strings"
)

// setting is one leaf of Config.
type setting struct {
	path  []string // YAML keys
	owner reflect.Type
	field reflect.StructField
	value reflect.Value // its default
}

func (s setting) name() string { return strings.Join(s.path, ".") }

// variable is the name of its environment variable; empty for lists of structures, which only a file can hold.
func (s setting) variable() string {
	if s.field.Type.Kind() == reflect.Slice && s.field.Type.Elem().Kind() == reflect.Struct {
		return ""
	}
	return Prefix + strings.ToUpper(strings.Join(s.path, "_"))
}

// settings lists every leaf in the order of the struct.
func settings() []setting {
	var out []setting
	var walk func(v reflect.Value, path []string)
	walk = func(v reflect.Value, path []string) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			below := append(path[:len(path):len(path)], f.Tag.Get("yaml"))
			if f.Type.Kind() == reflect.Struct {
				walk(v.Field(i), below)
				continue
			}
			out = append(out, setting{below, v.Type(), f, v.Field(i)})
		}
	}
	walk(reflect.ValueOf(Default()), nil)
	return out
}
