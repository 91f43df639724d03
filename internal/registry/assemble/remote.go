package assemble

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/weir-registry/weir/internal/credential"
	"github.com/weir-registry/weir/internal/credential/static"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/upstream"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/store/meta"
)

// remote returns the connection to an upstream: the one there was, if it was made from the same definition. name is for logs and
// metrics.
func (a *Assembler) remote(g *Group, u meta.Upstream, name string, before map[int64]remote) (*upstream.Registry, error) {
	var cred meta.Credential
	if u.CredentialID != 0 {
		i := slices.IndexFunc(g.Credentials, func(c meta.Credential) bool { return c.ID == u.CredentialID })
		if i < 0 {
			return nil, fmt.Errorf("its credential does not exist")
		}
		cred = g.Credentials[i]
	}
	made := fmt.Sprintf("%s %q %d %+v %d %d %q", name, u.URL, u.Epoch, u.Settings, cred.ID, cred.Version, cred.Hosts)
	if r, ok := before[u.ID]; ok && r.made == made {
		a.remotes[u.ID] = r
		return r.registry, nil
	}
	source, err := a.source(g, cred)
	if err != nil {
		return nil, err
	}
	opt := upstream.Options{
		URL: u.URL, Credential: source, CredentialHosts: cred.Hosts, RealmHosts: u.Settings.RealmHosts, CA: u.Settings.CA,
		AllowPrivateNetworks: a.opt.AllowPrivateNetworks,
		Timeout:              or(u.Settings.Timeout, a.opt.Timeout), IdleTimeout: or(u.Settings.IdleTimeout, a.opt.IdleTimeout),
		Concurrency: or(u.Settings.Concurrency, a.opt.Concurrency),
		Version:     a.opt.Version, InstanceID: a.opt.Instance, Log: a.opt.Log.With("upstream", name),
	}
	if a.opt.UpstreamMetrics != nil {
		opt.Metrics = a.opt.UpstreamMetrics(name)
	}
	r, err := upstream.New(opt)
	if err != nil {
		return nil, err
	}
	a.remotes[u.ID] = remote{made: made, registry: r}
	return r, nil
}

// Accepted reports whether an upstream of the group has taken this version of a credential's secret.
func (g *Group) Accepted(credential, version int64) bool {
	return slices.ContainsFunc(g.Credentials, func(c meta.Credential) bool { return c.ID == credential && c.Version == version }) &&
		slices.ContainsFunc(g.Upstreams, func(u meta.Upstream) bool {
			r := g.Remotes[u.Name]
			return u.CredentialID == credential && r != nil && r.SecretAccepted()
		})
}

// source opens a credential's secret for the kind of provider it is for.
func (a *Assembler) source(g *Group, c meta.Credential) (credential.Source, error) {
	switch {
	case c.ID == 0:
		return credential.Anonymous{}, nil
	case c.Kind == "static":
		secret, err := a.open(g, c, c.Version, c.Secret)
		if err != nil || len(c.Previous.Secret) == 0 {
			return static.New(c.Username, secret), err
		}
		before, err := a.open(g, c, c.Previous.Version, c.Previous.Secret)
		if err != nil {
			a.opt.Log.Error("unreadable previous secret", "group", g.Name, "credential", c.Name, "error", err)
			return static.New(c.Username, secret), nil
		}
		return static.Rotated(c.Username, secret, before, c.Previous.Until, nil), nil
	}
	return nil, fmt.Errorf("credential %s is of unknown kind %q", c.Name, c.Kind)
}

func (a *Assembler) open(g *Group, c meta.Credential, version int64, sealed []byte) (credential.Secret, error) {
	text, err := a.opt.Sealer.Open(plan.CredentialPlace(g.ID, c.ID, version), sealed)
	if err != nil {
		return credential.Secret{}, fmt.Errorf("open the secret of credential %s: %w", c.Name, err)
	}
	return credential.NewSecret(string(text)), nil
}

func (a *Assembler) rules(group string, rows []meta.Rule, only int64) []virtual.Rule {
	var out []virtual.Rule
	for _, row := range rows {
		if row.OnlyUpstreamID != only {
			continue
		}
		p, err := oci.ParsePattern(row.Pattern)
		if err != nil {
			// Fail closed: what an unreadable deny was meant to keep out must stay out.
			a.opt.Log.Error("unreadable rule; it denies everything", "group", group, "pattern", row.Pattern, "error", err)
			out = append(out, virtual.Rule{Pattern: oci.Pattern{Repository: "*"}})
			continue
		}
		out = append(out, virtual.Rule{Allow: row.Action == "allow", Pattern: p})
	}
	return out
}

func (a *Assembler) patterns(group string, texts []string) []oci.Pattern {
	var out []oci.Pattern
	for _, text := range texts {
		p, err := oci.ParsePattern(text)
		if err != nil {
			// Fail closed: what the member was to own alone must not go to the others.
			a.opt.Log.Error("unreadable claim; it claims everything", "group", group, "pattern", text, "error", err)
			p = oci.Pattern{Repository: "*"}
		}
		out = append(out, p)
	}
	return out
}

// hostOf returns the host of an upstream's URL.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}

// isHub reports whether host is a name of Docker Hub. An upstream that answers for it, the Hub itself or a mirror of it, has the
// names that the Hub has: "library/alpine", not "alpine".
func isHub(host string) bool {
	return oci.CanonicalHost(host) == oci.HubHost
}

// localPrefix is the part of "<group>/<prefix>" below the group.
func localPrefix(group, local string) string {
	return strings.Trim(strings.TrimPrefix(local+"/", group+"/"), "/")
}

// broken stands for an upstream whose definition cannot be used.
type broken struct {
	registry.Unimplemented
	reason string
}

func (b broken) err() error {
	return &registry.OutcomeError{Outcome: registry.Unknown, Reason: b.reason}
}

func (b broken) Manifest(context.Context, string, oci.Reference) (*registry.Manifest, error) {
	return nil, b.err()
}

func (b broken) StatManifest(context.Context, string, oci.Reference) (oci.Descriptor, error) {
	return oci.Descriptor{}, b.err()
}

func (b broken) Blob(context.Context, string, oci.Digest, registry.Range) (*registry.Blob, error) {
	return nil, b.err()
}

func (b broken) StatBlob(context.Context, string, oci.Digest) (oci.Descriptor, error) {
	return oci.Descriptor{}, b.err()
}

func (b broken) Tags(context.Context, string, registry.Page) (*registry.TagList, error) {
	return nil, b.err()
}

func (b broken) Referrers(context.Context, string, oci.Digest, string) (*registry.ReferrerList, error) {
	return nil, b.err()
}
