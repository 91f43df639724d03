package api

import (
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// described adds to the answers of an operation those that every one has: problems, and that nothing is new where a read is conditional.
func described[I any](a *API, o huma.Operation) huma.Operation {
	if o.Responses = maps.Clone(o.Responses); o.Responses == nil {
		o.Responses = map[string]*huma.Response{}
	}
	o.Responses["default"] = &huma.Response{
		Description: "Error", Content: map[string]*huma.MediaType{"application/problem+json": {Schema: schemaOf[huma.ErrorModel](a)}},
	}
	if _, conditional := reflect.TypeFor[I]().FieldByName("IfNoneMatch"); conditional && o.Method == http.MethodGet {
		o.Responses["304"] = &huma.Response{
			Description: "It is what If-None-Match names", Headers: map[string]*huma.Header{"ETag": {Schema: &huma.Schema{Type: huma.TypeString}}},
		}
	}
	return o
}

// exports declares the answer of an operation that streams lines of a schema.
func exports(o huma.Operation, description string, line *huma.Schema) huma.Operation {
	o.Responses = map[string]*huma.Response{"200": {Description: description, Content: map[string]*huma.MediaType{lines: {Schema: line}}}}
	return o
}

// media refuses a body of a kind that the operation does not take: what is called a patch of another kind is no merge patch.
func (a *API) media(ctx huma.Context, next func(huma.Context)) {
	r, _ := humago.Unwrap(ctx)
	body := ctx.Operation().RequestBody
	if kind := ctx.Header("Content-Type"); body != nil && kind != "" && r.ContentLength != 0 {
		name, _, err := mime.ParseMediaType(kind)
		if err != nil || body.Content[name] == nil {
			kinds := slices.Sorted(maps.Keys(body.Content))
			if r.Method == http.MethodPatch {
				ctx.SetHeader("Accept-Patch", strings.Join(kinds, ", "))
			}
			const at = "header.Content-Type"
			what := "want " + strings.Join(kinds, " or ")
			_ = huma.WriteErr(a.huma, ctx, http.StatusUnsupportedMediaType, "this body is of a kind that the operation does not take: "+what,
				&huma.ErrorDetail{Location: at, Message: what})
			return
		}
	}
	next(ctx)
}
