package stack_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/test/stack"
)

// schema is what the tests look at of one in the OpenAPI document.
type schema struct {
	Ref        string `json:"$ref"`
	Type       any
	Properties map[string]*schema
	Items      *schema
	Enum       []any
	ReadOnly   bool
}

// document is the same for the whole.
type document struct {
	Paths map[string]map[string]struct {
		OperationID string
		RequestBody *struct {
			Content map[string]struct{ Schema *schema }
		}
	}
	Components struct{ Schemas map[string]*schema }
}

// texts go into fields: good ones, and such as break parsers.
var texts = []string{
	"", "a", "b", "hub", "far", "own", "bob", "ann", "x", "a/hub/library/app:tag-real", "a/secret/app", "library/app", "tag-real", "https://r.test", "http://[::1", "24h", "-1s",
	"sha256:" + strings.Repeat("0", 64), "2030-01-02T03:04:05Z", "reader", "pull", "*", "[", "\x00", "é", "../..", strings.Repeat("a", 3000),
}

type bodyMaker struct {
	*rand.Rand
	d document
}

func (m bodyMaker) value(s *schema, depth int) any {
	if s != nil && s.Ref != "" {
		s = m.d.Components.Schemas[s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]]
	}
	if s == nil || depth > 6 || depth > 0 && m.IntN(30) == 0 {
		return []any{nil, true, 1e300, "x", []any{}, map[string]any{"x": 1}}[m.IntN(6)]
	}
	if len(s.Enum) > 0 {
		return s.Enum[m.IntN(len(s.Enum))]
	}
	kind, _ := s.Type.(string)
	if list, ok := s.Type.([]any); ok && len(list) > 0 {
		kind, _ = list[0].(string)
	}
	switch kind {
	case "object":
		object := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			if !s.Properties[name].ReadOnly && m.IntN(3) > 0 {
				object[name] = m.value(s.Properties[name], depth+1)
			}
		}
		return object
	case "array":
		return []any{m.value(s.Items, depth+1)}
	case "boolean":
		return m.IntN(2) == 0
	case "integer", "number":
		return []any{0, 1, -1, 1 << 40}[m.IntN(4)]
	}
	return texts[m.IntN(len(texts))]
}

// TestBodies sends bodies that nearly fit to every operation of a whole server: none may fail by the server's fault.
func TestBodies(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s, _, _, _ := tenants(t, on(t, engine))
			admin := s.As(t, "admin")
			m := bodyMaker{Rand: rand.New(rand.NewPCG(7, 1))}
			if err := json.Unmarshal(admin.Do(t, "GET", "/api/v1/openapi.json").Want(t, 200).Body, &m.d); err != nil {
				t.Fatal(err)
			}
			names := strings.NewReplacer("{group}", "a", "{registry}", "hub", "{upstream}", "far", "{user}", "bob", "{path}", "-", "{id}", "1")
			sent := 0
			for _, path := range slices.Sorted(maps.Keys(m.d.Paths)) {
				methods := slices.Sorted(maps.Keys(m.d.Paths[path]))
				slices.Reverse(methods) // put comes before patch
				for _, method := range methods {
					o := m.d.Paths[path][method]
					if o.RequestBody == nil {
						continue
					}
					name := map[string]string{"upstreams": "far", "registries": "hub", "users": "bob"}[strings.Split(path+"///", "/")[3]]
					if strings.HasPrefix(path, "/users/") {
						name = "bob"
					}
					media := slices.Sorted(maps.Keys(o.RequestBody.Content))[0]
					admin.Do(t, "PATCH", "/api/v1/groups/a", stack.Body("application/json", []byte(`{"enabled": true}`))).Want(t, 200)
					for range 6 {
						text, err := json.Marshal(m.value(o.RequestBody.Content[media].Schema, 0))
						if err != nil {
							t.Fatal(err)
						}
						sent++
						to := "/api/v1" + strings.ReplaceAll(names.Replace(path), "{name}", name+strings.Repeat("n", 1-min(len(name), 1)))
						a := admin.Do(t, strings.ToUpper(method), to, stack.Body(media, text))
						if a.Err != nil || a.Status == 500 || (a.Status >= 400 && !bytes.Contains(a.Body, []byte(`"detail"`)) && !bytes.Contains(a.Body, []byte(`"error`))) {
							t.Errorf("%s %s (%s): %d %v %s after %.1000s", method, to, o.OperationID, a.Status, a.Err, a.Body, text)
						}
					}
				}
			}
			if sent < 150 {
				t.Errorf("only %d bodies were sent", sent)
			}
		})
	}
}
