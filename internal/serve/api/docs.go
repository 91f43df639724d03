package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed page/docs.html
var docsTemplate string

//go:embed page/docs.css
var docsStyle string

// docsPath is the page for people who look at the API. It needs no login, as the OpenAPI document it is made from, no script
// and nothing from elsewhere.
const docsPath = Prefix + "/docs"

// docsPage is made when it is first asked for.
type docsPage struct {
	once sync.Once
	page []byte
	err  error
}

func (d *docsPage) serve(w http.ResponseWriter, r *http.Request, document *huma.OpenAPI) error {
	d.once.Do(func() { d.page, d.err = renderDocs(document) })
	if d.err != nil {
		return d.err
	}
	sum := sha256.Sum256([]byte(docsStyle))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	if r.Method != http.MethodHead {
		_, _ = w.Write(d.page)
	}
	return nil
}

// docsView is what the template shows.
type docsView struct {
	Prefix, Version, Description string
	CSS                          template.CSS
	Tags                         []docsTag
	Schemas                      []docsSchema
}

type docsTag struct {
	Name       string
	Operations []docsOperation
}

type docsOperation struct {
	*huma.Operation
	Parameters []docsField
	Body       []docsContent
	Answers    []docsAnswer
	Example    string
}

type docsField struct {
	Name, In, Description string
	Required              bool
	Type                  docsType
}

type docsContent struct {
	Media string
	Type  docsType
}

type docsAnswer struct {
	Status, Description string
	Content             []docsContent
}

type docsSchema struct {
	Name, Description string
	Fields            []docsField
}

func renderDocs(document *huma.OpenAPI) ([]byte, error) {
	t, err := template.New("docs").Parse(docsTemplate)
	if err != nil {
		return nil, err
	}
	view := docsView{
		Prefix: Prefix, Version: document.Info.Version, Description: document.Info.Description,
		CSS: template.CSS(docsStyle), //nolint:gosec // our own file
	}
	for _, o := range operations(document) {
		tag := append(slices.Clone(o.Tags), "other")[0]
		i := slices.IndexFunc(view.Tags, func(t docsTag) bool { return t.Name == tag })
		if i < 0 {
			i = len(view.Tags)
			view.Tags = append(view.Tags, docsTag{Name: tag})
		}
		view.Tags[i].Operations = append(view.Tags[i].Operations, describeOperation(document, o))
	}
	slices.SortFunc(view.Tags, func(a, b docsTag) int { return strings.Compare(a.Name, b.Name) })
	schemas := document.Components.Schemas.Map()
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		view.Schemas = append(view.Schemas, docsSchema{name, schemas[name].Description, describeFields(schemas[name])})
	}
	var out bytes.Buffer
	err = t.Execute(&out, view)
	return out.Bytes(), err
}

// operations are those of a document, by path and then method.
func operations(document *huma.OpenAPI) []*huma.Operation {
	var out []*huma.Operation
	for _, path := range slices.Sorted(maps.Keys(document.Paths)) {
		p := document.Paths[path]
		for _, o := range []*huma.Operation{p.Get, p.Put, p.Patch, p.Post, p.Delete} {
			if o != nil {
				out = append(out, o)
			}
		}
	}
	return out
}

func describeOperation(document *huma.OpenAPI, o *huma.Operation) docsOperation {
	out := docsOperation{Operation: o, Example: example(document, o)}
	for _, p := range o.Parameters {
		out.Parameters = append(out.Parameters, docsField{p.Name, p.In, p.Description, p.Required, typeOf(p.Schema)})
	}
	if o.RequestBody != nil {
		out.Body = describeContent(o.RequestBody.Content)
	}
	for _, status := range slices.Sorted(maps.Keys(o.Responses)) {
		r := o.Responses[status]
		out.Answers = append(out.Answers, docsAnswer{status, r.Description, describeContent(r.Content)})
	}
	return out
}

func describeContent(content map[string]*huma.MediaType) []docsContent {
	var out []docsContent
	for _, media := range slices.Sorted(maps.Keys(content)) {
		out = append(out, docsContent{media, typeOf(content[media].Schema)})
	}
	return out
}

func describeFields(s *huma.Schema) []docsField {
	var out []docsField
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if name == "$schema" {
			continue
		}
		p := s.Properties[name]
		out = append(out, docsField{Name: name, Description: p.Description, Required: slices.Contains(s.Required, name), Type: typeOf(p)})
	}
	return out
}
