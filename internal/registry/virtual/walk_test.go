package virtual_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

// pull asks for a manifest and returns who answered and the error's code.
func pull(t *testing.T, r *virtual.Registry, ctx context.Context, repository, ref string) (member string, err error) {
	t.Helper()
	parsed, err := oci.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	trace := &registry.Trace{}
	_, err = r.Manifest(registry.WithTrace(ctx, trace), repository, parsed)
	return trace.Values().Member, err
}

func wantServed(t *testing.T, r *virtual.Registry, repository, ref, want string) {
	t.Helper()
	got, err := pull(t, r, t.Context(), repository, ref)
	if err != nil || got != want {
		t.Errorf("%s:%s served by %q, %v; want %q", repository, ref, got, err, want)
	}
}

func wantCode(t *testing.T, err error, code oci.Code) *oci.Error {
	t.Helper()
	e, ok := errors.AsType[*oci.Error](err)
	if !ok || e.Code != code {
		t.Fatalf("error %v, want %s", err, code)
	}
	return e
}

func TestWalkOrder(t *testing.T) {
	t.Run("the first that has it", func(t *testing.T) {
		a, b, c := newFake(), newFake().has("app", "1"), newFake().has("app", "1")
		wantServed(t, registryOf(remote("a", a), remote("b", b), remote("c", c)), "app", "1", "b")
		if len(a.asked) != 1 || len(c.asked) != 0 {
			t.Errorf("asked %v %v", a.asked, c.asked)
		}
	})
	t.Run("a lower entry wins without traffic", func(t *testing.T) {
		a, b := newFake().has("app", "1"), newFake().holds(virtual.Fresh, "app", "1")
		wantServed(t, registryOf(remote("a", a), remote("b", b)), "app", "1", "b")
		if len(a.asked) != 0 {
			t.Error("the higher member was asked")
		}
	})
	t.Run("strict precedence asks the higher member first", func(t *testing.T) {
		a, b := newFake().has("app", "1"), newFake().holds(virtual.Fresh, "app", "1")
		r := build(virtual.Options{StrictPrecedence: true, Members: []virtual.MemberConfig{remote("a", a), remote("b", b)}})
		wantServed(t, r, "app", "1", "a")
	})
	t.Run("a known absence is a fresh answer", func(t *testing.T) {
		a, b := newFake().holds(virtual.FreshAbsent, "app", "1"), newFake().holds(virtual.Fresh, "app", "1")
		r := build(virtual.Options{StrictPrecedence: true, Members: []virtual.MemberConfig{remote("a", a), remote("b", b)}})
		wantServed(t, r, "app", "1", "b")
		if len(a.asked) != 0 {
			t.Error("asked although its answer was fresh")
		}
	})
	t.Run("a digest cannot be impersonated", func(t *testing.T) {
		a, b := newFake(), newFake().holds(virtual.Fresh, "app", digest(1).String())
		a.fault = registry.Unknown
		r := build(virtual.Options{StrictPrecedence: true, Members: []virtual.MemberConfig{remote("a", a), remote("b", b)}})
		wantServed(t, r, "app", digest(1).String(), "b")
	})
	t.Run("blobs go to the member that refers to them", func(t *testing.T) {
		a, b := newFake().has("app", digest(1).String()), newFake().has("app", digest(1).String())
		b.holds(virtual.Referenced, "app", digest(1).String())
		if _, err := registryOf(remote("a", a), remote("b", b)).Blob(t.Context(), "app", digest(1), registry.Range{}); err != nil {
			t.Fatal(err)
		}
		if len(a.asked) != 0 || len(b.asked) != 1 {
			t.Errorf("asked %v %v", a.asked, b.asked)
		}
	})
	t.Run("an entry that turns out deleted", func(t *testing.T) {
		a, b := newFake().has("app", "1"), newFake().holds(virtual.Stale, "app", "1")
		b.refuse = true
		wantServed(t, registryOf(remote("a", a), remote("b", b)), "app", "1", "a")
	})
}

func TestStopOnUnknown(t *testing.T) {
	for _, fault := range []registry.Outcome{registry.Unknown, registry.Denied} {
		a, b := newFake(), newFake().has("app", "1").holds(virtual.Fresh, "app", "1")
		a.fault = fault
		stop := remote("a", a)
		stop.StopOnUnknown = true
		_, err := pull(t, registryOf(stop, remote("b", b)), t.Context(), "app", "1")
		wantCode(t, err, oci.CodeUnavailable)
		if len(b.asked) != 0 {
			t.Errorf("%v: the lower member was asked", fault)
		}
	}
}

