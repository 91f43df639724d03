package stack_test

import (
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// TestErrorsTellWhoMayKnow: what stands behind a public registry is for those whom a grant lets read there.
func TestErrorsTellWhoMayKnow(t *testing.T) {
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	u.Fail(registrytest.Rule{Fault: registrytest.Fault{Status: 500}})
	s := stack.Start(t, stack.Options{Users: []string{"stranger"}})
	s.Apply(t, fronting(u.URL()))
	host := strings.TrimPrefix(u.URL(), "http://")
	for name, r := range map[string]stack.Remote{"anonymous": s.Remote, "stranger": s.As(t, "stranger"), "admin": s.As(t, "admin")} {
		body := string(r.Do(t, "GET", "acme/hub/library/app/manifests/1").Want(t, 503).Body)
		if told := strings.Contains(body, "far") || strings.Contains(body, host); told != (name == "admin") || !strings.Contains(body, "decision") {
			t.Errorf("%s is told %s", name, body)
		}
	}
}
