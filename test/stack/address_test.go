package stack_test

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/test/stack"
)

// nasties are values of paths and queries, escaped, such as break databases and parsers of numbers.
var nasties = []string{
	"%00", "a%00b", "%FF", "%ED%A0%80", "99999999999999999999", "-1", "%2E%2E", "*", "%F0%9F%98%80", strings.Repeat("9", 300),
	base64.RawURLEncoding.EncodeToString([]byte(`{"o":"name","k":["\u0000"]}`)),
}

// addressed is what the test looks at of an operation.
type addressed struct {
	OperationID string
	Parameters  []struct{ Name, In string }
	RequestBody *struct{ Content map[string]any }
}

// TestAddresses sends what breaks databases in every part of every path and in every parameter of every operation: none may fail by the
// server's fault, on either engine.
func TestAddresses(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s, _, _, _ := tenants(t, on(t, engine))
			admin := s.As(t, "admin")
			var d struct {
				Paths map[string]map[string]addressed
			}
			if err := json.Unmarshal(admin.Do(t, "GET", "/api/v1/openapi.json").Want(t, 200).Body, &d); err != nil {
				t.Fatal(err)
			}
			sent := 0
			for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
				for _, method := range slices.Sorted(maps.Keys(d.Paths[path])) {
					for _, to := range addresses(path, d.Paths[path][method]) {
						sent++
						var body []stack.Change
						if o := d.Paths[path][method]; o.RequestBody != nil {
							body = append(body, stack.Body(slices.Sorted(maps.Keys(o.RequestBody.Content))[0], []byte(`{}`)))
						}
						a := admin.Do(t, strings.ToUpper(method), "/api/v1"+to, body...)
						if a.Err != nil || a.Status >= 500 || a.Status >= 400 && !bytes.Contains(a.Body, []byte(`"detail"`)) && !bytes.Contains(a.Body, []byte(`"error`)) {
							t.Errorf("%s %s: %d %v %s", method, to, a.Status, a.Err, a.Body)
						}
					}
				}
			}
			if sent < 1000 {
				t.Errorf("only %d addresses were tried", sent)
			}
		})
	}
}

// addresses puts each nasty value into each part of a path that is one, and into each parameter of the query.
func addresses(path string, o addressed) (out []string) {
	parts := map[string]string{"group": "a", "registry": "hub", "upstream": "far", "user": "bob", "path": "-", "id": "1", "name": "far", "repository": "secret%2Fapp"}
	with := func(part, value string) string {
		filled := path
		for _, p := range o.Parameters {
			text := cmp.Or(parts[p.Name], "x")
			if p.Name == part {
				text = value
			}
			filled = strings.Replace(filled, "{"+p.Name+"}", text, 1)
		}
		return filled
	}
	for _, p := range o.Parameters {
		for _, value := range nasties {
			switch p.In {
			case "path":
				out = append(out, with(p.Name, value))
			case "query":
				out = append(out, with("", "")+"?"+url.QueryEscape(p.Name)+"="+value)
			}
		}
	}
	return out
}

// TestNastyDoors: what other doors take from a client and keep, or ask a database for, is refused or made printable.
func TestNastyDoors(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s, image, _, _ := tenants(t, on(t, engine))
			ann := s.As(t, "ann")
			for _, query := range []string{"artifactType=%00", "artifactType=%FF", "ns=%00", "x=a%00"} {
				ann.Do(t, "GET", "/v2/a/secret/app/referrers/"+string(image.Manifest.Digest)+"?"+query).Want(t, 400)
				ann.Do(t, "GET", "/v2/a/hub/library/app/referrers/"+string(image.Manifest.Digest)+"?"+query).Want(t, 400)
			}
			for _, path := range []string{"a/secret/app/tags/list?last=%00", "a/secret/app/tags/list?n=1&last=%FF", "_catalog?last=%00", "a/hub/library/app/tags/list?last=%00"} {
				ann.Do(t, "GET", "/v2/"+path).Want(t, 400)
			}
			ann.Do(t, "POST", "/v2/a/secret/app/blobs/uploads/?mount="+string(image.Manifest.Digest)+"&from=%00").Want(t, 400)
			s.As(t, "admin").Do(t, "PUT", "/api/v1/users/ann/password", stack.Body("application/json", []byte(`{"password": "battery-staple"}`))).Want(t, 200, 204)
			for _, agent := range []string{"\xff\xfe", "curl \xe9\x80", strings.Repeat("é", 200) + "x"} {
				login := stack.Body("application/json", []byte(`{"user": "ann", "password": "battery-staple"}`))
				a := s.Do(t, "POST", "/api/v1/session", login, stack.Header("User-Agent", agent))
				if !utf8.Valid(a.Body) || bytes.Contains(a.Body, []byte("\ufffd")) {
					t.Errorf("%q is kept as %s", agent, a.Body)
				}
				a.Want(t, 201)
			}
		})
	}
}
