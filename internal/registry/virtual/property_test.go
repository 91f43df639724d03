package virtual_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"pgregory.net/rapid"
)

// rounds of rapid's hundred configurations, each with several requests.
const rounds = 30

var (
	repositories = []string{"alpine", "library/alpine", "payments/api", "org/img", "team.app/web", "ghcr.io/org/img", "quay.io/org/img", "docker.io/alpine"}
	stored       = []string{"alpine", "library/alpine", "payments/api", "org/img", "team.app/web", "quay.io/org/img"}
	tags         = []string{"1.0", "1.1", "nightly", sigTag(digest(0))}
	patterns     = []string{"*", "library/*", "payments/*", "org/img", "alpine", "*:1.*", "*:nightly", "library/*:1.?", "payments/api:nightly", "*:sha256-*"}
	claims       = []string{"payments/*", "library/*", "alpine", "team.app/*", "*"}
)

// often draws true about once in n.
func often(t *rapid.T, label string, n int) bool { return rapid.IntRange(1, n).Draw(t, label) == n }

func drawRules(t *rapid.T, label string) []virtual.Rule {
	if !often(t, label+" any", 3) {
		return nil
	}
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) virtual.Rule {
		return virtual.Rule{Allow: rapid.Bool().Draw(t, "allow"), Pattern: pat(rapid.SampledFrom(patterns).Draw(t, "pattern"))}
	}), 1, 2).Draw(t, label)
}

func drawFake(t *rapid.T, isLocal bool) *fake {
	f := newFake()
	f.local = isLocal
	refs := append(slices.Clone(tags), digest(0).String(), digest(1).String(), digest(2).String())
	for _, name := range stored {
		f.login[name] = isLocal && often(t, "login", 3)
		if !often(t, "has "+name, 2) {
			continue
		}
		f.has(name)
		f.forbidden[name] = isLocal && often(t, "forbidden", 4)
		for _, ref := range refs {
			if rapid.Bool().Draw(t, "has") {
				f.has(name, ref)
			}
		}
		for n := range 3 {
			f.admit(name, digest(n), rapid.SliceOfN(rapid.SampledFrom([]string{"", "1.0", "nightly"}), 0, 2).Draw(t, "tags")...)
		}
		if often(t, "signature", 3) {
			f.admit(name, digest(2), sigTag(digest(0)))
		}
	}
	if isLocal {
		return f
	}
	for _, name := range stored {
		for _, ref := range refs {
			states := []virtual.State{virtual.Nothing, virtual.Nothing, virtual.Nothing, virtual.Fresh, virtual.Stale, virtual.FreshAbsent, virtual.Referenced}
			f.held[name+"|"+ref] = rapid.SampledFrom(states).Draw(t, "held")
		}
	}
	f.refuse, f.limited = rapid.Bool().Draw(t, "refuse"), rapid.Bool().Draw(t, "limited")
	f.fault = rapid.SampledFrom([]registry.Outcome{0, 0, registry.Unknown, registry.Denied}).Draw(t, "fault")
	f.absentAs = rapid.SampledFrom([]registry.Outcome{registry.Absent, registry.Denied}).Draw(t, "absent as")
	return f
}

func drawWorld(t *rapid.T) *world {
	w := &world{opt: virtual.Options{
		AllowDigestFirst: often(t, "digest first", 3), StrictPrecedence: often(t, "strict", 4), Rules: drawRules(t, "rules"),
	}}
	for i := range rapid.IntRange(0, 4).Draw(t, "members") {
		m := virtual.MemberConfig{Name: fmt.Sprint("m", i), Enabled: !often(t, "off", 6), Local: often(t, "local", 3)}
		m.Hub = !m.Local && often(t, "hub", 3)
		if !m.Local && often(t, "ghcr", 3) {
			m.Hosts = []string{"ghcr.io"}
		}
		if often(t, "claims", 5) {
			m.Claims = []oci.Pattern{pat(rapid.SampledFrom(claims).Draw(t, "claim"))}
		}
		m.UpstreamRules, m.Rules = drawRules(t, "upstream rules"), drawRules(t, "member rules")
		m.StopOnUnknown = !m.Local && often(t, "stop", 4)
		f := drawFake(t, m.Local)
		m.Member = f
		w.fakes, w.opt.Members = append(w.fakes, f), append(w.opt.Members, m)
	}
	return w
}

