package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/plan/desired"
	"github.com/weir-registry/weir/internal/serve/api"
)

// field is a field of a definition that a flag can set.
type field struct {
	path []string // its name in JSON, and those above it
	typ  reflect.Type
	doc  string
}

// flagName is the flag of a field: --freshness-default for freshness.default.
func flagName(path []string) string { return strings.ReplaceAll(strings.Join(path, "-"), "_", "-") }

// fieldsOf are the fields of a form, a struct as it is declared or sent, with those below it; all but skip. Lists of structs have
// none: they are given in a file, or by commands of their own.
func fieldsOf(form reflect.Type, skip []string, above ...string) []field {
	var out []field
	for _, f := range reflect.VisibleFields(form) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || name == "" || name == "-" || slices.Contains(skip, name) || f.Tag.Get("readOnly") == "true" {
			continue
		}
		path := append(slices.Clone(above), name)
		switch t := f.Type; {
		case t.Kind() == reflect.Struct && t != reflect.TypeFor[time.Time]():
			out = append(out, fieldsOf(t, nil, path...)...)
		case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.String && pieces[t.Elem()].read == nil, t.Kind() == reflect.Map && t.Elem().Kind() != reflect.String,
			t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct && t.Elem() != reflect.TypeFor[time.Time]():
		default:
			out = append(out, field{path, t, f.Tag.Get("doc")})
		}
	}
	return out
}

// piece is a struct that has a short form in flags.
type piece struct {
	form string                           // for people
	read func(text string) map[string]any // nil for what is not of the form
}

var pieces = map[reflect.Type]piece{
	reflect.TypeFor[api.Given](): {"ROLE for the whole group or ROLE:PATH", func(text string) map[string]any {
		role, path, _ := strings.Cut(text, ":")
		if role == "" {
			return nil
		}
		return map[string]any{"role": role, "path": path}
	}},
	reflect.TypeFor[access.Condition](): {"CLAIM=VALUE, where * in VALUE stands for any letters", func(text string) map[string]any {
		claim, value, ok := strings.Cut(text, "=")
		if !ok || claim == "" {
			return nil
		}
		if strings.ContainsAny(value, "*?") {
			return map[string]any{"claim": claim, "matches": value}
		}
		return map[string]any{"claim": claim, "equals": value}
	}},
}

func (p piece) all(texts []string) ([]any, error) {
	out := []any{}
	for _, text := range texts {
		v := p.read(text)
		if v == nil {
			return nil, usage(fmt.Sprintf("%q: want %s", text, p.form))
		}
		out = append(out, v)
	}
	return out, nil
}

// setter puts the values of flags that were given into a document.
type setter func(cmd *cobra.Command, into map[string]any) error

// fieldFlags adds a flag for each field.
func fieldFlags(cmd *cobra.Command, fields []field) setter {
	var sets []setter
	for _, f := range fields {
		sets = append(sets, f.flag(cmd))
	}
	return func(cmd *cobra.Command, into map[string]any) error {
		for _, set := range sets {
			if err := set(cmd, into); err != nil {
				return err
			}
		}
		return nil
	}
}

func (f field) flag(cmd *cobra.Command) setter {
	if f.typ == reflect.TypeFor[*desired.Password]() {
		return f.secretFlags(cmd)
	}
	name := flagName(f.path)
	flag, read := f.define(cmd, name)
	return func(cmd *cobra.Command, into map[string]any) error {
		if !cmd.Flags().Changed(name) {
			return nil
		}
		v := reflect.ValueOf(flag).Elem().Interface()
		if read != nil {
			var err error
			if v, err = read(); err != nil {
				return err
			}
		}
		put(into, f.path, v)
		return nil
	}
}

