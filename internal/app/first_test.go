package app

import (
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/config"
)

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
