package plan

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-registry/weir/internal/plan/desired"
)

// Whatever is declared: checking ends with a verdict, the normal form is stable, and what equals itself is no difference.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{
		`{}`,
		`{"name": "a", "upstreams": [{"name": "u", "url": "https://[::1]:5000/x", "timeout": "1m", "freshness": {"default": "always"}}]}`,
		`{"name": "a", "upstreams": [{"name": "u", "local": "a/b/c"}], "registries": [{"name": "b", "members": [{"upstream": "u", "claims": ["*:x"]}]}]}`,
		`{"name": "a", "roles": [{"name": "r", "actions": ["push", "pull", "pull"]}], "robots": [{"name": "b", "grants": [{"path": "x/", "role": "r"}, {"role": "reader"}]}]}`,
		`{"name": "a", "trust_rules": [{"name": "t", "issuer": "https://i.test", "audience": "w", "conditions": [{"claim": "c", "equals": "v"}], "lifetime_seconds": 9223372036854775807}]}`,
		`{"name": "a", "host_bindings": [{"host": "h:", "registry": "", "networks": ["::/0"]}], "hosted": [{"prefix": "/"}]}`,
		`{"name": "a", "credentials": [{"hosts": ["%zz", "[::1%25lo]:1", "a:99999"]}], "grants": [{"path": "../x"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var g desired.Group
		if json.Unmarshal(text, &g) != nil {
			return
		}
		g.Normalize()
		before, _ := json.Marshal(g)
		g.Normalize()
		after, _ := json.Marshal(g)
		if diff := cmp.Diff(string(before), string(after)); diff != "" {
			t.Errorf("the normal form is not stable:\n%s", diff)
		}
		c := &checker{maxMembers: DefaultMaxMembers}
		c.declared(g)
		now := desired.Group{Name: g.Name, Enabled: g.Enabled}
		want := lay(now, g, true)
		c.group(want)
		if len(c.problems) > 0 {
			return
		}
		if changes := difference(&target{now: want, want: lay(want, g, true)}, true, nil); len(changes) > 0 {
			t.Errorf("a declaration differs from itself: %s", (&Plan{Changes: changes}).Text())
		}
	})
}
