package namespace_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/namespace"
)

type named struct {
	registry.Unimplemented
	name string
}

func snapshot() *namespace.Snapshot {
	return namespace.NewSnapshot([]namespace.Group{
		{
			ID: 1, Name: "acme", Enabled: true, Hosted: named{name: "acme hosted"},
			Prefixes: []namespace.Prefix{{Path: "", Anonymous: "no"}, {Path: "open", Anonymous: "yes"}, {Path: "open/secret", Anonymous: "no"}},
			Registries: []namespace.Registry{
				{ID: 11, Name: "hub", Enabled: true, Anonymous: "yes", Registry: named{name: "acme hub"}},
				{ID: 12, Name: "off", Registry: named{name: "acme off"}},
			},
		},
		{ID: 2, Name: "dark", Hosted: named{name: "dark hosted"}, Registries: []namespace.Registry{{ID: 9, Name: "virtual", Enabled: true, Registry: named{name: "dark virtual"}}}},
	}, []namespace.Binding{
		{Host: "docker.acme.test", Prefix: "acme/hub", Mirror: true},
		{Host: "docker.acme.test:8443", Prefix: "acme"},
		{Host: "inside.acme.test", Prefix: "acme/hub", Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
	}, []string{"weir.acme.test:5000"})
}

func TestLookup(t *testing.T) {
	for _, c := range []struct {
		host, ns, name            string
		kind                      namespace.Kind
		registry, local, path, to string // to: ns to narrow to
		anonymous                 namespace.Anonymous
	}{
		{"weir.acme.test", "", "acme/hub/library/alpine", "virtual", "acme hub", "library/alpine", "acme/hub/library/alpine", "", "yes"},
		{"weir.acme.test", "", "acme/hub/ghcr.io/org/app", "virtual", "acme hub", "ghcr.io/org/app", "acme/hub/ghcr.io/org/app", "", "yes"},
		{"weir.acme.test", "", "acme/hubs/app", "hosted", "acme hosted", "hubs/app", "acme/hubs/app", "", "no"},
		{"weir.acme.test", "", "acme/open/app", "hosted", "acme hosted", "open/app", "acme/open/app", "", "yes"},
		{"weir.acme.test", "", "acme/opener", "hosted", "acme hosted", "opener", "acme/opener", "", "no"},
		{"weir.acme.test", "", "acme/open/secret/app", "hosted", "acme hosted", "open/secret/app", "acme/open/secret/app", "", "no"},
		{"Docker.ACME.test:5000", "docker.io", "library/alpine", "virtual", "acme hub", "library/alpine", "acme/hub/library/alpine", "docker.io", "yes"},
		{"docker.acme.test:8443", "", "app", "hosted", "acme hosted", "app", "acme/app", "", "no"},
		{"weir.acme.test", "Weir.acme.test:443", "acme/hub/app", "virtual", "acme hub", "app", "acme/hub/app", "", "yes"},
		{"weir.acme.test", "docker.acme.test", "acme/hub/app", "virtual", "acme hub", "app", "acme/hub/app", "", "yes"},
		{"10.0.0.7:5000", "10.0.0.7:5000", "acme/hub/app", "virtual", "acme hub", "app", "acme/hub/app", "", "yes"},
		{"weir.acme.test", "GHCR.io", "acme/hub/app", "virtual", "acme hub", "app", "acme/hub/app", "ghcr.io", "yes"},
		{"weir.acme.test", "localhost:5001", "acme/hub/app", "virtual", "acme hub", "app", "acme/hub/app", "localhost:5001", "yes"},
		{"weir.acme.test", "docker.io", "acme/open/app", "hosted", "", "open/app", "acme/open/app", "docker.io", "yes"},
		{"weir.acme.test", "", "nobody/app", "none", "", "app", "nobody/app", "", "no"},
		{"weir.acme.test", "", "acme", "none", "", "", "acme", "", "no"},
		{"weir.acme.test", "", "acme/hub", "none", "", "", "acme/hub", "", "yes"},
	} {
		got, err := snapshot().Lookup(namespace.Request{Host: c.host, NS: c.ns, Name: c.name})
		if err != nil {
			t.Errorf("%s %s: %v", c.host, c.name, err)
			continue
		}
		n, _ := got.Registry.(named)
		if got.Kind != c.kind || n.name != c.registry || got.Local != c.local || got.Path != c.path || got.NS != c.to || got.Anonymous != c.anonymous {
			t.Errorf("%s %s: got %+v", c.host, c.name, got)
		}
	}
}

// TestStrangersLearnNothing: what access looks at must not differ between a group that exists and one that does not.
func TestStrangersLearnNothing(t *testing.T) {
	for _, tail := range []string{"", "/x", "/opener", "/x/y"} {
		is, err1 := snapshot().Lookup(namespace.Request{Name: "acme" + tail})
		isNot, err2 := snapshot().Lookup(namespace.Request{Name: "nobody" + tail})
		if is.Anonymous != isNot.Anonymous || is.Mirror != isNot.Mirror || err1 != nil || err2 != nil || is.Path != "acme"+tail {
			t.Errorf("%q: %+v and %+v", tail, is, isNot)
		}
	}
}

func TestMirrorAndNetworks(t *testing.T) {
	s := snapshot()
	got, err := s.Lookup(namespace.Request{Host: "docker.acme.test", Name: "library/alpine"})
	if err != nil || !got.Mirror || got.Bound != "acme/hub" {
		t.Errorf("%+v, %v", got, err)
	}
	for client, want := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "192.0.2.1": false, "": false} {
		addr, _ := netip.ParseAddr(client)
		_, err := s.Lookup(namespace.Request{Host: "inside.acme.test:443", Name: "alpine", Client: addr})
		if want != (err == nil) || !want && oci.ErrorCode(err) != oci.CodeDenied {
			t.Errorf("client %q: %v", client, err)
		}
	}
}

