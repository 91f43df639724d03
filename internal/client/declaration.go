package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/weir-registry/weir/internal/plan/desired"
)

// Reader reads declarations. The zero Reader uses the process's environment and standard input.
type Reader struct {
	LookupEnv func(string) (string, bool) // nil: os.LookupEnv
	Stdin     io.Reader                   // for the file "-"
}

const maxReference = 1 << 20 // bytes of a file that a declaration refers to

// Read reads files of YAML, each of one or several documents, and joins what they declare. Unknown and repeated fields are
// errors with line and column. A secret may stand as text or as {env: NAME} or {file: PATH}, and is looked up here: the
// server gets its text. PATH is relative to the file that names it.
func (r Reader) Read(files []string) (desired.Document, error) {
	var documents []desired.Document
	var errs []error
	for _, file := range files {
		read, err := r.file(file)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
		}
		documents = append(documents, read...)
	}
	if len(errs) > 0 {
		return desired.Document{}, errors.Join(errs...)
	}
	return desired.Merge(documents...)
}

// ReadInto reads one definition of any kind into v, a pointer, by the same rules.
func (r Reader) ReadInto(file string, v any) error {
	text, decoder, err := r.open(file)
	if err != nil {
		return err
	}
	switch err := decoder.Decode(v); {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s: there is nothing in it", file)
	case err != nil:
		return fmt.Errorf("%s: %w", file, readable(text, err))
	}
	return nil
}

func (r Reader) open(file string) (text []byte, decoder *yaml.Decoder, err error) {
	folder := "."
	if file == "-" {
		text, err = io.ReadAll(r.Stdin)
	} else {
		text, err = os.ReadFile(file)
		folder = filepath.Dir(file)
	}
	if err != nil {
		return nil, nil, err
	}
	return text, yaml.NewDecoder(bytes.NewReader(text), yaml.Strict(),
		yaml.CustomUnmarshaler(func(p *desired.Password, b []byte) error {
			value, err := r.text(b, folder, true)
			*p = desired.Password(value)
			return err
		}),
		yaml.CustomUnmarshaler(func(p *desired.PEM, b []byte) error {
			value, err := r.text(b, folder, false)
			*p = desired.PEM(value)
			return err
		}),
	), nil
}

func (r Reader) file(file string) ([]desired.Document, error) {
	text, decoder, err := r.open(file)
	if err != nil {
		return nil, err
	}
	var out []desired.Document
	for {
		var d desired.Document
		err := decoder.Decode(&d)
		switch {
		case errors.Is(err, io.EOF) && !slices.ContainsFunc(out, declares):
			return nil, errors.New("there is nothing in it: want groups") // else an export that failed would read as agreement
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, readable(text, err)
		}
		out = append(out, d)
	}
}

func declares(d desired.Document) bool { return len(d.Groups) > 0 }

// readable gives an error of the YAML library without the source, which may hold a secret, and wrong types in the words of
// the file.
func readable(text []byte, err error) error {
	wrong, ok := errors.AsType[*yaml.TypeError](err)
	if !ok || wrong.Token == nil {
		return errors.New(yaml.FormatError(err, false, false))
	}
	want := "another kind of value"
	switch wrong.DstType.Kind() {
	case reflect.Bool:
		want = "true or false, without quotes"
	case reflect.Int:
		want = "a number"
	case reflect.String:
		want = "a text"
	case reflect.Slice:
		want = "a list"
	case reflect.Struct:
		want = "fields below it"
	}
	at := wrong.Token.Position
	return fmt.Errorf("[%d:%d] %swant %s", at.Line, at.Column, fieldAt(text, at), want)
}

// fieldAt is the path of the field at a place, followed by ": "; empty if there is none.
func fieldAt(text []byte, at *token.Position) string {
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return ""
	}
	f := finder{at: at}
	for _, doc := range tree.Docs {
		if doc.Body != nil {
			ast.Walk(&f, doc.Body)
		}
	}
	if f.path == "" {
		return ""
	}
	return strings.TrimPrefix(f.path, "$.") + ": "
}

type finder struct {
	at   *token.Position
	path string
}

// Visit implements ast.Visitor. The last node at the place is the innermost.
func (f *finder) Visit(n ast.Node) ast.Visitor {
	if t := n.GetToken(); t != nil && t.Position.Line == f.at.Line && t.Position.Column == f.at.Column {
		f.path = n.GetPath()
	}
	return f
}

// reference is a text kept elsewhere.
type reference struct {
	Env  string `yaml:"env"`
	File string `yaml:"file"`
}

// text reads a text, or what a reference leads to; secrets lose a line break at the end, as files have one.
func (r Reader) text(b []byte, folder string, secret bool) (string, error) {
	var plain string
	if err := yaml.Unmarshal(b, &plain); err == nil {
		return plain, nil
	}
	var ref reference
	if err := yaml.UnmarshalWithOptions(b, &ref, yaml.Strict()); err != nil || (ref.Env == "") == (ref.File == "") {
		return "", errors.New("want a text, {env: NAME} or {file: PATH}")
	}
	if ref.Env != "" {
		lookup := r.LookupEnv
		if lookup == nil {
			lookup = os.LookupEnv
		}
		value, ok := lookup(ref.Env)
		if !ok || value == "" {
			return "", fmt.Errorf("the environment variable %s is not set", ref.Env)
		}
		return value, nil
	}
	path := ref.File
	if !filepath.IsAbs(path) {
		path = filepath.Join(folder, path)
	}
	content, err := readBounded(path)
	if err != nil {
		return "", err
	}
	if secret {
		content = strings.TrimRight(content, "\r\n")
	}
	return content, nil
}

func readBounded(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxReference+1))
	if err != nil {
		return "", err
	}
	if len(content) > maxReference {
		return "", fmt.Errorf("%s has more than %d bytes", path, maxReference)
	}
	return string(content), nil
}

// Write gives a declaration in the form that Read takes.
func Write(d desired.Document) ([]byte, error) { return yaml.Marshal(d) }
