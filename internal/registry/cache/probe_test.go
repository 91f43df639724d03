package cache_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

// TestProbeAgreesWithPull asks the same at random moments of random histories: a probe, and then the pull it speaks of.
func TestProbeAgreesWithPull(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	troubles := []error{nil, nil, nil, errDown, errDenied, oci.NewError(oci.CodeManifestUnknown, "gone")}
	for history := range 12 {
		refuse := history%2 == 0
		w := newWorld(t, func(o *cache.Options) { o.RefuseDeleted = refuse })
		image := w.push(alpine, 1, "latest", "always", "forever")
		next := w.push(alpine, 2)
		refs := []oci.Reference{
			latest, oci.ByTag("always"), oci.ByTag("forever"), oci.ByTag("none"),
			oci.ByDigest(image.Manifest.Digest), oci.ByDigest(next.Manifest.Digest), oci.ByDigest(image.Layers()[0].Digest),
		}
		for step := range 25 {
			w.remote.set(troubles[rnd.IntN(len(troubles))])
			switch rnd.IntN(4) {
			case 0:
				w.pass(time.Duration(rnd.IntN(200)) * time.Minute)
			case 1:
				w.pass(time.Duration(rnd.IntN(40)) * time.Second)
			case 2:
				w.push(alpine, uint64(1+rnd.IntN(2)), "latest", "always")
			}
			q := virtual.Query{Kind: virtual.KindManifest, Repository: alpine, Reference: refs[rnd.IntN(len(refs))]}
			if q.Reference == refs[6] || q.Reference.IsDigest() && rnd.IntN(3) == 0 {
				q.Kind = virtual.KindBlob
			}
			what := fmt.Sprintf("history %d, step %d, %v %s", history, step, q.Kind, q.Reference)
			q.Mode = virtual.ModeProbe
			before := w.peek(q)
			probe := w.Ask(t.Context(), q)
			if after := w.peek(q); after != before {
				t.Errorf("%s: the probe changed %+v to %+v", what, before, after)
			}
			q.Mode = []virtual.Mode{virtual.ModeGet, virtual.ModeHead}[rnd.IntN(2)]
			pull := w.Ask(t.Context(), q)
			if pull.Blob != nil {
				_ = pull.Blob.Body.Close()
				w.settled(alpine, q.Reference.Digest)
			}
			if probe.Outcome != pull.Outcome || probe.Limited != pull.Limited {
				t.Errorf("%s: the probe says %s (%s), the pull %s (%s %v)", what, probe.Outcome, probe.Reason, pull.Outcome, pull.Reason, pull.Err)
			}
			if pull.Outcome == registry.Found && q.Kind == virtual.KindManifest && probe.Descriptor.Digest != pull.Descriptor.Digest {
				t.Errorf("%s: the probe says %s, the pull %s", what, probe.Descriptor.Digest, pull.Descriptor.Digest)
			}
		}
	}
}
