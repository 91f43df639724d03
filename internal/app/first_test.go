package app

import (
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// TestFirstGroupWithinLimits: a limit below the number of public registries is no reason not to start.
func TestFirstGroupWithinLimits(t *testing.T) {
	for most, want := range map[int]int{1: 1, 3: 3, 0: len(publicRegistries()), 20: len(publicRegistries())} {
		db := metatest.Open(t, meta.SQLite)
		for range 2 {
			if err := firstGroupOnce(t.Context(), db, &plan.Planner{DB: db, MaxMembers: most}); err != nil {
				t.Fatalf("at most %d members: %v", most, err)
			}
		}
		g, err := db.Group(t.Context(), firstGroup)
		if err != nil || len(g.Upstreams) != len(publicRegistries()) || len(g.Registries[0].Members) != want {
			t.Errorf("at most %d members: %d upstreams, members %v, %v", most, len(g.Upstreams), g.Registries, err)
		}
	}
}

func TestBanner(t *testing.T) {
	const off = "anonymous pulls of main/all are off"
	for name, c := range map[string]struct {
		config        config.Config
		want, mustNot string
	}{
		"loopback": {config.Config{Listen: "127.0.0.1:5000"}, "at http://127.0.0.1:5000\n", off},
		"everywhere": {
			config.Config{Listen: ":5000", TLS: config.TLS{CertFile: "x"}}, "at https://127.0.0.1:5000\n  try:  docker pull 127.0.0.1:5000/main/all/library/alpine\n        (log in first: ", "password",
		},
		"external": {
			config.Config{Listen: "0.0.0.0:443", ExternalURLs: []string{"https://weir.test/"}}, "at https://weir.test\n  try:  docker pull weir.test/main/all", "0.0.0.0",
		},
		"behind a proxy": {config.Config{Listen: "127.0.0.1:5000", TrustedProxies: []string{"127.0.0.1/32"}}, off, "password"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			banner(&out, c.config, access.Bootstrapped{})
			if text := out.String(); !strings.Contains(text, c.want) || strings.Contains(text, c.mustNot) {
				t.Errorf("want %q, not %q, in\n%s", c.want, c.mustNot, text)
			}
		})
	}
}
