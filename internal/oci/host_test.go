package oci

import "testing"

func TestCanonicalHost(t *testing.T) {
	for host, want := range map[string]string{
		"docker.io": HubHost, "index.docker.io": HubHost, "Registry-1.Docker.io:443": HubHost, "registry.hub.docker.com": HubHost,
		"GHCR.io": "ghcr.io", "ghcr.io.": "ghcr.io", "quay.io:8443": "quay.io:8443", "auth.docker.io": "auth.docker.io",
	} {
		if got := CanonicalHost(host); got != want {
			t.Errorf("%s is %s, want %s", host, got, want)
		}
	}
}
