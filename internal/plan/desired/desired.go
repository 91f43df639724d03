// Package desired is the form in which people declare what should be: groups with everything below them, by name. Files of
// `weir apply`, the body of POST /api/v1/apply and the API's read-out of a group all have it. It is pure: package client reads
// files into it, package plan compares it with the database.
package desired

import "log/slog"

// Document is what one or several files declare.
type Document struct {
	Groups []Group `json:"groups,omitzero" doc:"Groups to create or change. Groups that are not named stay as they are."`
}

// Group declares a group. What it has beyond the declared parts stays, unless the plan prunes: that goes for definitions in its
// lists, and for fields of a definition. So a field that is left out differs from one that is false or empty: booleans are
// pointers, and lists are nil or not.
type Group struct {
	Name         string        `json:"name,omitempty" doc:"First segment of every name of the group"`
	Enabled      *bool         `json:"enabled,omitempty" doc:"Whether the group's registries answer; default true"`
	Credentials  []Credential  `json:"credentials,omitzero"`
	Upstreams    []Upstream    `json:"upstreams,omitzero"`
	Registries   []Registry    `json:"registries,omitzero"`
	Hosted       []Hosted      `json:"hosted,omitzero" doc:"Settings of hosted repositories by path; the longest matching prefix decides"`
	HostBindings []HostBinding `json:"host_bindings,omitzero"`
	Roles        []Role        `json:"roles,omitzero" doc:"That grants of the group can give, beside the built-in ones and those of the instance"`
	Robots       []Robot       `json:"robots,omitzero" doc:"Their tokens are made by the API and are no part of a declaration"`
	TrustRules   []TrustRule   `json:"trust_rules,omitzero"`
	Grants       []Grant       `json:"grants,omitzero"`
}

// Credential declares a login that Weir uses outward.
type Credential struct {
	Name     string    `json:"name,omitempty"`
	Kind     string    `json:"kind,omitempty" doc:"static: a username and a password or token (the default)"`
	Username string    `json:"username,omitempty"`
	Password *Password `json:"password,omitempty" doc:"Left out: stays as it is. Never returned"`
	Hosts    []string  `json:"hosts,omitzero" doc:"Hosts it may be sent to; default: the hosts of the upstreams that use it"`
}

// Password is a secret on its way to the server. It is sent as it is and shows as [redacted] everywhere else.
type Password string

const redacted = "[redacted]"

// String implements fmt.Stringer.
func (Password) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Password) GoString() string { return redacted }

// LogValue implements slog.LogValuer.
func (Password) LogValue() slog.Value { return slog.StringValue(redacted) }

// Upstream declares a remote registry (URL) or hosted repositories of the same group (Local).
type Upstream struct {
	Name             string    `json:"name,omitempty"`
	URL              string    `json:"url,omitempty" doc:"Remote registry, such as https://registry-1.docker.io; a path is put before every repository name"`
	Local            string    `json:"local,omitempty" doc:"Hosted repositories instead: <group> or <group>/<path>"`
	Credential       string    `json:"credential,omitempty" doc:"Name of a credential of the group; default: anonymous"`
	Enabled          *bool     `json:"enabled,omitempty" doc:"Default true"`
	OnUnknown        string    `json:"on_unknown,omitempty" doc:"When it cannot answer: continue with the next member (default), or stop, so that none below may impersonate it"`
	OnUpstreamDelete string    `json:"on_upstream_delete,omitempty" doc:"When it no longer has what is cached: serve (default) or refuse"`
	Freshness        Freshness `json:"freshness,omitzero"`
	Rules            []Rule    `json:"rules,omitzero" doc:"For every registry that has it as a member"`

	Hosts          []string `json:"hosts,omitzero" doc:"More host names that it answers for"`
	CA             PEM      `json:"ca,omitempty" doc:"PEM of the certificate authorities to trust, instead of the system's"`
	RealmHosts     []string `json:"realm_hosts,omitzero" doc:"Further hosts that its token endpoint may be on"`
	RevalidateWait string   `json:"revalidate_wait,omitempty" doc:"How long a client waits for a stale entry to be confirmed; default 400ms"`
	Timeout        string   `json:"timeout,omitempty" doc:"Until response headers; default 10s"`
	IdleTimeout    string   `json:"idle_timeout,omitempty" doc:"Between two parts of a body; default 30s"`
	Concurrency    int      `json:"concurrency,omitempty" doc:"Requests at once; default 32"`
}

// PEM is certificates in PEM form, or other public keys as text. Files may refer to a file instead.
type PEM string

// Freshness declares how long a cached reference may be served without asking the upstream.
type Freshness struct {
	Default string           `json:"default,omitempty" doc:"A duration such as 24h (the default), forever, or always: ask each time"`
	Classes []FreshnessClass `json:"classes,omitzero" doc:"Exceptions; the first that matches wins"`
}

// FreshnessClass is the freshness of references that match a pattern.
type FreshnessClass struct {
	Pattern string `json:"pattern,omitempty"`
	For     string `json:"for,omitempty"`
}

