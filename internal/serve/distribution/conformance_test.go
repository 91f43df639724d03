package distribution_test

import (
	"testing"

	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/serve/distribution"
	"github.com/weir-registry/weir/test/conformance"
)

func TestConformance(t *testing.T) {
	for _, absolute := range []bool{false, true} {
		w := &world{opts: distribution.Options{AbsoluteURL: absolute}}
		conformance.Run(t, conformance.Config{URL: w.open(t).URL, Name: "g/test", MountName: "g/other", Client: as("admin")})
	}
}

func TestConformanceVirtual(t *testing.T) {
	memory := registrytest.NewMemory()
	w := &world{virtual: memory}
	conformance.Run(t, conformance.Config{
		URL: w.open(t).URL, Name: "g/v/test", Client: as("admin"), ReadOnly: true,
		Put: func(t *testing.T, repository string, tags []string, image registrytest.Image) {
			registrytest.Push(t, memory, repository[len("g/v/"):], tags, image)
		},
	})
}
