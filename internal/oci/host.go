package oci

import "strings"

// HubHost is Docker Hub in the form of CanonicalHost.
const HubHost = "docker.io"

// CanonicalHost is the form in which hosts are compared: lower case, without the port of HTTPS, and with the names of Docker Hub as one.
func CanonicalHost(host string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ":443")
	host = strings.TrimSuffix(host, ".")
	switch host {
	case "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		return HubHost
	}
	return host
}
