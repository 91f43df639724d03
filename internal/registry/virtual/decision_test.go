package virtual_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

// TestDecisionJSON pins the form that explain and audit show.
func TestDecisionJSON(t *testing.T) {
	down := newFake()
	down.fault = registry.Unknown
	claimed := remote("private", newFake())
	claimed.Claims = []oci.Pattern{pat("payments/*")}
	blocked := remote("blocked", newFake())
	blocked.UpstreamRules = []virtual.Rule{deny("*:1")}
	off := remote("off", newFake())
	off.Enabled = false
	held := newFake().holds(virtual.Stale, "library/app", "1")
	held.fault = registry.Unknown
	r := build(virtual.Options{Generation: 7, StrictPrecedence: true, Members: []virtual.MemberConfig{off, blocked, remote("down", newFake()), hub("hub", held), claimed}})
	d := r.Explain(t.Context(), virtual.Request{Repository: "app", Reference: oci.ByTag("1"), Probe: true})
	got, err := json.MarshalIndent(d, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
 "id": "d1",
 "group": "acme",
 "registry": "all",
 "generation": 7,
 "kind": "manifest",
 "repository": "app",
 "reference": "1",
 "members": [
  {
   "member": "off",
   "repository": "app",
   "verdict": "off"
  },
  {
   "member": "blocked",
   "repository": "app",
   "verdict": "rule",
   "rule": "rule deny \"*:1\" of upstream blocked"
  },
  {
   "member": "down",
   "repository": "app",
   "verdict": "may_answer",
   "held": "nothing",
   "held_age_seconds": 60,
   "order": 1,
   "answer": "absent",
   "status": 404
  },
  {
   "member": "hub",
   "repository": "library/app",
   "verdict": "may_answer",
   "held": "stale",
   "held_age_seconds": 60,
   "order": 2,
   "answer": "found",
   "cache": "stale",
   "age_seconds": 60
  },
  {
   "member": "private",
   "repository": "app",
   "verdict": "may_answer"
  }
 ],
 "result": "found",
 "status": 200,
 "member": "hub",
 "cache": "stale",
 "age_seconds": 60
}`
	if string(got) != want {
		t.Errorf("got %s", got)
	}
}

func TestTrace(t *testing.T) {
	f := newFake().has("app", "1").holds(virtual.Fresh, "app", "2")
	r := registryOf(remote("a", f))
	for ref, whole := range map[string]bool{"1": true, "2": false, "3": true} {
		trace := &registry.Trace{}
		_, _ = r.StatManifest(registry.WithTrace(t.Context(), trace), "app", oci.ByTag(ref))
		v := trace.Values()
		if v.DecisionID == "" || v.Registry != "all" || v.Group != "acme" || v.Repository != "app" || (v.Decision != nil) != whole {
			t.Errorf("%s: %+v", ref, v)
		}
		if ref == "2" && (v.Member != "a" || v.Cache != registry.CacheHit || v.Age != time.Minute) {
			t.Errorf("%s: %+v", ref, v)
		}
	}
}

func TestPlan(t *testing.T) {
	a, b, c := newFake(), newFake().holds(virtual.FreshAbsent, "app", "1"), newFake()
	r := registryOf(remote("a", a), remote("b", b), remote("c", c))
	d := r.Explain(t.Context(), virtual.Request{Repository: "app", Reference: oci.ByTag("1")})
	if d.Result != virtual.ResultUndecided || d.Members[0].Would != "ask" || d.Members[0].Order != 1 || d.Members[1].Order != 0 || d.Members[2].Order != 2 {
		t.Errorf("%+v", d)
	}
	c.holds(virtual.Stale, "app", "1")
	d = r.Explain(t.Context(), virtual.Request{Repository: "app", Reference: oci.ByTag("1")})
	if d.Result != virtual.ResultUndecided || d.Members[0].Order != 0 || d.Members[2].Would != "revalidate" || d.Member != "c" {
		t.Errorf("%+v", d)
	}
}

func TestRefresh(t *testing.T) {
	a, b := newFake().holds(virtual.FreshAbsent, "app", "2"), newFake().holds(virtual.Fresh, "app", "1").has("app", "2")
	r := registryOf(remote("a", a), remote("b", b))
	d, err := r.Refresh(t.Context(), "app", oci.ByTag("1"))
	if err != nil || d.Member != "b" || len(a.asked) != 0 || !b.asked[0].Refresh {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err = r.Refresh(t.Context(), "app", oci.ByTag("2")); err != nil || len(a.asked) != 1 {
		t.Errorf("a remembered absence was taken for an answer: %v, %v", a.asked, err)
	}
}

// FuzzNarrowing: whatever name and host a client sends, a member gets a valid name that is the end of what was asked for, and
// a name of a host never reaches a member that does not serve it.
func FuzzNarrowing(f *testing.F) {
	f.Add("ghcr.io/org/img", "")
	f.Add("docker.io/alpine", "index.docker.io:443")
	f.Add("localhost/x", "localhost")
	f.Fuzz(func(t *testing.T, name, ns string) {
		if !oci.ValidRepository(name) {
			return
		}
		dockerhub, ghcr := newFake(), newFake()
		g := remote("ghcr", ghcr)
		g.Hosts = []string{"ghcr.io"}
		_, err := pull(t, registryOf(hub("hub", dockerhub), g), virtual.WithNS(t.Context(), ns), name, "1")
		if err == nil {
			t.Fatal("found something in nothing")
		}
		for _, member := range []*fake{dockerhub, ghcr} {
			for _, q := range member.asked {
				if !oci.ValidRepository(q.Repository) || !strings.HasSuffix(name, strings.TrimPrefix(q.Repository, "library/")) {
					t.Errorf("%q became %q", name, q.Repository)
				}
			}
		}
		if strings.HasPrefix(name, "ghcr.io/") && len(dockerhub.asked) > 0 || strings.HasPrefix(name, "docker.io/") && len(ghcr.asked) > 0 {
			t.Errorf("%q was asked at the wrong host", name)
		}
	})
}

// BenchmarkHit is the resolver's share of a fresh hit under tag rules, by digest, with seven members.
func BenchmarkHit(b *testing.B) {
	opt := virtual.Options{Rules: []virtual.Rule{allow("*:1.*")}, Group: "acme", Name: "all"}
	f := newFake().holds(virtual.Fresh, "app", digest(1).String()).admit("app", digest(1), "1.0")
	opt.Members = append(opt.Members, remote("first", f))
	for range 6 {
		opt.Members = append(opt.Members, remote("more", newFake()))
	}
	r, d := virtual.New(opt), digest(1)
	ctx := registry.WithTrace(b.Context(), &registry.Trace{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.StatBlob(ctx, "app", d); err != nil {
			b.Fatal(err)
		}
		f.asked = f.asked[:0]
	}
}