// define adds the flag and returns where its value will be; read, if there is one, makes the field's value of that.
func (f field) define(cmd *cobra.Command, name string) (flag any, read func() (any, error)) {
	flags := cmd.Flags()
	switch t := f.typ; {
	case t == reflect.TypeFor[desired.PEM]():
		file := flags.String(name, "", "file: "+f.doc)
		return file, func() (any, error) { return readFile(*file) }
	case t == reflect.TypeFor[*time.Time](), t == reflect.TypeFor[time.Time]():
		text := flags.String(name, "", f.doc+"; a time such as 90d or 12h from now, or a date")
		return text, func() (any, error) { return parseExpiry(*text, time.Now()) }
	case t.Kind() == reflect.Bool, t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Bool:
		return flags.Bool(name, false, f.doc), nil
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return flags.Int64(name, 0, f.doc), nil
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		piece := pieces[t.Elem()]
		list := flags.StringSlice(name, nil, joined(f.doc, piece.form+", with commas or several times"))
		return list, func() (any, error) { return piece.all(*list) }
	case t.Kind() == reflect.Slice:
		return flags.StringSlice(name, nil, joined(f.doc, "a list with commas, or given several times; empty is none")), nil
	case t.Kind() == reflect.Map:
		return flags.StringToString(name, nil, f.doc), nil
	}
	return flags.String(name, "", f.doc), nil
}

// secretFlags lets a secret come from where others do not see it: arguments are in the list of processes.
func (f field) secretFlags(cmd *cobra.Command) setter {
	name := flagName(f.path)
	stdin := cmd.Flags().Bool(name+"-stdin", false, "read the "+name+" from standard input")
	env := cmd.Flags().String(name+"-env", "", "take the "+name+" from this environment variable")
	return func(cmd *cobra.Command, into map[string]any) error {
		switch {
		case *stdin && *env != "":
			return usage("give either --" + name + "-stdin or --" + name + "-env")
		case *stdin:
			text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 64<<10))
			if err != nil {
				return fmt.Errorf("read standard input: %w", err)
			}
			put(into, f.path, strings.TrimRight(string(text), "\r\n"))
		case *env != "":
			text := os.Getenv(*env)
			if text == "" {
				return fmt.Errorf("the environment variable %s is not set", *env)
			}
			put(into, f.path, text)
		}
		return nil
	}
}

func joined(doc, more string) string {
	if doc == "" {
		return more
	}
	return doc + "; " + more
}

func readFile(path string) (string, error) {
	text, err := os.ReadFile(path)
	return string(text), err
}

// readInput reads a file, or standard input for "-".
func readInput(cmd *cobra.Command, path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(cmd.InOrStdin())
	}
	return os.ReadFile(path)
}

// put sets a value in a document.
func put(document map[string]any, path []string, value any) {
	for ; len(path) > 1; path = path[1:] {
		below, ok := document[path[0]].(map[string]any)
		if !ok {
			below = map[string]any{}
			document[path[0]] = below
		}
		document = below
	}
	document[path[0]] = value
}

// readForm reads a definition from a file into a document. What the server shows and nobody sets, shown, may stand in it.
func readForm(cmd *cobra.Command, file string, form reflect.Type, shown []string) (map[string]any, error) {
	var fields []reflect.StructField
	for _, f := range reflect.VisibleFields(form) {
		if f.Anonymous {
			continue
		}
		if f.Tag.Get("readOnly") == "true" {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			shown = append(shown, name)
		}
		f.Index, f.Offset = nil, 0
		fields = append(fields, f)
	}
	for _, name := range shown {
		if !slices.ContainsFunc(fields, func(f reflect.StructField) bool { return strings.HasPrefix(f.Tag.Get("json"), name) }) {
			tag := reflect.StructTag(`json:"` + name + `,omitempty"`)
			fields = append(fields, reflect.StructField{Name: "Shown_" + name, Type: reflect.TypeFor[any](), Tag: tag})
		}
	}
	v := reflect.New(reflect.StructOf(fields))
	if err := (client.Reader{Stdin: cmd.InOrStdin()}).ReadInto(file, v.Interface()); err != nil {
		return nil, err
	}
	text, err := json.Marshal(v.Interface())
	if err != nil {
		return nil, err
	}
	document := map[string]any{}
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, errors.New("want fields and their values")
	}
	for _, name := range shown {
		delete(document, name)
	}
	return document, nil
}
