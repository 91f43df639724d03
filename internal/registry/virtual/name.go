package virtual

import (
	"context"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
)

type nsKey struct{}

// WithNS narrows the requests made with the returned context to members that serve host: the "?ns=" parameter that
// containerd adds. The caller has dropped hosts of this instance. An empty host narrows nothing.
func WithNS(ctx context.Context, host string) context.Context {
	if host == "" {
		return ctx
	}
	return context.WithValue(ctx, nsKey{}, host)
}

// NSFrom returns the host of WithNS, or "".
func NSFrom(ctx context.Context) string {
	host, _ := ctx.Value(nsKey{}).(string)
	return host
}

// splitHost cuts a leading segment that looks like a host off a repository name. A valid name cannot hold ":", so hosts
// with a port are reachable by "?ns=" only; the check for ":" keeps the rule the one every client uses.
func splitHost(repository string) (host, rest string, ok bool) {
	host, rest, ok = strings.Cut(repository, "/")
	if !ok || rest == "" || (host != "localhost" && !strings.ContainsAny(host, ".:")) {
		return "", repository, false
	}
	return oci.CanonicalHost(host), rest, true
}

// publicRegistry reports whether host is a well-known public registry. A name that starts with one says where the image
// is; if no member serves it, asking others for "ghcr.io/org/img" would make no sense and tell them what is being looked for.
func publicRegistry(host string) bool {
	switch host {
	case oci.HubHost, "ghcr.io", "quay.io", "gcr.io", "registry.k8s.io", "k8s.gcr.io", "mcr.microsoft.com", "public.ecr.aws",
		"registry.gitlab.com", "nvcr.io", "registry.access.redhat.com", "registry.redhat.io", "docker.elastic.co", "cgr.dev",
		"icr.io", "lscr.io", "registry.fedoraproject.org", "container-registry.oracle.com", "xpkg.upbound.io":
		return true
	}
	for _, suffix := range [...]string{".gcr.io", ".pkg.dev", ".azurecr.io", ".amazonaws.com", ".icr.io", ".docker.io"} {
		if strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}

// hubName is Docker Hub's own name of a repository: official images live under "library/".
func hubName(repository string) string {
	if strings.Contains(repository, "/") {
		return repository
	}
	return "library/" + repository
}
