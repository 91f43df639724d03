package meta

import "time"

// Group and everything that people configure below it, as one value: what assemble makes live registries of, what the
// planner of `weir apply` compares, and what the API reads out. Ids are application-made, time-ordered and never reused.
type Group struct {
	ID             int64
	Name           string
	Enabled        bool
	Generation     int64 // grows with every change of configuration in the group
	Credentials    []Credential
	Upstreams      []Upstream
	Registries     []Registry
	HostedPrefixes []HostedPrefix
	HostBindings   []HostBinding
}

// Credential is a login that Weir uses outward.
type Credential struct {
	ID          int64
	Name        string
	Kind        string // "static"
	Username    string
	Secret      []byte   // sealed
	Fingerprint []byte   // keyed fingerprint of the secret
	Hosts       []string // hosts it may be sent to; empty = the hosts of the upstreams that use it
	Version     int64
	Previous    PreviousSecret
}

// PreviousSecret is the secret that a credential had before the present one. It may be used while the present one is refused,
// as one is that has a typing error or is not valid yet where it is used.
type PreviousSecret struct {
	Secret  []byte // sealed; empty = none
	Version int64  // that it is sealed for
	Until   time.Time
}

// Policies of an upstream.
const (
	Continue = "continue" // on_unknown: ask the next member
	Stop     = "stop"     // on_unknown: fail closed
	Serve    = "serve"    // on_upstream_delete: what is cached stays servable
	Refuse   = "refuse"   // on_upstream_delete: the upstream's 404 counts
)

// Upstream is a remote registry or a local prefix.
type Upstream struct {
	ID               int64
	Name             string
	URL              string // remote
	Local            string // "<group>/<prefix>" for a local one
	CredentialID     int64  // 0 = anonymous
	Epoch            int64
	Enabled          bool
	OnUnknown        string
	OnUpstreamDelete string
	Freshness        Freshness
	StaleBefore      time.Time // references confirmed earlier are stale, whatever their freshness; see Tx.SetStaleBefore
	Settings         UpstreamSettings
	Rules            []Rule
}

// Freshness says how long a cached reference may be served without asking. JSON and YAML form as in the API.
type Freshness struct {
	Default string           `json:"default,omitempty" yaml:"default,omitempty"` // a duration such as "24h", "forever" or "always" (ask each time)
	Classes []FreshnessClass `json:"classes,omitempty" yaml:"classes,omitempty"` // first match wins
}

// FreshnessClass is the freshness of references that match a pattern.
type FreshnessClass struct {
	Pattern string `json:"pattern" yaml:"pattern"`
	For     string `json:"for" yaml:"for"`
}

// UpstreamSettings are the rarely used settings of an upstream. Zero values mean the server's defaults.
type UpstreamSettings struct {
	Hosts          []string      `json:"hosts,omitempty" yaml:"hosts,omitempty"`                     // more host names it answers for (?ns=, host in path)
	CA             string        `json:"ca,omitempty" yaml:"ca,omitempty"`                           // PEM of a private CA
	RealmHosts     []string      `json:"realm_hosts,omitempty" yaml:"realm_hosts,omitempty"`         // further hosts its token endpoint may be on
	RevalidateWait time.Duration `json:"revalidate_wait,omitempty" yaml:"revalidate_wait,omitempty"` // default 400ms
	Timeout        time.Duration `json:"timeout,omitempty" yaml:"timeout,omitempty"`                 // until response headers; default 10s
	IdleTimeout    time.Duration `json:"idle_timeout,omitempty" yaml:"idle_timeout,omitempty"`       // between body bytes; default 30s
	Concurrency    int           `json:"concurrency,omitempty" yaml:"concurrency,omitempty"`         // requests at once; default 32
}

// Registry is a virtual registry.
type Registry struct {
	ID               int64
	Name             string
	Format           string // "container"
	Enabled          bool
	AnonymousPull    string // "no", "yes", "loopback"
	DigestFirst      string // "deny", "allow"
	StrictPrecedence bool
	Members          []Member // in order
	Rules            []Rule
}

// Member is an upstream at a position in a registry.
type Member struct {
	UpstreamID int64
	Enabled    bool
	Claims     []string
}

// Rule allows or denies references. Order among rules does not matter: any matching deny excludes.
type Rule struct {
	ID             int64
	Action         string // "allow", "deny"
	Pattern        string
	OnlyUpstreamID int64 // on a registry: for one member only; 0 = all
}

// HostedPrefix holds settings of hosted repositories under a path of the group; the longest matching prefix decides.
type HostedPrefix struct {
	ID               int64
	Prefix           string // below the group, empty = all of it
	AnonymousPull    bool
	AllowSparseIndex bool
}

// HostBinding makes a host name a door to a prefix.
type HostBinding struct {
	Host     string // lower case, with port if it has one
	Prefix   string // "<group>/<registry>"
	Mirror   bool
	Networks []string // CIDR; empty = any client
}
