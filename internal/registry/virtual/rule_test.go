package virtual_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

// TestRules pulls "app" at 1.0, 2.0, nightly, and by the digests that those tags admitted (1, 2, 3), one nobody admitted (4), and the
// signature of the first (5), and says which get through.
func TestRules(t *testing.T) {
	refs := []string{"1.0", "2.0", "nightly", digest(1).String(), digest(2).String(), digest(3).String(), digest(4).String(), sigTag(digest(1)), digest(5).String()}
	for name, c := range map[string]struct {
		upstream, registry []virtual.Rule
		digestFirst        bool
		want               string // y or n for each of refs
	}{
		"none":                        {nil, nil, false, "yyyyyyyyy"},
		"repository denied":           {nil, []virtual.Rule{deny("ap*")}, false, "nnnnnnnnn"},
		"another repository allowed":  {nil, []virtual.Rule{allow("other")}, false, "nnnnnnnnn"},
		"repository allowed":          {nil, []virtual.Rule{allow("app")}, false, "yyyyyyyyy"},
		"allowed at one level only":   {[]virtual.Rule{allow("other")}, []virtual.Rule{allow("app")}, false, "nnnnnnnnn"},
		"tag denied":                  {nil, []virtual.Rule{deny("*:nightly")}, false, "yynyynnyy"},
		"tag denied, digest first":    {nil, []virtual.Rule{deny("*:nightly")}, true, "yynyynyyy"},
		"tag allowed":                 {nil, []virtual.Rule{allow("*:1.*")}, false, "ynnynnnyy"},
		"tag allowed at the upstream": {[]virtual.Rule{allow("app:1.*")}, nil, false, "ynnynnnyy"},
		"other tag allowed":           {nil, []virtual.Rule{allow("*:2.*")}, false, "nynnynnnn"},
		"signatures denied":           {nil, []virtual.Rule{allow("*:1.*"), deny("*:sha256-*")}, false, "ynnynnnnn"},
		"deny wins":                   {nil, []virtual.Rule{allow("app"), deny("*:2.0")}, false, "ynyynynyy"},
		"tags of another repository":  {nil, []virtual.Rule{deny("other:*")}, false, "yyyyyyyyy"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake().has("app", refs...)
			f.admit("app", digest(1), "1.0").admit("app", digest(2), "", "2.0").admit("app", digest(3), "nightly").admit("app", digest(5), sigTag(digest(1)))
			m := remote("a", f)
			m.UpstreamRules = c.upstream
			r := build(virtual.Options{Members: []virtual.MemberConfig{m}, Rules: c.registry, AllowDigestFirst: c.digestFirst})
			for range 2 { // the second round with verdicts in memory
				var got strings.Builder
				for _, ref := range refs {
					_, err := pull(t, r, t.Context(), "app", ref)
					parsed, _ := oci.ParseReference(ref) // as pull did
					passes, trouble := r.Passes(t.Context(), "a", "app", parsed)
					if trouble != nil || passes != (err == nil) {
						t.Errorf("%s: passes is %t, %v; the pull: %v", ref, passes, trouble, err)
					}
					if err != nil {
						wantCode(t, err, oci.CodeDenied)
						got.WriteByte('n')
					} else {
						got.WriteByte('y')
					}
				}
				if got.String() != c.want {
					t.Fatalf("got %s, want %s", got.String(), c.want)
				}
			}
		})
	}
}

// TestPasses is about what TestRules does not look at: repositories as such, members that are off or lost the name, and a store that
// does not answer.
func TestPasses(t *testing.T) {
	off, claimed, second := remote("off", newFake()), remote("claimed", newFake()), hub("hub", newFake())
	off.Enabled = false
	claimed.Claims = []oci.Pattern{pat("theirs/*")}
	r := build(virtual.Options{Rules: []virtual.Rule{deny("no/*"), deny("*:2")}, Members: []virtual.MemberConfig{off, claimed, second}})
	for _, c := range []struct {
		member, repository, ref string
		want                    bool
	}{
		{"off", "app", "1", false}, {"claimed", "app", "1", true}, {"claimed", "app", "2", false}, {"claimed", "app", "", true},
		{"claimed", "no/app", "", false}, {"claimed", "theirs/app", "1", true}, {"hub", "theirs/app", "1", false},
		{"hub", "library/app", "1", true}, {"hub", "app", "1", false}, {"none", "app", "1", false},
	} {
		var ref oci.Reference
		if c.ref != "" {
			ref = oci.ByTag(c.ref)
		}
		if got, err := r.Passes(t.Context(), c.member, c.repository, ref); got != c.want || err != nil {
			t.Errorf("%+v: %t, %v", c, got, err)
		}
	}
	verdicts, err := r.Evaluate(t.Context(), "theirs/app", oci.ByTag("2"))
	if err != nil {
		t.Fatal(err)
	}
	want := []virtual.Verdict{
		{Member: "off", Repository: "theirs/app", Verdict: "off"},
		{Member: "claimed", Repository: "theirs/app", Verdict: "rule", Why: `rule deny "*:2" of registry acme/all excludes theirs/app:2`},
		{Member: "hub", Repository: "theirs/app", Verdict: "claimed", Claimed: "claimed"},
	}
	if !slices.Equal(verdicts, want) {
		t.Errorf("verdicts %+v", verdicts)
	}
}

