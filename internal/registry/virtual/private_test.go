package virtual_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

func TestClaims(t *testing.T) {
	private, public := newFake(), newFake().has("payments/api", "1").has("library/payments", "1")
	owner := remote("private", private)
	owner.Claims = []oci.Pattern{pat("payments/*")}
	for name, member := range map[string]virtual.MemberConfig{
		"on":                owner,
		"off":               {Name: "private", Member: private, Claims: owner.Claims},
		"off and not built": {Name: "private", Claims: owner.Claims},
	} {
		t.Run(name, func(t *testing.T) {
			r := registryOf(hub("hub", public), member)
			_, err := pull(t, r, t.Context(), "payments/api", "1")
			wantCode(t, err, oci.CodeManifestUnknown)
			_, err = pull(t, r, virtual.WithNS(t.Context(), "docker.io"), "payments/api", "1")
			wantCode(t, err, oci.CodeManifestUnknown)
			if _, err = pull(t, r, t.Context(), "docker.io/payments/api", "1"); err == nil {
				t.Error("host in path got around the claim")
			}
			if len(public.asked) != 0 {
				t.Errorf("a private name travelled on: %v", public.asked)
			}
			wantServed(t, r, "payments", "1", "hub") // the Hub's library/payments is another name
			public.asked = nil
		})
	}
}

func TestExistingRepositoryIsClaimed(t *testing.T) {
	mine, public := newFake().has("app", "1"), newFake().has("library/app", "2")
	r := registryOf(hub("hub", public), local("mine", mine))
	wantServed(t, r, "app", "1", "mine")
	_, err := pull(t, r, t.Context(), "app", "2")
	wantCode(t, err, oci.CodeManifestUnknown)
	if len(public.asked) != 0 {
		t.Error("a private name travelled on")
	}
	mine.peekErr = errors.New("disk")
	_, err = pull(t, r, t.Context(), "app", "2")
	wantCode(t, err, oci.CodeUnavailable)
	if err == nil || !strings.Contains(err.Error(), "own database does not answer") || strings.Contains(err.Error(), "no upstream") {
		t.Errorf("who is to blame: %v", err)
	}
	if len(public.asked) != 0 {
		t.Error("a name travelled on although its owner could not be told")
	}
}

// TestForbiddenLooksLikeNobody compares, to the byte, the answer for a forbidden name and for one that does not exist.
func TestForbiddenLooksLikeNobody(t *testing.T) {
	for name, opt := range map[string]virtual.Options{
		"plain":              {},
		"denied by tag":      {Rules: []virtual.Rule{deny("*:1")}},
		"allowed by tag":     {Rules: []virtual.Rule{allow("*:1")}},
		"digest first":       {Rules: []virtual.Rule{allow("*:1")}, AllowDigestFirst: true},
		"denied altogether":  {Rules: []virtual.Rule{deny("*")}},
		"another repository": {Rules: []virtual.Rule{allow("other/*")}},
	} {
		for _, ref := range []string{"1", digest(1).String()} {
			for _, enabled := range []bool{true, false} {
				ask := func(exists bool) *oci.Error {
					mine := newFake()
					if exists {
						mine.has("app", "1", digest(1).String()).admit("app", digest(1), "1")
						mine.forbidden["app"] = true
					}
					opt := opt
					opt.Members = []virtual.MemberConfig{local("mine", mine), hub("hub", newFake())}
					opt.Members[0].Enabled = enabled
					_, err := pull(t, build(opt), t.Context(), "app", ref)
					e, ok := errors.AsType[*oci.Error](err)
					if !ok {
						t.Fatalf("error %v", err)
					}
					return e
				}
				got, want := ask(true), ask(false)
				if got.Code != want.Code || got.Message != want.Message || got.Detail != nil != (want.Detail != nil) {
					t.Errorf("%s, %s: %v, but for nobody's name %v", name, ref, got, want)
				}
			}
		}
	}
}

