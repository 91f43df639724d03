package guard_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/guard"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

func allow(context.Context, guard.Action, string) error { return nil }

func refuse(context.Context, guard.Action, string) error {
	return oci.NewError(oci.CodeDenied, "no")
}

func TestAllowedIsTransparent(t *testing.T) {
	all := registrytest.Options{Push: true, Delete: true, Tags: true, Catalog: true, Referrers: true}
	registrytest.Run(t, all, func(t *testing.T, fixture registrytest.Fixture) registry.Registry {
		r := guard.New(registrytest.NewMemory(), allow)
		fixture.PushTo(t, r)
		return r
	})
}

func TestRefusedIsForbiddenEverywhere(t *testing.T) {
	memory := registrytest.NewMemory()
	image := registrytest.RandomImage(1, 1, 10)
	registrytest.Push(t, memory, "a", []string{"t"}, image)
	r, ctx, d := guard.New(memory, refuse), t.Context(), image.Manifest.Digest
	_, e1 := r.Manifest(ctx, "a", oci.ByTag("t"))
	_, e2 := r.StatManifest(ctx, "a", oci.ByTag("t"))
	_, e3 := r.Blob(ctx, "a", image.Blobs[0].Digest, registry.Range{})
	_, e4 := r.StatBlob(ctx, "a", image.Blobs[0].Digest)
	_, e5 := r.PutManifest(ctx, "a", oci.ByTag("t"), registry.PutManifest{MediaType: image.Manifest.MediaType, Payload: image.Manifest.Payload})
	_, e6 := r.MountBlob(ctx, "b", "a", image.Blobs[0].Digest)
	_, e7 := r.StartUpload(ctx, "a")
	_, e8 := r.ResumeUpload(ctx, "a", "x")
	_, e9 := r.Tags(ctx, "a", registry.Page{})
	_, e10 := r.Repositories(ctx, registry.Page{})
	_, e11 := r.Referrers(ctx, "a", d, "")
	for i, err := range []error{e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, r.DeleteManifest(ctx, "a", oci.ByTag("t")), r.DeleteBlob(ctx, "a", d)} {
		if err == nil || registry.AsOutcome(err).Outcome != registry.Forbidden {
			t.Errorf("call %d: %v, want forbidden", i+1, err)
		}
	}
}

// local is a local member that holds "private" only.
type local struct{ asked []string }

func (l *local) Peek(_ context.Context, q virtual.Query) (virtual.Peek, error) {
	if q.Repository == "private" {
		return virtual.Peek{State: virtual.Fresh, Exists: true, Covered: true}, nil
	}
	return virtual.Peek{State: virtual.FreshAbsent, Covered: q.Repository == "other", Answer: registry.Absent}, nil
}

func (l *local) Ask(_ context.Context, q virtual.Query) virtual.Answer {
	l.asked = append(l.asked, q.Repository)
	return virtual.Answer{Outcome: registry.Found}
}

func (l *local) Admissions(context.Context, string, oci.Digest) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) { yield("t", nil) }
}

func TestMember(t *testing.T) {
	unreachable := errors.New("grants cannot be read")
	for _, c := range []struct {
		name, repository string
		check            guard.Check
		want             registry.Outcome
		asked            int
		admitted         int
	}{
		{"allowed", "private", allow, registry.Found, 1, 1},
		{"refused and there", "private", refuse, registry.Forbidden, 0, 0},
		{"refused and not there", "other", refuse, registry.Absent, 0, 0},
		{"not known", "private", func(context.Context, guard.Action, string) error { return unreachable }, registry.Unknown, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			inner := &local{}
			m := guard.NewMember(inner, c.check)
			q := virtual.Query{Kind: virtual.KindManifest, Mode: virtual.ModeGet, Repository: c.repository, Reference: oci.ByTag("t")}
			if a := m.Ask(t.Context(), q); a.Outcome != c.want {
				t.Errorf("ask: %s, want %s", a.Outcome, c.want)
			}
			if len(inner.asked) != c.asked {
				t.Errorf("asked the member %d times, want %d", len(inner.asked), c.asked)
			}
			n := 0
			for range m.Admissions(t.Context(), c.repository, "sha256:00") {
				n++
			}
			if n != c.admitted {
				t.Errorf("%d admissions, want %d", n, c.admitted)
			}
			peek, err := m.Peek(t.Context(), q)
			if (c.want == registry.Unknown) != (err != nil) {
				t.Errorf("peek: %v", err)
			}
			if c.want == registry.Forbidden && (peek.Answer != registry.Forbidden || !peek.Exists) {
				t.Errorf("peek: %+v, want an existing forbidden repository", peek)
			}
		})
	}
}

// TestLogin: that a login could help is said of all names of the member, and only to those who are not logged in.
func TestLogin(t *testing.T) {
	anonymous := func(context.Context, guard.Action, string) error { return oci.NewError(oci.CodeUnauthorized, "log in") }
	for _, c := range []struct {
		repository string
		check      guard.Check
		want       bool
	}{
		{"private", anonymous, true}, {"other", anonymous, true}, {"elsewhere", anonymous, false},
		{"private", refuse, false}, {"other", refuse, false}, {"other", allow, false},
	} {
		q := virtual.Query{Kind: virtual.KindManifest, Mode: virtual.ModeGet, Repository: c.repository, Reference: oci.ByTag("t")}
		if peek, err := guard.NewMember(&local{}, c.check).Peek(t.Context(), q); err != nil || peek.Login != c.want {
			t.Errorf("%s: %+v, %v; want login %v", c.repository, peek, err, c.want)
		}
	}
}