func TestRulesUseTheMembersName(t *testing.T) {
	r := build(virtual.Options{Rules: []virtual.Rule{allow("library/*")}, Members: []virtual.MemberConfig{
		remote("a", newFake().has("alpine", "1")), hub("hub", newFake().has("library/alpine", "1")),
	}})
	wantServed(t, r, "alpine", "1", "hub")
}

func TestDeniedNamesRuleAndDecision(t *testing.T) {
	r := build(virtual.Options{Rules: []virtual.Rule{deny("*:nightly")}, Members: []virtual.MemberConfig{remote("a", newFake())}})
	_, err := pull(t, r, t.Context(), "app", "nightly")
	e := wantCode(t, err, oci.CodeDenied)
	if want := `rule deny "*:nightly" of registry acme/all excludes app:nightly (decision d1)`; e.Message != want {
		t.Errorf("message %q, want %q", e.Message, want)
	}
	only := build(virtual.Options{Rules: []virtual.Rule{allow("library/*"), allow("*:1.*")}, Members: []virtual.MemberConfig{remote("a", newFake())}})
	_, err = pull(t, only, t.Context(), "org/app", "2")
	e = wantCode(t, err, oci.CodeDenied)
	if want := `no allow rule of registry acme/all matches org/app:2; it allows: library/*, *:1.* (decision d1)`; e.Message != want {
		t.Errorf("message %q, want %q", e.Message, want)
	}
	_, err = pull(t, r, t.Context(), "app", digest(1).String())
	if e = wantCode(t, err, oci.CodeDenied); !strings.Contains(e.Message, "digest_first") {
		t.Errorf("message %q does not say what to do", e.Message)
	}
}

// TestRefusalsAreNotRemembered: an admission lifts a refusal at once.
func TestRefusalsAreNotRemembered(t *testing.T) {
	f := newFake().has("app", digest(1).String())
	r := build(virtual.Options{Rules: []virtual.Rule{allow("*:1.*")}, Members: []virtual.MemberConfig{remote("a", f)}})
	_, err := pull(t, r, t.Context(), "app", digest(1).String())
	wantCode(t, err, oci.CodeDenied)
	f.admit("app", digest(1), "1.0")
	wantServed(t, r, "app", digest(1).String(), "a")
}

// TestSelfSigned: tags that speak of the digest they name end somewhere.
func TestSelfSigned(t *testing.T) {
	f := newFake().has("app", sigTag(digest(1)))
	f.admit("app", digest(1), sigTag(digest(1)), sigTag(digest(2))).admit("app", digest(2), sigTag(digest(1)), sigTag(digest(2)))
	r := build(virtual.Options{Rules: []virtual.Rule{allow("*:1.*")}, Members: []virtual.MemberConfig{remote("a", f)}})
	_, err := pull(t, r, t.Context(), "app", sigTag(digest(1)))
	wantCode(t, err, oci.CodeDenied)
}

func TestTagsAreFilteredBeforePaging(t *testing.T) {
	f := newFake().has("app")
	var want []string
	for i := range 5000 {
		tag := fmt.Sprintf("t%05d", i)
		if i%100 == 0 {
			tag = fmt.Sprintf("v%05d", i)
			want = append(want, tag)
		}
		f.tags["app"] = append(f.tags["app"], tag)
	}
	f.tags["app"] = append(f.tags["app"], sigTag(digest(1)), sigTag(digest(2)))
	f.admit("app", digest(1), "v1")
	want = append(want, sigTag(digest(1)))
	slices.Sort(want)
	r := build(virtual.Options{Rules: []virtual.Rule{allow("*:v*")}, Members: []virtual.MemberConfig{remote("empty", newFake()), remote("a", f)}})
	for _, n := range []int{0, 1, 7, 51, 100} {
		var got []string
		for page := (registry.Page{N: n}); ; page.Last = got[len(got)-1] {
			list, err := r.Tags(t.Context(), "app", page)
			if err != nil {
				t.Fatal(err)
			}
			if list.More && n > 0 && len(list.Tags) != n {
				t.Fatalf("a short page of %d", len(list.Tags))
			}
			if got = append(got, list.Tags...); !list.More {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("n=%d: got %v", n, got)
		}
	}
	f.fault = registry.Unknown
	_, err := r.Tags(t.Context(), "app", registry.Page{N: 100})
	wantCode(t, err, oci.CodeUnavailable)
}

// TestPagingThatDoesNotEnd guards against a member that repeats itself.
func TestPagingThatDoesNotEnd(t *testing.T) {
	f := newFake().has("app")
	r := build(virtual.Options{Rules: []virtual.Rule{deny("*:x*")}, Members: []virtual.MemberConfig{{Name: "a", Enabled: true, Member: looping{f}}}})
	_, err := r.Tags(t.Context(), "app", registry.Page{N: 10})
	wantCode(t, err, oci.CodeUnavailable)
}