// TestHiddenIsShownAsSuch: a decision, which only who configures the registry sees, does not call absent what is forbidden.
func TestHiddenIsShownAsSuch(t *testing.T) {
	mine := newFake().has("app", "1")
	mine.forbidden["app"] = true
	r := registryOf(local("mine", mine), hub("hub", newFake()))
	d := r.Explain(t.Context(), virtual.Request{Repository: "app", Reference: oci.ByTag("1")})
	if d.Members[0].Held != "hidden" {
		t.Errorf("held: %q", d.Members[0].Held)
	}
}

// TestLogin: a caller who is not logged in is asked to, whether or not the name exists, and only where it could help.
func TestLogin(t *testing.T) {
	ask := func(exists bool, ref string, opt virtual.Options, change func(mine, public *fake, m []virtual.MemberConfig)) error {
		mine, public := newFake(), newFake()
		mine.login["app"] = true
		if exists {
			mine.has("app", "1", digest(1).String()).admit("app", digest(1), "1")
		}
		opt.Members = []virtual.MemberConfig{local("mine", mine), remote("public", public)}
		change(mine, public, opt.Members)
		_, err := pull(t, build(opt), t.Context(), "app", ref)
		return err
	}
	keep := func(_, _ *fake, _ []virtual.MemberConfig) {}
	tagRules := virtual.Options{Rules: []virtual.Rule{allow("*:1")}}
	for name, c := range map[string]struct {
		ref    string
		opt    virtual.Options
		change func(mine, public *fake, m []virtual.MemberConfig)
		want   oci.Code
	}{
		"by tag":                   {"1", virtual.Options{}, keep, oci.CodeUnauthorized},
		"by digest":                {digest(1).String(), virtual.Options{}, keep, oci.CodeUnauthorized},
		"by digest, with a rule":   {digest(1).String(), tagRules, keep, oci.CodeUnauthorized},
		"a tag that nobody may":    {"2", tagRules, keep, oci.CodeDenied},
		"logged in":                {"1", virtual.Options{}, func(mine, _ *fake, _ []virtual.MemberConfig) { mine.login, mine.forbidden = nil, mine.login }, oci.CodeManifestUnknown},
		"member off":               {"1", virtual.Options{}, func(_, _ *fake, m []virtual.MemberConfig) { m[0].Enabled = false }, oci.CodeManifestUnknown},
		"claimed by the other one": {"1", virtual.Options{}, func(_, _ *fake, m []virtual.MemberConfig) { m[1].Claims = []oci.Pattern{pat("app")} }, oci.CodeManifestUnknown},
	} {
		there, not := ask(true, c.ref, c.opt, c.change), ask(false, c.ref, c.opt, c.change)
		wantCode(t, there, c.want)
		if there == nil || not == nil || there.Error() != not.Error() {
			t.Errorf("%s: %v, but for nobody's name %v", name, there, not)
		}
	}
	if err := ask(false, "1", virtual.Options{}, func(_, public *fake, _ []virtual.MemberConfig) { public.has("app", "1") }); err != nil {
		t.Errorf("what another member has: %v", err)
	}
	err := ask(false, "1", virtual.Options{}, func(_, public *fake, _ []virtual.MemberConfig) { public.fault = registry.Unknown })
	wantCode(t, err, oci.CodeUnavailable)
}

// TestHeadOfAnUnadmittedBlob: clients that push look first and give up at a 403, so they must hear of the upload what is wrong.
func TestHeadOfAnUnadmittedBlob(t *testing.T) {
	r := build(virtual.Options{Rules: []virtual.Rule{allow("app:1"), deny("out")}, Members: []virtual.MemberConfig{remote("a", newFake())}})
	_, err := r.StatBlob(t.Context(), "app", digest(1))
	wantCode(t, err, oci.CodeBlobUnknown)
	_, err = r.Blob(t.Context(), "app", digest(1), registry.Range{})
	wantCode(t, err, oci.CodeDenied)
	_, err = r.StatManifest(t.Context(), "app", oci.ByDigest(digest(1)))
	wantCode(t, err, oci.CodeDenied)
	_, err = r.StatBlob(t.Context(), "out", digest(1))
	wantCode(t, err, oci.CodeDenied)
}