func TestInvalidNames(t *testing.T) {
	for _, name := range []string{"", "/", "acme/", "acme//x", "Acme/x", "acme/hub/localhost:5000/app", "acme/../x", strings.Repeat("a", 256)} {
		for _, host := range []string{"weir.acme.test", "docker.acme.test"} {
			if _, err := snapshot().Lookup(namespace.Request{Host: host, Name: name}); oci.ErrorCode(err) != oci.CodeNameInvalid {
				t.Errorf("%s %q: %v", host, name, err)
			}
		}
	}
}

func TestTurnedOff(t *testing.T) {
	for name, message := range map[string]string{
		"acme/off/app":     "registry acme/off is turned off: ask its maintainers",
		"dark/virtual/app": "everything virtual in group dark is turned off: ask its owners",
	} {
		got, err := snapshot().Lookup(namespace.Request{Name: name})
		if err != nil || !got.Off {
			t.Fatalf("%s: %+v, %v", name, got, err)
		}
		_, err = got.Registry.Manifest(t.Context(), got.Local, oci.ByTag("1"))
		if e, ok := errors.AsType[*oci.Error](err); !ok || e.Code != oci.CodeDenied || e.Message != message {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRefusalIsWhole: nothing slips through a registry that refuses.
func TestRefusalIsWhole(t *testing.T) {
	got, _ := snapshot().Lookup(namespace.Request{Name: "nobody/app"})
	r, ctx := got.Registry, t.Context()
	var errs []error
	add := func(_ any, err error) { errs = append(errs, err) }
	add(r.Manifest(ctx, "", oci.Reference{}))
	add(r.StatManifest(ctx, "", oci.Reference{}))
	add(r.Blob(ctx, "", "", registry.Range{}))
	add(r.StatBlob(ctx, "", ""))
	add(r.PutManifest(ctx, "", oci.Reference{}, registry.PutManifest{}))
	add(r.MountBlob(ctx, "", "", ""))
	add(r.StartUpload(ctx, ""))
	add(r.ResumeUpload(ctx, "", ""))
	add(nil, r.DeleteManifest(ctx, "", oci.Reference{}))
	add(nil, r.DeleteBlob(ctx, "", ""))
	add(r.Tags(ctx, "", registry.Page{}))
	add(r.Repositories(ctx, registry.Page{}))
	add(r.Referrers(ctx, "", "", ""))
	for i, err := range errs {
		if oci.ErrorCode(err) != oci.CodeNameUnknown {
			t.Errorf("operation %d: %v", i, err)
		}
	}
}

func TestTable(t *testing.T) {
	var table namespace.Table
	if got, err := table.Lookup(namespace.Request{Name: "acme/app"}); err != nil || got.Kind != namespace.KindNone {
		t.Errorf("empty table: %+v, %v", got, err)
	}
	table.Swap(snapshot())
	if got, err := table.Lookup(namespace.Request{Name: "acme/app"}); err != nil || got.Kind != namespace.KindHosted {
		t.Errorf("%+v, %v", got, err)
	}
	if len(table.Current().Groups()) != 2 {
		t.Error("groups are missing")
	}
}

func FuzzLookup(f *testing.F) {
	f.Add("weir.acme.test", "docker.io", "acme/hub/library/alpine")
	f.Add("[::1]:5000", "[::1]", "acme/x")
	f.Add("docker.acme.test:", ":", "ghcr.io/a")
	s := snapshot()
	f.Fuzz(func(t *testing.T, host, ns, name string) {
		got, err := s.Lookup(namespace.Request{Host: host, NS: ns, Name: name})
		if err != nil {
			return
		}
		if !oci.ValidRepository(got.Path) || got.Registry == nil || !strings.HasSuffix(got.Path, got.Local) {
			t.Errorf("%q %q %q: %+v", host, ns, name, got)
		}
		if got.Kind == namespace.KindVirtual && !oci.ValidRepository(got.Local) {
			t.Errorf("%q: local name %q", name, got.Local)
		}
		if got.Bound == "" && got.Path != name || got.Bound != "" && got.Path != got.Bound+"/"+name {
			t.Errorf("%q became %q under %q", name, got.Path, got.Bound)
		}
	})
}
