package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// FileError is a problem at a place of the file. Its text is "file:line:column: message", and the line with a mark below.
type FileError struct {
	File         string
	Line, Column int
	Message      string
	Excerpt      string // the line; empty when it could hold a secret
}

// Error implements error.
func (e *FileError) Error() string {
	s := fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
	if e.Excerpt == "" {
		return s
	}
	margin := fmt.Sprintf("%5d | ", e.Line)
	return s + "\n" + margin + e.Excerpt + "\n" + strings.Repeat(" ", len(margin)+max(0, e.Column-1)) + "^"
}

// decoder walks the file beside the struct, so that every unknown key, duplicate and wrong value is found in one run; the
// library's own strict mode stops at the first.
type decoder struct {
	file     string
	lines    []string
	problems []error
}

// decode reads text into the struct that into points to, leaving alone what the file does not mention.
func decode(file string, text []byte, into any) []error {
	d := &decoder{file: file, lines: strings.Split(string(text), "\n")}
	tree, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.failed(nil, err)
		return d.problems
	}
	bodies := 0
	for _, doc := range tree.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if bodies++; bodies > 1 {
			d.at(doc.Body.GetToken(), "one document is expected, this is another")
			break
		}
		d.structure(doc.Body, reflect.ValueOf(into).Elem(), "")
	}
	return d.problems
}

func (d *decoder) structure(node ast.Node, into reflect.Value, path string) {
	if node.Type() == ast.NullType {
		return // "tls:" with nothing below it
	}
	mapping, ok := node.(ast.MapNode)
	if !ok {
		d.at(node.GetToken(), fmt.Sprintf("%s wants settings below it", orFile(path)))
		return
	}
	fields := structFields(into.Type())
	seen := map[string]bool{}
	for it := mapping.MapRange(); it.Next(); {
		key := it.Key().GetToken()
		name := key.Value
		index, known := fields[name]
		switch {
		case seen[name]:
			d.at(key, fmt.Sprintf("%q is set twice", join(path, name)))
		case !known:
			d.at(key, fmt.Sprintf("unknown setting %q; known here: %s", join(path, name), names(into.Type())))
		default:
			d.value(it.Value(), into.Field(index), join(path, name))
		}
		seen[name] = true
	}
}

func (d *decoder) value(node ast.Node, field reflect.Value, path string) {
	if field.Kind() == reflect.Struct {
		d.structure(node, field, path)
		return
	}
	if node.Type() == ast.NullType {
		d.at(node.GetToken(), fmt.Sprintf("%q has no value", path))
		return
	}
	fresh := reflect.New(field.Type())
	if err := yaml.NodeToValue(node, fresh.Interface(), yaml.Strict()); err != nil {
		d.failed(node, fmt.Errorf("%s: %w", path, err))
		return
	}
	field.Set(fresh.Elem())
}

// failed records an error of the library, which knows its place, or else one at node.
func (d *decoder) failed(node ast.Node, err error) {
	if located, ok := errors.AsType[yaml.Error](err); ok {
		d.at(located.GetToken(), located.GetMessage())
		return
	}
	var t *token.Token
	if node != nil {
		t = node.GetToken()
	}
	d.at(t, err.Error())
}

func (d *decoder) at(t *token.Token, message string) {
	e := &FileError{File: d.file, Line: 1, Column: 1, Message: message}
	if t != nil && t.Position != nil {
		e.Line, e.Column = t.Position.Line, t.Position.Column
	}
	if e.Line <= len(d.lines) {
		if line := strings.TrimRight(d.lines[e.Line-1], "\r"); !strings.Contains(line, "dsn") && !strings.Contains(line, "://") {
			e.Excerpt = line
		}
	}
	d.problems = append(d.problems, e)
}

// structFields maps a struct's YAML keys to field indexes.
func structFields(t reflect.Type) map[string]int {
	out := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		out[t.Field(i).Tag.Get("yaml")] = i
	}
	return out
}

func names(t reflect.Type) string {
	var out []string
	for f := range t.Fields() {
		out = append(out, f.Tag.Get("yaml"))
	}
	return strings.Join(out, ", ")
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func orFile(path string) string {
	if path == "" {
		return "the file"
	}
	return fmt.Sprintf("%q", path)
}