func (w *world) drawRequest(t *rapid.T) {
	w.name = rapid.SampledFrom(repositories).Draw(t, "repository")
	w.ns = rapid.SampledFrom([]string{"", "", "", "docker.io", "ghcr.io", "quay.io"}).Draw(t, "ns")
	w.ref, w.blob = oci.ByTag(rapid.SampledFrom(tags).Draw(t, "tag")), false
	if rapid.Bool().Draw(t, "by digest") {
		w.ref, w.blob = oci.ByDigest(digest(rapid.IntRange(0, 2).Draw(t, "digest"))), rapid.Bool().Draw(t, "blob")
	}
}

func (w *world) request(probe bool) virtual.Request {
	kind := virtual.KindManifest
	if w.blob {
		kind = virtual.KindBlob
	}
	return virtual.Request{Kind: kind, Repository: w.name, Reference: w.ref, Probe: probe}
}

// pull is the real request; it returns the decision it left on the trace.
func (w *world) pull(ctx context.Context, r *virtual.Registry) (virtual.Decision, error) {
	trace := &registry.Trace{}
	ctx = registry.WithTrace(ctx, trace)
	var err error
	if w.blob {
		_, err = r.Blob(ctx, w.name, w.ref.Digest, registry.Range{})
	} else {
		_, err = r.Manifest(ctx, w.name, w.ref)
	}
	v := trace.Values()
	d, ok := v.Decision.(virtual.Decision)
	if !ok { // a hit
		d = virtual.Decision{Result: virtual.ResultFound, Status: 200, Member: v.Member, Cache: v.Cache}
	}
	return d, err
}

// asks returns who was asked since the last call, in order.
func (w *world) asks(d virtual.Decision) []string {
	names := make([]string, 0, len(d.Members))
	for n := 1; n <= len(d.Members); n++ {
		for _, m := range d.Members {
			if m.Order == n {
				names = append(names, m.Member)
			}
		}
	}
	return names
}

// TestResolution checks, over thousands of random configurations, that the resolver does what the design says, that a
// probe changes nothing and agrees with the real pull, and that a plan asks nobody and starts as the pull does.
func TestResolution(t *testing.T) {
	for round := range rounds {
		t.Run(fmt.Sprint(round), rapid.MakeCheck(func(t *rapid.T) {
			w := drawWorld(t)
			r := build(w.opt)
			for range 4 {
				w.drawRequest(t)
				w.check(t, r)
			}
		}))
	}
}

func (w *world) check(t *rapid.T, r *virtual.Registry) {
	ctx := virtual.WithNS(context.Background(), w.ns)
	want := w.expect()
	plan := r.Explain(ctx, w.request(false))
	for i, f := range w.fakes {
		if len(f.asked) > 0 {
			t.Fatalf("a plan asked m%d", i)
		}
	}
	probe := r.Explain(ctx, w.request(true))
	if probe.Result != want.result || probe.Member != want.member || !slices.Equal(w.asks(probe), want.asked) {
		t.Fatalf("ns=%s %s %s:\n got %s by %q asking %v\nwant %s by %q asking %v\n%+v", w.ns, w.name, w.ref, probe.Result, probe.Member, w.asks(probe),
			want.result, want.member, want.asked, probe)
	}
	probed := 0
	for i, f := range w.fakes {
		probed += len(f.asked)
		if f.writes > 0 {
			t.Fatalf("a probe wrote to m%d", i)
		}
		f.asked = nil
	}
	pull, err := w.pull(ctx, r)
	if pull.Result != probe.Result || pull.Status != probe.Status || pull.Member != probe.Member || (err == nil) != (pull.Status == 200) {
		t.Fatalf("the probe says %+v, the pull %+v, %v", probe, pull, err)
	}
	pulled := 0
	for _, f := range w.fakes {
		pulled += len(f.asked)
		f.asked, f.writes = nil, 0
	}
	if pulled != probed {
		t.Fatalf("the probe asked %d, the pull %d", probed, pulled)
	}
	w.checkPlan(t, plan, probe)
}

func (w *world) checkPlan(t *rapid.T, plan, probe virtual.Decision) {
	if plan.Result != virtual.ResultUndecided {
		if plan.Result != probe.Result || plan.Member != probe.Member || plan.Status != probe.Status {
			t.Fatalf("the plan says %+v, the probe %+v", plan, probe)
		}
		return
	}
	planned, asked := w.asks(plan), w.asks(probe)
	if len(asked) == 0 || planned[0] != asked[0] {
		t.Fatalf("the plan would ask %v, the probe asked %v", planned, asked)
	}
}
