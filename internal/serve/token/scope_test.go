package token

import (
	"reflect"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
)

func TestParseScopes(t *testing.T) {
	pull, push, all := []access.Action{"pull"}, []access.Action{"pull", "push"}, []access.Action{"pull", "push", "delete"}
	for _, tc := range []struct {
		params []string
		want   []scope
	}{
		{nil, nil},
		{[]string{"repository:samalba/my-app:pull,push"}, []scope{{name: "samalba/my-app", actions: push}}},
		{[]string{"repository:a:pull repository:b:*"}, []scope{{name: "a", actions: pull}, {name: "b", actions: all}}},
		{[]string{"repository:a:pull", "repository:a:push,pull"}, []scope{{name: "a", actions: push}}},
		{[]string{"repository(plugin):a/b:pull"}, []scope{{name: "a/b", actions: pull}}},
		{[]string{"registry:catalog:*"}, []scope{{catalog: true, actions: []access.Action{"catalog"}}}},
		{[]string{"", " ", "repository", "repository:", "repository:a", "repository:a:", "repository::pull", "repository:A:pull", "repository:a:fly",
			"repository:a/../b:pull", "registry:other:*", "REPOSITORY:a:pull", "repository:host:5000/a:pull"}, nil},
	} {
		got, err := parseScopes(tc.params)
		if err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%q: %+v, %v", tc.params, got, err)
		}
	}
}

func FuzzParseScopes(f *testing.F) {
	f.Add("repository:a/b:pull,push")
	f.Add("registry:catalog:* repository(x):a:*")
	f.Add("repository:a:b:c:pull")
	f.Fuzz(func(t *testing.T, text string) {
		scopes, err := parseScopes([]string{text})
		if err != nil {
			return
		}
		for _, s := range scopes {
			if s.catalog == oci.ValidRepository(s.name) || len(s.actions) == 0 || len(s.actions) > 3 || !strings.Contains(text, s.name) {
				t.Errorf("%q: %+v", text, s)
			}
		}
	})
}