// Registry declares a virtual registry.
type Registry struct {
	Name                    string   `json:"name,omitempty"`
	Format                  string   `json:"format,omitempty" doc:"container (the default)"`
	Enabled                 *bool    `json:"enabled,omitempty" doc:"Default true"`
	AnonymousPull           *bool    `json:"anonymous_pull,omitempty" doc:"Whether anyone may pull"`
	AnonymousPullOnLoopback *bool    `json:"anonymous_pull_on_loopback,omitempty" doc:"The same, but only while the server is private to its machine"`
	DigestFirst             string   `json:"digest_first,omitempty" doc:"Under rules about tags, a digest that no tag has admitted: deny (default) or allow"`
	StrictPrecedence        *bool    `json:"strict_precedence,omitempty" doc:"A lower member counts only if each higher one has a fresh answer"`
	Members                 []Member `json:"members,omitzero" doc:"In the order in which they are asked"`
	Rules                   []Rule   `json:"rules,omitzero"`
}

// Member declares an upstream at its position in a registry.
type Member struct {
	Upstream string   `json:"upstream,omitempty"`
	Enabled  *bool    `json:"enabled,omitempty" doc:"Default true"`
	Claims   []string `json:"claims,omitzero" doc:"Patterns of repositories that only this member may answer"`
}

// Rule allows or denies what a pattern matches. Any matching deny excludes; if there is an allow, one must match.
type Rule struct {
	Allow    string `json:"allow,omitempty"`
	Deny     string `json:"deny,omitempty"`
	Upstream string `json:"upstream,omitempty" doc:"In a registry: for this member alone"`
}

// Hosted declares the settings of hosted repositories below a path of the group.
type Hosted struct {
	Prefix           string `json:"prefix,omitempty" doc:"Below the group; empty: all of it"`
	AnonymousPull    *bool  `json:"anonymous_pull,omitempty"`
	AllowSparseIndex *bool  `json:"allow_sparse_index,omitempty" doc:"Accept an index of which some manifests are missing"`
}

// HostBinding declares a host name that leads to a registry.
type HostBinding struct {
	Host     string   `json:"host,omitempty" doc:"With its port unless that is the default"`
	Registry string   `json:"registry,omitempty"`
	Mirror   *bool    `json:"mirror,omitempty" doc:"For Docker daemons: logins for other hosts count as anonymous"`
	Networks []string `json:"networks,omitzero" doc:"Client networks in CIDR form; default: any"`
}

// Grant declares a role of a user for the group or a path below it.
type Grant struct {
	User string `json:"user,omitempty"`
	Path string `json:"path,omitempty" doc:"Below the group; empty: all of it"`
	Role string `json:"role,omitempty" doc:"reader, developer, maintainer, owner, or a role that the group or the instance has made"`
}

// Role declares a named set of actions.
type Role struct {
	Name    string   `json:"name,omitempty"`
	Actions []string `json:"actions,omitzero" doc:"pull, catalog, view, push, delete, configure, audit or own"`
}

// Robot declares an account of the group that logs in with tokens alone.
type Robot struct {
	Name    string  `json:"name,omitempty" doc:"Robots and trust rules of a group share names"`
	Enabled *bool   `json:"enabled,omitempty" doc:"Default true. Off, its tokens are refused"`
	Grants  []Given `json:"grants,omitzero" doc:"What it may"`
}

// Given declares a role of a robot or trust rule at a path of the group.
type Given struct {
	Path string `json:"path,omitempty" doc:"Below the group; empty: all of it"`
	Role string `json:"role,omitempty"`
}

// TrustRule declares workloads that come in by tokens of another issuer.
type TrustRule struct {
	Name            string      `json:"name,omitempty" doc:"Robots and trust rules of a group share names"`
	Enabled         *bool       `json:"enabled,omitempty" doc:"Default true"`
	Issuer          string      `json:"issuer,omitempty" doc:"URL, exactly as the tokens have it as iss"`
	Audience        string      `json:"audience,omitempty" doc:"What the tokens must have as aud"`
	Conditions      []Condition `json:"conditions,omitzero" doc:"What the claims must be, all of it"`
	Keys            PEM         `json:"keys,omitempty" doc:"The issuer's public keys as a JWKS; then it is never asked for them"`
	Grants          []Given     `json:"grants,omitzero" doc:"What workloads may"`
	LifetimeSeconds int64       `json:"lifetime_seconds,omitempty" doc:"Of the tokens that an exchange gives; default 3600"`
	SingleUse       *bool       `json:"single_use,omitempty" doc:"A token can be exchanged once, and is no password; default false"`
}

// Condition declares what a claim must be: exactly one of Equals and Matches.
type Condition struct {
	Claim   string `json:"claim,omitempty"`
	Equals  string `json:"equals,omitempty"`
	Matches string `json:"matches,omitempty" doc:"* stands for any characters, ? for one"`
}
