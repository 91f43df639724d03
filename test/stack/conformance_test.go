package stack_test

import (
	"fmt"
	"testing"

	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/test/conformance"
	"github.com/weir-registry/weir/test/stack"
)

// TestConformanceHosted runs everything that the specification says, on both engines, logging in as docker does.
func TestConformanceHosted(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := stack.Start(t, on(t, engine))
			s.Apply(t, `groups: [{name: acme, hosted: [{prefix: "", anonymous_pull: true}]}]`)
			conformance.Run(t, conformance.Config{URL: s.URL, Name: "acme/team/app", Username: "any", Password: s.NewToken(t, "admin")})
		})
	}
}

func on(t *testing.T, engine string) stack.Options {
	t.Helper()
	if engine == meta.SQLite {
		return stack.Options{}
	}
	dsn := metatest.Options(t, engine).DSN
	return stack.Options{Configure: func(c *config.Config) { c.Database = config.Database{Engine: engine, DSN: config.DSN(dsn)} }}
}

// readers are the compositions that answer reads: each places images where they come from.
var readers = []struct {
	name string
	make func(t *testing.T) (url, prefix string, put func(t *testing.T, repository string, tags []string, image registrytest.Image))
}{
	{"upstream", func(t *testing.T) (string, string, func(*testing.T, string, []string, registrytest.Image)) {
		u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
		s := stack.Start(t, stack.Options{})
		s.Apply(t, fronting(u.URL()))
		return s.URL, "acme/hub/", func(_ *testing.T, repository string, tags []string, image registrytest.Image) {
			u.Put(repository, tags, image)
		}
	}},
	{"local", func(t *testing.T) (string, string, func(*testing.T, string, []string, registrytest.Image)) {
		s := stack.Start(t, stack.Options{})
		s.Apply(t, `groups: [{name: acme, hosted: [{prefix: own, anonymous_pull: true}], upstreams: [{name: own, local: acme/own}],
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: own}]}]}]`)
		admin := s.As(t, "admin")
		return s.URL, "acme/hub/", func(t *testing.T, repository string, tags []string, image registrytest.Image) {
			admin.Push(t, "acme/"+repository, tags, image)
		}
	}},
	{"weir", func(t *testing.T) (string, string, func(*testing.T, string, []string, registrytest.Image)) {
		far, s := stack.Start(t, stack.Options{}), stack.Start(t, stack.Options{})
		far.Apply(t, `groups: [{name: corp, hosted: [{prefix: "", anonymous_pull: true}]}]`)
		s.Apply(t, fronting(far.URL+"/corp"))
		admin := far.As(t, "admin")
		return s.URL, "acme/hub/", func(t *testing.T, repository string, tags []string, image registrytest.Image) {
			admin.Push(t, "corp/"+repository, tags, image)
		}
	}},
	{"weir before an upstream", func(t *testing.T) (string, string, func(*testing.T, string, []string, registrytest.Image)) {
		u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
		far, s := stack.Start(t, stack.Options{}), stack.Start(t, stack.Options{})
		far.Apply(t, fronting(u.URL()))
		s.Apply(t, fronting(far.URL+"/acme/hub"))
		return s.URL, "acme/hub/", func(_ *testing.T, repository string, tags []string, image registrytest.Image) {
			u.Put(repository, tags, image)
		}
	}},
}

// fronting declares acme/hub, open to everybody, in front of one upstream that is asked again for everything that may change.
func fronting(url string) string {
	return fmt.Sprintf(`groups: [{name: acme, upstreams: [{name: far, url: %q, freshness: {default: always}}],
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: far}]}]}]`, url)
}

// TestConformanceRead runs the reading half against virtual registries: the first run finds their caches cold, the second warm.
func TestConformanceRead(t *testing.T) {
	for _, r := range readers {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			url, prefix, put := r.make(t)
			c := conformance.Config{URL: url, Name: prefix + "own/test", ReadOnly: true}
			c.Put = func(t *testing.T, repository string, tags []string, image registrytest.Image) {
				put(t, repository[len(prefix):], tags, image)
			}
			for _, cache := range []string{"cold", "warm"} {
				t.Run(cache, func(t *testing.T) { conformance.Run(t, c) })
			}
		})
	}
}