func TestNarrowing(t *testing.T) {
	dockerhub, ghcr, mine := newFake().has("library/alpine", "1").has("org/img", "1"), newFake().has("org/img", "1").has("alpine", "1"), newFake()
	mine.has("quay.io/team/tool", "1").has("team.app/web", "1")
	g := remote("ghcr", ghcr)
	g.Hosts = []string{"GHCR.io"}
	r := registryOf(hub("hub", dockerhub), g, local("mine", mine))
	for _, c := range []struct{ ns, repository, served string }{
		{"", "alpine", "hub"},
		{"docker.io", "alpine", "hub"},
		{"index.docker.io", "library/alpine", "hub"},
		{"registry-1.docker.io:443", "alpine", "hub"},
		{"ghcr.io", "alpine", "ghcr"},
		{"ghcr.io", "org/img", "ghcr"},
		{"", "ghcr.io/org/img", "ghcr"},
		{"ghcr.io", "ghcr.io/org/img", "ghcr"},
		{"", "docker.io/alpine", "hub"},
		{"", "quay.io/team/tool", "mine"}, // nobody serves quay.io, but a local member has the name
		{"", "team.app/web", "mine"},
		{"docker.io", "ghcr.io/org/img", ""},
		{"quay.io", "alpine", ""},
		{"", "quay.io/org/img", ""},
		{"", "123.dkr.ecr.eu-west-1.amazonaws.com/org/img", ""},
		{"", "ghcr.io", ""},
	} {
		dockerhub.asked = nil
		got, err := pull(t, r, virtual.WithNS(t.Context(), c.ns), c.repository, "1")
		if got != c.served || (err == nil) != (c.served != "") {
			t.Errorf("ns=%s %s: served by %q, %v; want %q", c.ns, c.repository, got, err, c.served)
		}
		if c.served == "" && len(dockerhub.asked) > 0 && c.repository != "ghcr.io" {
			t.Errorf("ns=%s %s: the Hub was asked %v", c.ns, c.repository, dockerhub.asked)
		}
	}
	_, err := pull(t, r, virtual.WithNS(t.Context(), "quay.io"), "alpine", "1")
	wantCode(t, err, oci.CodeNameUnknown)
}

func TestTurnedOff(t *testing.T) {
	off := remote("a", newFake().has("app", "1"))
	off.Enabled = false
	_, err := pull(t, registryOf(off), t.Context(), "app", "1")
	wantCode(t, err, oci.CodeNameUnknown)
	wantServed(t, registryOf(off, remote("b", newFake().has("app", "1"))), "app", "1", "b")
}

func TestReferrersOfNobody(t *testing.T) {
	list, err := registryOf(remote("a", newFake())).Referrers(t.Context(), "app", digest(1), "")
	if err != nil || list == nil || len(list.Manifests) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	down := newFake()
	down.fault = registry.Unknown
	_, err = registryOf(remote("a", down)).Referrers(t.Context(), "app", digest(1), "")
	wantCode(t, err, oci.CodeUnavailable)
}

// TestNarrow: the narrowed registry is the registry with WithNS on every call.
func TestNarrow(t *testing.T) {
	g := remote("ghcr", newFake().has("org/img", "1", digest(1).String()))
	g.Hosts = []string{"ghcr.io"}
	r, ctx := registryOf(hub("hub", newFake().has("org/img", "1")), g), t.Context()
	for host, want := range map[string]oci.Code{"ghcr.io": "", "quay.io": oci.CodeNameUnknown} {
		n := r.Narrow(host)
		_, err1 := n.Manifest(ctx, "org/img", oci.ByTag("1"))
		_, err2 := n.StatManifest(ctx, "org/img", oci.ByTag("1"))
		_, err3 := n.Blob(ctx, "org/img", digest(1), registry.Range{})
		_, err4 := n.StatBlob(ctx, "org/img", digest(1))
		_, err5 := n.Tags(ctx, "org/img", registry.Page{})
		_, err6 := n.Referrers(ctx, "org/img", digest(1), "")
		for i, err := range []error{err1, err2, err3, err4, err5, err6} {
			if oci.ErrorCode(err) != want || (err == nil) != (want == "") {
				t.Errorf("%s, call %d: %v", host, i+1, err)
			}
		}
	}
}
