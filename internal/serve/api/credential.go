package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/plan/desired"
)

var credentials = &kind[desired.Credential]{
	one: "credential", many: "credentials", segment: "credentials", section: "credentials", change: access.Own,
	list:   func(g *desired.Group) *[]desired.Credential { return &g.Credentials },
	key:    func(v desired.Credential) string { return v.Name },
	secret: "password",
	named:  func(v *desired.Credential, name string) string { return fixed(&v.Name, name, "name") },
	etag:   func(s plan.State, v desired.Credential) string { return etag(v, s.Secrets[v.Name]) },
	detach: func(g *desired.Group, name string) error {
		if used := using(g, name); len(used) > 0 {
			return conflict("upstreams use the credential: give them another, or none, first: " + strings.Join(names(used), ", "))
		}
		return nil
	},
}

// CredentialUse is where a credential is used.
type CredentialUse struct {
	Upstreams []UpstreamUse `json:"upstreams"`
	Hosts     []string      `json:"hosts" doc:"Hosts that it may be sent to, besides the well-known token hosts of these; without a list of its own, the hosts of the upstreams"`
}

// UpstreamUse is an upstream with the registries that have it as a member.
type UpstreamUse struct {
	Name       string   `json:"name"`
	URL        string   `json:"url,omitempty"`
	Registries []string `json:"registries"`
}

func (a *API) registerCredentials() {
	listed[desired.Credential, credentialFilters](a, credentials)
	credentials.register(a)
	credentials.registerDelete(a, "Refused while an upstream uses it.")
	operation(a, huma.Operation{
		OperationID: "get-credential-usage", Method: http.MethodGet, Path: "/groups/{group}/credentials/{name}/usage", Tags: []string{"credentials"},
		Summary: "Tell which upstreams use a credential, and where it may be sent",
	}, func(ctx context.Context, in *OneInput) (*body[CredentialUse], error) {
		s, err := a.state(ctx, in.Group, false)
		if err != nil {
			return nil, err
		}
		i := credentials.find(&s.Group, in.Name)
		if i < 0 {
			return nil, notThere(credentials.one)
		}
		return &body[CredentialUse]{usage(&s.Group, s.Group.Credentials[i])}, nil
	})
}

func usage(g *desired.Group, c desired.Credential) CredentialUse {
	out := CredentialUse{Upstreams: []UpstreamUse{}, Hosts: append([]string{}, c.Hosts...)}
	for _, u := range using(g, c.Name) {
		use := UpstreamUse{Name: u.Name, URL: u.URL, Registries: []string{}}
		for _, r := range g.Registries {
			if hasMember(r, u.Name) {
				use.Registries = append(use.Registries, r.Name)
			}
		}
		out.Upstreams = append(out.Upstreams, use)
		if len(c.Hosts) == 0 {
			out.Hosts = appendNew(out.Hosts, hostOf(u.URL))
		}
	}
	return out
}

func using(g *desired.Group, credential string) []desired.Upstream {
	return without(g.Upstreams, func(u desired.Upstream) bool { return u.Credential != credential })
}

func names(upstreams []desired.Upstream) []string {
	var out []string
	for _, u := range upstreams {
		out = append(out, u.Name)
	}
	return out
}
