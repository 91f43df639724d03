package api_test

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// nasty are texts that a field may hold: good ones, so that requests come far, and such as break parsers.
var nasty = []string{
	"", "acme", "one", "two", "all", "some", "own", "acme/own", "ci", "x", "https://r.test", "https://one.test", "http://[::1]:5000/a/b", "https://u:p@x.test",
	"https://%zz", "://", "24h", "forever", "always", "-1s", "9999999h", "1e9", "10.0.0.0/8", "::/0", "300.1.1.1/33", "r.test:5000", "R.TEST", "a:99999", "[::1]",
	"*", "*:*", "a/b:c", "**/?", "[", "\\", "../..", "a//b", "\x00", "\u202e", "é", "😀", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----",
	"continue", "stop", "serve", "refuse", "static", "container", "deny", "allow", "reader", "owner", "stranger", "nobody", "_", "A", strings.Repeat("a", 300), strings.Repeat("é/", 2000),
}

// likely are texts that a field of a name takes, so that requests come further than the checks of single fields.
var likely = map[string][]string{
	"url": {"https://r.test", "https://one.test", "http://two.test/team"}, "name": {""}, "host": {""}, "prefix": {""}, "local": {""},
	"upstream": {"one", "two", "three", ""}, "registry": {"all", "some"}, "credential": {"ci", "open", ""}, "username": {"ci", "x"},
	"default": {"24h", "forever", "always"}, "for": {"1h"}, "pattern": {"*", "a/*:v*"}, "allow": {"*", ""}, "deny": {"x/*", ""},
	"timeout": {"5s"}, "idle_timeout": {"1m"}, "revalidate_wait": {"1ms"}, "ca": {""}, "kind": {"static"}, "format": {"container"},
	"on_unknown": {"stop"}, "on_upstream_delete": {"refuse"}, "digest_first": {"allow"}, "role": {"reader"}, "user": {"reader"}, "path": {"x"},
	"hosts": {"one.test"}, "realm_hosts": {"one.test"}, "claims": {"a/*"}, "networks": {"10.0.0.0/8"},
}

// generator makes documents that mostly fit a schema, and sometimes do not.
type generator struct {
	*rand.Rand
	document *huma.OpenAPI
}

func (g generator) value(s *huma.Schema, depth int) any {
	if s != nil && s.Ref != "" {
		s = g.document.Components.Schemas.SchemaFromRef(s.Ref)
	}
	if s == nil || depth > 8 || depth > 0 && g.IntN(40) == 0 {
		return g.anything(depth)
	}
	if len(s.Enum) > 0 && g.IntN(8) > 0 {
		return s.Enum[g.IntN(len(s.Enum))]
	}
	switch s.Type {
	case huma.TypeObject:
		object := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			p := s.Properties[name]
			switch texts := likely[name]; {
			case p.ReadOnly || g.IntN(3) == 0:
			case texts != nil && g.IntN(20) > 0 && p.Type == huma.TypeArray:
				object[name] = []any{texts[g.IntN(len(texts))]}
			case texts != nil && g.IntN(20) > 0:
				object[name] = texts[g.IntN(len(texts))]
			default:
				object[name] = g.value(p, depth+1)
			}
		}
		if g.IntN(30) == 0 {
			object[nasty[g.IntN(len(nasty))]] = g.anything(depth)
		}
		return object
	case huma.TypeArray:
		list := make([]any, g.IntN(4))
		for i := range list {
			list[i] = g.value(s.Items, depth+1)
		}
		return list
	case huma.TypeBoolean:
		return g.IntN(2) == 0
	case huma.TypeInteger, huma.TypeNumber:
		return []any{0, 1, -1, 3, 1 << 40, 1.5, 1e300}[g.IntN(7)]
	}
	return nasty[g.IntN(len(nasty))]
}

func (g generator) anything(depth int) any {
	switch g.IntN(8) {
	case 0:
		return nil
	case 1:
		return g.IntN(2) == 0
	case 2:
		return g.Float64() * 1e18
	case 3:
		if depth < 8 {
			return []any{g.anything(depth + 1), g.anything(depth + 1)}
		}
	case 4:
		if depth < 8 {
			return map[string]any{nasty[g.IntN(len(nasty))]: g.anything(depth + 1)}
		}
	}
	return nasty[g.IntN(len(nasty))]
}

// bodied are the operations on definitions that take a body, with paths to something that exists.
func bodied(w *world) (operations []*huma.Operation, paths []string) {
	for _, o := range w.api.Operations() {
		if o.RequestBody == nil || !slices.Contains(definitionTags, o.Tags[0]) {
			continue
		}
		name := map[string]string{"upstreams": "one", "registries": "all", "credentials": "ci", "hosted": "own", "host-bindings": "some.acme.test"}[o.Tags[0]]
		operations = append(operations, o)
		paths = append(paths, strings.NewReplacer("{group}", "acme", "{name}", name, "{upstream}", "one").Replace(o.Path))
	}
	return operations, paths
}

// survives sends a body and wants an answer that a program can work with: no 5xx, and problems that are such.
func (w *world) survives(t *testing.T, o *huma.Operation, path, in string) {
	t.Helper()
	media := slices.Sorted(maps.Keys(o.RequestBody.Content))
	r := w.send(t, "admin", o.Method, path, in, "Content-Type", media[len(media)-1])
	if r.status >= 500 {
		t.Errorf("%s %s: %d %s after %.2000s", o.Method, path, r.status, r.body, in)
	}
	var problem struct {
		Status int
		Detail string
	}
	if r.status >= 400 && (json.Unmarshal([]byte(r.body), &problem) != nil || problem.Status != r.status || problem.Detail == "") {
		t.Errorf("%s %s: %d is no problem: %s", o.Method, path, r.status, r.body)
	}
}

// No body that fits the schema or nearly does brings down an operation; what is accepted can be read again.
func TestBodies(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, db)
		g := generator{rand.New(rand.NewPCG(4, 2)), w.api.Document()}
		operations, paths := bodied(w)
		if len(operations) < 15 {
			t.Fatalf("only %d operations take a body", len(operations))
		}
		for i, o := range operations {
			media := slices.Sorted(maps.Keys(o.RequestBody.Content))
			for range 15 {
				text, err := json.Marshal(g.value(o.RequestBody.Content[media[0]].Schema, 0))
				if err != nil {
					t.Fatal(err)
				}
				w.survives(t, o, paths[i], string(text))
			}
			for _, text := range []string{"", "null", "[]", "{", `{"a":`, "\xff", `"x"`, strings.Repeat("[", 20_000), `{"name": 1e999}`} {
				w.survives(t, o, paths[i], text)
			}
			w.wantAs(t, "admin", "PATCH", "/groups/acme", `{"enabled": true}`, 200)
			w.wantAs(t, "admin", "GET", "/groups/acme/declaration", "", 200)
			w.reset(t)
		}
	})
}

// FuzzBodies is TestBodies with what the fuzzer thinks of.
func FuzzBodies(f *testing.F) {
	both := worlds(f)
	operations, paths := bodied(both[0])
	for i := range operations {
		f.Add(i, []byte(`{"name": "x", "url": "https://r.test", "items": [{"upstream": "one", "claims": ["*"]}], "groups": [{"name": "acme"}]}`))
		f.Add(i, []byte(`{"groups": [{"name": "acme", "trust_rules": [{"name": "x", "audience": "a\u0000"}]}]}`))
	}
	f.Fuzz(func(t *testing.T, i int, in []byte) {
		i = int(uint(i) % uint(len(operations)))
		for _, w := range both {
			w.survives(t, operations[i], paths[i], string(in))
		}
	})
}
