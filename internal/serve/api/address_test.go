package api_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// worlds is a world on each engine.
func worlds(t testing.TB) []*world {
	return []*world{newWorld(t, metatest.Open(t, meta.SQLite)), newWorld(t, metatest.Open(t, meta.PostgreSQL))}
}

// addressed are the operations of the worlds of this package that have something in the path or the query.
func addressed(w *world) []*huma.Operation {
	return slices.DeleteFunc(w.api.Operations(), func(o *huma.Operation) bool {
		return len(o.Parameters) == 0 || !slices.Contains(contractTags, o.Tags[0])
	})
}

// address puts a value into one of the parameters of an operation. Another's are good, so that the request comes far.
func address(o *huma.Operation, parameter int, value string) string {
	good := map[string]string{"group": "acme", "name": "one", "upstream": "one", "registry": "all", "user": "reader", "path": "-", "id": "1", "kind": "toil"}
	path, query := o.Path, ""
	for i, p := range o.Parameters {
		text := good[p.Name]
		if i == parameter {
			text = value
		}
		switch {
		case p.In == "path":
			path = strings.Replace(path, "{"+p.Name+"}", url.PathEscape(text), 1)
		case p.In == "query" && i == parameter:
			query = "?" + url.Values{p.Name: {text}}.Encode()
		}
	}
	return path + query
}

// FuzzAddresses sends what the fuzzer thinks of in paths and queries, on both engines: no answer is the server's fault.
func FuzzAddresses(f *testing.F) {
	both := worlds(f)
	operations := addressed(both[0])
	for i, o := range operations {
		for p := range o.Parameters {
			for _, value := range []string{"\x00", "a\x00", "\xff", "\xed\xa0\x80", "99999999999999999999", "-1", "x"} {
				f.Add(i, p, value)
			}
		}
	}
	f.Fuzz(func(t *testing.T, i, p int, value string) {
		o := operations[uint(i)%uint(len(operations))]
		to := address(o, int(uint(p)%uint(len(o.Parameters))), value)
		if strings.Contains(to, "/./") || strings.Contains(to, "//") || strings.Contains(to, "..") { // the client or the mux would ask for another path
			return
		}
		for _, w := range both {
			a := w.send(t, "admin", o.Method, to, "{}")
			if a.status >= 500 {
				t.Errorf("%s %s: %d %s", o.Method, to, a.status, a.body)
			}
		}
	})
}

// What is no text is refused by every operation, wherever it stands, before it does anything.
func TestNoText(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	for _, o := range w.api.Operations() {
		if !slices.Contains(contractTags, o.Tags[0]) || slices.Contains(otherDoor, o.OperationID) {
			continue
		}
		for i, p := range o.Parameters {
			for _, value := range []string{"a\x00b", "\xff"} {
				if p.In == "path" || p.In == "query" && p.Schema.Type == huma.TypeString {
					w.wantAs(t, "admin", o.Method, address(o, i, value), "{}", 422, `"location":"`+p.In+"."+p.Name+`"`, "no text")
				}
			}
		}
		if o.RequestBody == nil {
			continue
		}
		for body, part := range map[string]string{
			`{"a": {"b": ["x", "\u0000"]}}`: "the field a.b[1] holds bytes that are no text", `{"a\u0000": 1}`: "the name of a field", "{\"a\": \"\xff\"}": "not UTF-8",
		} {
			w.wantAs(t, "admin", o.Method, address(o, -1, ""), body, 400, part)
		}
	}
	w.wantAs(t, "admin", "GET", "/groups?after=eyJvIjoibmFtZSIsImsiOlsiXHUwMDAwIl19", "", 422, "query.after")
}