func TestOutcomes(t *testing.T) {
	down, limited, denied, empty := newFake(), newFake(), newFake(), newFake()
	down.fault, limited.fault, limited.limited, denied.fault = registry.Unknown, registry.Unknown, true, registry.Denied
	for name, c := range map[string]struct {
		members []*fake
		code    oci.Code
		retry   time.Duration
	}{
		"absent":             {[]*fake{empty, empty}, oci.CodeManifestUnknown, 0},
		"denied":             {[]*fake{denied, empty}, oci.CodeManifestUnknown, 0},
		"limited":            {[]*fake{empty, limited}, oci.CodeTooManyRequests, 30 * time.Second},
		"limited and down":   {[]*fake{limited, down}, oci.CodeUnavailable, 30 * time.Second},
		"down":               {[]*fake{down, empty}, oci.CodeUnavailable, 5 * time.Second},
		"down, denied below": {[]*fake{down, denied}, oci.CodeUnavailable, 5 * time.Second},
		"no members":         {nil, oci.CodeNameUnknown, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var members []virtual.MemberConfig
			for i, f := range c.members {
				members = append(members, remote(string(rune('a'+i)), f))
			}
			_, err := pull(t, registryOf(members...), t.Context(), "app", "1")
			if e := wantCode(t, err, c.code); e.RetryAfter != c.retry {
				t.Errorf("retry after %v, want %v", e.RetryAfter, c.retry)
			}
		})
	}
}

func TestErrorNamesWhoWasTried(t *testing.T) {
	down, limited := newFake(), newFake()
	down.fault, limited.fault, limited.limited = registry.Unknown, registry.Unknown, true
	r := build(virtual.Options{
		Members: []virtual.MemberConfig{remote("a", down), remote("b", limited), remote("secret", newFake())},
		Visible: func(_ context.Context, member string) bool { return member != "secret" },
	})
	_, err := pull(t, r, t.Context(), "app", "1")
	e := wantCode(t, err, oci.CodeUnavailable)
	if want := "no upstream could deliver app:1: a: connection refused; b: 429 Too Many Requests"; e.Message != want {
		t.Errorf("message %q, want %q", e.Message, want)
	}
	if d := e.Detail.(virtual.ErrorDetail); len(d.Members) != 2 || d.Decision == "" {
		t.Errorf("detail %+v", d)
	}
}

func TestRequestFaultsEndTheWalk(t *testing.T) {
	a, b := newFake().has("app", digest(1).String()), newFake().has("app", digest(1).String())
	_, err := registryOf(remote("a", a), remote("b", b)).Blob(t.Context(), "app", digest(1), registry.Range{Offset: 99})
	wantCode(t, err, oci.CodeRangeInvalid)
	if len(b.asked) != 0 {
		t.Error("another member was asked")
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a, b := newFake(), newFake().has("app", "1")
	a.fault = registry.Unknown
	cancel()
	if _, err := pull(t, registryOf(remote("a", a), remote("b", b)), ctx, "app", "1"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if len(b.asked) != 0 {
		t.Error("asked on for a client that had left")
	}
}

func TestBrokenMember(t *testing.T) {
	_, err := registryOf(virtual.MemberConfig{Name: "x", Enabled: true, Member: broken{newFake()}}).Manifest(t.Context(), "app", oci.ByTag("1"))
	wantCode(t, err, oci.CodeUnavailable)
}

type broken struct{ *fake }

func (broken) Ask(context.Context, virtual.Query) virtual.Answer {
	return virtual.Answer{Outcome: registry.Found}
}

func TestWritesAreRefused(t *testing.T) {
	r := registryOf(remote("a", newFake()))
	_, err := r.StartUpload(t.Context(), "payments/api")
	if e := wantCode(t, err, oci.CodeUnsupported); !strings.Contains(e.Message, "acme/payments/api") {
		t.Errorf("message %q does not say where to push", e.Message)
	}
	_, err = r.PutManifest(t.Context(), "app", oci.ByTag("1"), registry.PutManifest{})
	wantCode(t, err, oci.CodeUnsupported)
	wantCode(t, r.DeleteBlob(t.Context(), "app", digest(1)), oci.CodeUnsupported)
	wantCode(t, r.DeleteManifest(t.Context(), "app", oci.ByTag("1")), oci.CodeUnsupported)
	_, err = r.Repositories(t.Context(), registry.Page{})
	wantCode(t, err, oci.CodeUnsupported)
}

func TestCollect(t *testing.T) {
	a, b, c := newFake().has("app", "1"), newFake(), newFake().has("app", "1")
	q := virtual.Query{Kind: virtual.KindManifest, Mode: virtual.ModeGet, Repository: "app", Reference: oci.ByTag("1")}
	got, err := registryOf(remote("a", a), remote("b", b), remote("c", c)).Collect(t.Context(), q)
	if err != nil || len(got) != 2 || got[0].Member != "a" || got[1].Member != "c" {
		t.Fatalf("collected %v, %v", got, err)
	}
	b.fault = registry.Unknown
	if got, err = registryOf(remote("a", a), remote("b", b), remote("c", c)).Collect(t.Context(), q); err != nil || len(got) != 2 {
		t.Fatalf("collected %v, %v", got, err)
	}
	stop := remote("b", b)
	stop.StopOnUnknown = true
	_, err = registryOf(remote("a", a), stop, remote("c", c)).Collect(t.Context(), q)
	wantCode(t, err, oci.CodeUnavailable)
}

type looping struct{ *fake }

func (looping) Ask(context.Context, virtual.Query) virtual.Answer {
	return virtual.Answer{Outcome: registry.Found, Tags: &registry.TagList{Tags: []string{"x1"}, More: true}}
}
