package stack_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// TestExplainOwnPull has somebody who may only pull, and somebody who may not even that, ask about pulls of their own: they are told
// what the pull would tell them, what to do about it, and nothing of what they may not know.
func TestExplainOwnPull(t *testing.T) {
	t.Parallel()
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	s := stack.Start(t, stack.Options{Users: []string{"ann", "carol", "dora"}})
	s.Apply(t, fmt.Sprintf(`groups: [{name: a, grants: [{user: ann, role: developer}, {user: carol, role: reader, path: hub}],
  upstreams: [{name: own, local: a}, {name: far, url: %q}],
  registries: [{name: hub, members: [{upstream: own}, {upstream: far}], rules: [{deny: "library/bad*"}]}]}]`, u.URL()))
	u.Put("library/app", []string{"1"}, registrytest.RandomImage(1, 1, 100))
	s.As(t, "ann").Push(t, "a/secret/app", []string{"1"}, registrytest.RandomImage(2, 1, 100))
	tokens := map[string]string{"carol": s.NewToken(t, "carol"), "dora": s.NewToken(t, "dora")}
	ask := func(who, image string, probe bool) string {
		t.Helper()
		status, text := asked(t, s, tokens[who], "POST", "/explain", fmt.Sprintf(`{"image": %q, "probe": %v}`, image, probe), "")
		if status != 200 || strings.Contains(text, `"member"`) || strings.Contains(text, `"held"`) {
			t.Errorf("%s, %s: %d %s", who, image, status, text)
		}
		return text
	}
	want := func(text string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(text, part) {
				t.Errorf("%s lacks %s", text, part)
			}
		}
	}
	host := strings.TrimPrefix(s.URL, "http://")
	want(ask("dora", "a/hub/library/app:1", false), `"allowed":false`, `"status":403`, "weir grant set dora hub/library/app --role reader --group a")
	want(ask("dora", host+"/a/hub/library/app:1", false), `"allowed":false`, "weir grant set dora hub/library/app --role reader --group a")
	want(ask("carol", "a/hub/library/app:1", false), `"allowed":true`, `"status":0`, `"result":"undecided"`)
	want(ask("carol", "a/hub/library/app:1", true), `"status":200`)
	s.As(t, "carol").Do(t, "GET", "a/hub/library/app/manifests/1").Want(t, 200)
	want(ask("carol", "a/hub/library/app:1", false), `"status":200`)
	want(ask("carol", "a/hub/library/bad:1", false), `"status":403`, `"rule":"`, "library/bad*", "a maintainer of a")
	want(ask("carol", "a/hub/library/none:1", true), `"status":404`, "weir search")

	// What a local member keeps from her reads as what nobody has.
	for _, probe := range []bool{false, true} {
		got := strings.ReplaceAll(ask("carol", "a/hub/secret/app:1", probe), "secret/app", "never/was")
		if imagined := ask("carol", "a/hub/never/was:1", probe); withoutIDs(got) != withoutIDs(imagined) {
			t.Errorf("probe %v: what is there tells more than what is not:\n%s\n%s", probe, got, imagined)
		}
	}
	for _, as := range []string{"ann", "anonymous"} {
		if status, text := asked(t, s, tokens["carol"], "POST", "/explain", fmt.Sprintf(`{"image": "a/hub/library/app:1", "as": %q}`, as), ""); status != 403 {
			t.Errorf("a pull of %s: %d %s", as, status, text)
		}
	}
	u.Stop()
	want(ask("carol", "a/hub/library/other:1", true), `"status":503`, "connection refused", "weir upstream health")
}

// withoutIDs takes the decision's id out of an answer: each has its own.
func withoutIDs(text string) string {
	before, rest, ok := strings.Cut(text, `"decision":{"id":"`)
	if !ok {
		return text
	}
	_, after, _ := strings.Cut(rest, `"`)
	return before + after
}

// TestExplainDisabled: who is disabled may nothing, and is told so wherever one asks, also where anybody may pull.
func TestExplainDisabled(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Users: []string{"ann"}})
	s.Apply(t, `groups: [{name: a, grants: [{user: ann, role: maintainer}], hosted: [{prefix: open, anonymous_pull: true}], robots: [{name: bot, enabled: false, grants: [{role: reader}]}],
  trust_rules: [{name: ci, enabled: false, issuer: "https://ci.test", audience: w, conditions: [{claim: sub, equals: x}]}]}]`)
	s.As(t, "admin").Push(t, "a/open/app", []string{"1"}, registrytest.RandomImage(1, 1, 100))
	admin := s.NewToken(t, "admin")
	if status, text := asked(t, s, admin, "PATCH", "/users/ann", `{"enabled": false}`, ""); status != 200 {
		t.Fatal(status, text)
	}
	for who, advice := range map[string]string{
		"ann": "weir user enable ann", "a/bot": "weir robot update bot --enabled --group a", "a/ci": "weir trust-rule update ci --enabled --group a",
	} {
		_, text := asked(t, s, admin, "POST", "/explain", fmt.Sprintf(`{"image": "a/open/app:1", "as": %q}`, who), "")
		for _, part := range []string{`"allowed":false`, `"access":"` + who + ` is disabled"`, `"status":401`, advice} {
			if !strings.Contains(text, part) {
				t.Errorf("explain --as %s lacks %s: %s", who, part, text)
			}
		}
		_, text = asked(t, s, admin, "GET", "/permissions?path=a&as="+who, "", "")
		if strings.Contains(text, `"allowed":true`) || strings.Count(text, `"cause":"disabled"`) != 9 || !strings.Contains(text, who+" is disabled") {
			t.Errorf("permissions --as %s: %s", who, text)
		}
	}
}
