package app

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"

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

// firstGroupOnce makes a new instance usable: a registry in front of the public ones. Its anonymous pull is on only while the
// server is private to its machine. It has as many members as a registry may have; the rest are upstreams for registries to come.
func firstGroupOnce(ctx context.Context, db *meta.DB, planner *plan.Planner) error {
	done, err := db.Setting(ctx, firstSetting)
	if done != "" || err != nil && !isNotFound(err) {
		return err
	}
	yes := true
	group := desired.Group{
		Name: firstGroup, Upstreams: publicRegistries(),
		Registries: []desired.Registry{{Name: firstRegistry, AnonymousPullOnLoopback: &yes}},
	}
	most := cmp.Or(planner.MaxMembers, plan.DefaultMaxMembers)
	for _, u := range group.Upstreams[:min(len(group.Upstreams), most)] {
		group.Registries[0].Members = append(group.Registries[0].Members, desired.Member{Upstream: u.Name})
	}
	if _, err := planner.Apply(ctx, desired.Document{Groups: []desired.Group{group}}, plan.Options{}); err != nil {
		return fmt.Errorf("create group %s: %w", firstGroup, err)
	}
	return db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error { return tx.SetSetting(ctx, firstSetting, "done") })
}

// banner tells the operator how to begin. It goes to the console, not to the log: it may hold the first password.
func banner(w io.Writer, c config.Config, admin access.Bootstrapped) {
	address, host := clientAddress(c)
	fmt.Fprintf(w, "\n  Weir %s is ready at %s\n", Version, address)
	if admin.Password != "" {
		fmt.Fprintf(w, "  administrator: %s, password: %s   (shown this once)\n", admin.Name, admin.Password)
	}
	fmt.Fprintf(w, "  try:  docker pull %s/%s/%s/library/alpine\n", host, firstGroup, firstRegistry)
	if !isLoopback(c.Listen) || len(c.TrustedProxies) > 0 {
		fmt.Fprintf(w, "        (log in first: others than this machine can reach this address, so anonymous pulls of %s/%s are off\n"+
			"        until you confirm them with anonymous_pull: true)\n", firstGroup, firstRegistry)
	}
	fmt.Fprintln(w)
}

// clientAddress is the server's address for clients, as a URL and as the host in image names.
func clientAddress(c config.Config) (address, host string) {
	if len(c.ExternalURLs) > 0 {
		if u, err := url.Parse(c.ExternalURLs[0]); err == nil {
			return strings.TrimRight(c.ExternalURLs[0], "/"), u.Host
		}
	}
	host = c.Listen
	if h, port, err := net.SplitHostPort(host); err == nil && (h == "" || h == "0.0.0.0" || h == "::") {
		host = net.JoinHostPort("127.0.0.1", port)
	}
	if c.TLS.CertFile != "" {
		return "https://" + host, host
	}
	return "http://" + host, host
}
