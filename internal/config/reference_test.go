package config

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the reference page")

const page = "../../docs/reference/configuration.md"

// The reference page is the comments of the struct. `go test ./internal/config -run Reference -update` writes it.
func TestReferencePage(t *testing.T) {
	got := reference(t)
	if *update {
		if err := os.WriteFile(page, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the page is out of step with the struct; run with -update:\n%s", diff)
	}
}

func reference(t *testing.T) string {
	docs := fieldDocs(t)
	var b strings.Builder
	b.WriteString(`<!-- Made from internal/config/config.go; change it there, then run make generate. -->
# Settings

A server reads its settings from a YAML file (` + "`weir serve --config weir.yaml`" + `), then from environment variables, then from
flags; later ones win. Unknown and duplicate keys are errors, and all errors are shown at once. ` + "`weir config print`" + ` shows the
result with secrets masked, ` + "`weir config check`" + ` only checks.

` + docs["Config"] + "\n")
	section := ""
	for _, s := range settings() {
		if head := strings.Join(s.path[:len(s.path)-1], "."); head != section {
			section = head
			fmt.Fprintf(&b, "\n## %s\n\n%s\n", head, docs["Config."+fieldOf(head)])
		} else if section == "" && !strings.Contains(b.String(), "## General") {
			b.WriteString("\n## General\n")
		}
		doc := docs[s.owner.Name()+"."+s.field.Name]
		if doc == "" {
			t.Errorf("%s has no comment", s.name())
		}
		if s.variable() == "" {
			fmt.Fprintf(&b, "\n### `%s`\n\n%s\n\n- Default: %s\n- Variable: none\n\nEach has:\n\n", s.name(), doc, defaultOf(s.value))
			elements(t, &b, docs, s.field.Type.Elem(), "")
			continue
		}
		fmt.Fprintf(&b, "\n### `%s`\n\n%s\n\n- Default: %s\n- Variable: `%s`\n", s.name(), doc, defaultOf(s.value), s.variable())
	}
	return b.String()
}

// elements describes the fields of one element of a list.
func elements(t *testing.T, b *strings.Builder, docs map[string]string, of reflect.Type, indent string) {
	for f := range of.Fields() {
		doc := strings.ReplaceAll(docs[of.Name()+"."+f.Name], "\n", " ")
		if doc == "" {
			t.Errorf("%s.%s has no comment", of.Name(), f.Name)
		}
		fmt.Fprintf(b, "%s- `%s`: %s\n", indent, f.Tag.Get("yaml"), doc)
		if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
			elements(t, b, docs, f.Type.Elem(), indent+"  ")
		}
	}
}

func fieldOf(key string) string {
	typ := reflect.TypeFor[Config]()
	return typ.Field(structFields(typ)[key]).Name
}

func defaultOf(v reflect.Value) string {
	if v.IsZero() && (v.Kind() == reflect.String || v.Kind() == reflect.Slice) {
		return "none"
	}
	return fmt.Sprintf("`%v`", v)
}

// fieldDocs maps "Type" and "Type.Field" to the comment.
func fieldDocs(t *testing.T) map[string]string {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.TYPE {
			continue
		}
		spec := gen.Specs[0].(*ast.TypeSpec)
		docs[spec.Name.Name] = strings.TrimSpace(gen.Doc.Text())
		for _, f := range spec.Type.(*ast.StructType).Fields.List {
			docs[spec.Name.Name+"."+f.Names[0].Name] = strings.TrimSpace(f.Doc.Text())
		}
	}
	return docs
}
