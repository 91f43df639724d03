package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/plan/desired"
	"github.com/weir-registry/weir/internal/store/meta"
)

// What the first start creates.
const (
	firstGroup    = "main"
	firstRegistry = "all"
	firstSetting  = "first_start" // set once it is done, so that deleting the group does not bring it back
)

// publicRegistries are the members of main/all, in order.
func publicRegistries() []desired.Upstream {
	return []desired.Upstream{
		{Name: "docker.io", URL: "https://registry-1.docker.io"},
		{Name: "ghcr.io", URL: "https://ghcr.io"},
		{Name: "quay.io", URL: "https://quay.io"},
		{Name: "registry.k8s.io", URL: "https://registry.k8s.io"},
		{Name: "mcr.microsoft.com", URL: "https://mcr.microsoft.com"},
		{Name: "public.ecr.aws", URL: "https://public.ecr.aws"},
		{Name: "gcr.io", URL: "https://gcr.io"},
	}
}

// firstStart makes a new instance usable: an administrator and a registry in front of the public ones. Anonymous pull of that
// registry is on only while the server is private to its machine. It returns what to tell the operator once.
func firstStart(ctx context.Context, db *meta.DB, dir *access.Directory, planner *plan.Planner) (access.Bootstrapped, error) {
	admin, err := dir.Bootstrap(ctx, os.Getenv("WEIR_ADMIN_PASSWORD"))
	if err != nil {
		return admin, err
	}
	done, err := db.Setting(ctx, firstSetting)
	if err != nil && !isNotFound(err) {
		return admin, err
	}
	if done != "" {
		return admin, nil
	}
	group := desired.Group{
		Name: firstGroup, Upstreams: publicRegistries(),
		Registries: []desired.Registry{{Name: firstRegistry, AnonymousPullOnLoopback: true}},
	}
	for _, u := range group.Upstreams {
		group.Registries[0].Members = append(group.Registries[0].Members, desired.Member{Upstream: u.Name})
	}
	if _, err := planner.Apply(ctx, desired.Document{Groups: []desired.Group{group}}, plan.Options{}); err != nil {
		return admin, fmt.Errorf("create group %s: %w", firstGroup, err)
	}
	return admin, db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error { return tx.SetSetting(ctx, firstSetting, "done") })
}

// banner tells the operator how to begin. It goes to the console, not to the log: it may hold the first password.
func banner(w io.Writer, c config.Config, admin access.Bootstrapped) {
	host := c.Listen
	if h, port, err := net.SplitHostPort(host); err == nil && (h == "" || h == "0.0.0.0" || h == "::") {
		host = net.JoinHostPort("127.0.0.1", port)
	}
	scheme := "http"
	if c.TLS.CertFile != "" {
		scheme = "https"
	}
	fmt.Fprintf(w, "\n  Weir %s is ready at %s://%s\n", Version, scheme, host)
	if admin.Password != "" {
		fmt.Fprintf(w, "  administrator: %s, password: %s   (shown this once)\n", admin.Name, admin.Password)
	}
	fmt.Fprintf(w, "  try:  docker pull %s/%s/%s/library/alpine\n", host, firstGroup, firstRegistry)
	if !isLoopback(c.Listen) {
		fmt.Fprintf(w, "        (log in first: anonymous pulls are off until you set anonymous_pull on %s/%s, because this address is reachable from elsewhere)\n", firstGroup, firstRegistry)
	}
	fmt.Fprintln(w)
}
