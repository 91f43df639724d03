package stack_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/weir-registry/weir/test/stack"
)

// TestRing has three instances that lead to each other in a ring: the first that sees a request again ends it, and the client hears
// that nobody knows, not that there is no such image.
func TestRing(t *testing.T) {
	t.Parallel()
	var ring [3]*stack.Server
	for i := range ring {
		ring[i] = stack.Start(t, stack.Options{})
	}
	for i, s := range ring {
		s.Apply(t, fmt.Sprintf(`groups:
- name: acme
  upstreams: [{name: next, url: "%s/acme/hub"}]
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: next}]}]`, ring[(i+1)%len(ring)].URL))
	}
	began := time.Now()
	for _, method := range []string{"HEAD", "GET"} {
		ring[0].Do(t, method, "acme/hub/library/app/manifests/1").Want(t, http.StatusServiceUnavailable)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the loop took %v to end", took)
	}
	ring[0].Log.Find(t, "the request that came back", func(line stack.Line) bool { return line["status"] == float64(http.StatusLoopDetected) })
}
