package registrytest_test

import (
	"testing"

	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/registrytest"
)

func TestMemory(t *testing.T) {
	all := registrytest.Options{Push: true, Delete: true, Tags: true, Catalog: true, Referrers: true}
	registrytest.Run(t, all, func(t *testing.T, f registrytest.Fixture) registry.Registry {
		m := registrytest.NewMemory()
		f.PushTo(t, m)
		return m
	})
}
