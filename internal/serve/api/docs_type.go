package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// docsType is a type in words, with links to schemas.
type docsType struct{ Parts []docsPart }

type docsPart struct{ Text, Schema string }

// typeOf puts a schema into words: "list of Rule", "one of name, -name", "integer, 1 to 1000".
func typeOf(s *huma.Schema) docsType {
	switch {
	case s == nil:
		return docsType{}
	case s.Ref != "":
		return docsType{[]docsPart{{Schema: s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]}}}
	case len(s.AnyOf) > 0:
		var t docsType
		for i, one := range s.AnyOf {
			if i > 0 {
				t.Parts = append(t.Parts, docsPart{Text: " or "})
			}
			t.Parts = append(t.Parts, typeOf(one).Parts...)
		}
		return t
	case s.Type == huma.TypeArray:
		return docsType{append([]docsPart{{Text: "list of "}}, typeOf(s.Items).Parts...)}
	case len(s.Enum) > 0:
		words := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			words[i] = fmt.Sprint(v)
		}
		return docsType{[]docsPart{{Text: "one of " + strings.Join(words, ", ") + defaultOf(s)}}}
	}
	text := s.Type
	if s.Format != "" && s.Format != "int64" && s.Format != "double" {
		text += " (" + s.Format + ")"
	}
	return docsType{[]docsPart{{Text: text + boundsOf(s) + defaultOf(s)}}}
}

func boundsOf(s *huma.Schema) string {
	switch {
	case s.Minimum != nil && s.Maximum != nil:
		return fmt.Sprintf(", %v to %v", *s.Minimum, *s.Maximum)
	case s.Minimum != nil:
		return fmt.Sprintf(", at least %v", *s.Minimum)
	case s.MaxLength != nil:
		return fmt.Sprintf(", at most %d characters", *s.MaxLength)
	}
	return ""
}

func defaultOf(s *huma.Schema) string {
	if s.Default == nil {
		return ""
	}
	return fmt.Sprintf("; default %v", s.Default)
}

// example is a call with curl. The body holds every field once, as its type looks.
func example(document *huma.OpenAPI, o *huma.Operation) string {
	var b strings.Builder
	b.WriteString(`curl -u "$USER:$WEIR_TOKEN"`)
	if o.Method != "GET" {
		b.WriteString(" -X " + o.Method)
	}
	path := o.Path
	for _, p := range o.Parameters {
		if p.In == "path" {
			path = strings.ReplaceAll(path, "{"+p.Name+"}", strings.ToUpper(p.Name))
		}
	}
	b.WriteString(` "$WEIR` + Prefix + path + `"`)
	if o.RequestBody == nil {
		return b.String()
	}
	media := slices.Sorted(maps.Keys(o.RequestBody.Content))[0]
	body, err := json.MarshalIndent(sample(document, o.RequestBody.Content[media].Schema, 0), "", "  ")
	if err != nil {
		return b.String()
	}
	fmt.Fprintf(&b, " \\\n  -H 'Content-Type: %s' -d '%s'", media, strings.ReplaceAll(string(body), "'", `'\''`))
	return b.String()
}

const sampleDepth = 4 // schemas below each other

// sample is a value that fits a schema.
func sample(document *huma.OpenAPI, s *huma.Schema, depth int) any {
	if s != nil && s.Ref != "" {
		s = document.Components.Schemas.SchemaFromRef(s.Ref)
	}
	switch {
	case s == nil || depth > sampleDepth:
		return nil
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Default != nil:
		return s.Default
	}
	switch s.Type {
	case huma.TypeObject:
		object := map[string]any{}
		for name, p := range s.Properties {
			if name != "$schema" && !p.ReadOnly {
				object[name] = sample(document, p, depth+1)
			}
		}
		return object
	case huma.TypeArray:
		return []any{sample(document, s.Items, depth+1)}
	case huma.TypeBoolean:
		return true
	case huma.TypeInteger, huma.TypeNumber:
		return 1
	}
	if s.Format == "date-time" {
		return "2030-01-02T03:04:05Z"
	}
	return "…"
}
