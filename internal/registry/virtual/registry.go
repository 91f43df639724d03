package virtual

import (
	"context"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Options describe a virtual registry. The value is not changed after New.
type Options struct {
	Group            string // name, for decisions and messages
	Name             string // of the registry
	Generation       int64  // of the group's configuration, for decisions
	AllowDigestFirst bool   // digest_first: allow: a digest that no tag admitted passes tag rules
	StrictPrecedence bool   // every higher member must answer with authority before a lower one counts
	Rules            []Rule // the registry's rules for all members
	Members          []MemberConfig
	MemoSize         int           // verdicts on digests kept in memory; default 16384
	NewID            func() string // makes decision ids; must be safe for concurrent use

	// Visible reports whether the caller in ctx may be told about a member in an error; nil tells about every member. A local
	// member that is forbidden to the caller is never told about. Decisions, of Explain and Refresh too, tell about all.
	Visible func(ctx context.Context, member string) bool
}

// MemberConfig is a member at its position.
type MemberConfig struct {
	Name          string // of the upstream
	Member        Member // may be nil when the member is turned off
	Enabled       bool
	Local         bool          // a hosted prefix of the group: what exists there is claimed by it
	Hub           bool          // Docker Hub: one-segment names are under library/, docker.io is one of its hosts
	Hosts         []string      // hosts it serves, for ?ns= and hosts in paths
	Claims        []oci.Pattern // names it owns alone. A tag part is ignored: a claim is on repositories
	UpstreamRules []Rule        // rules of the upstream, in force in all its registries
	Rules         []Rule        // rules of the registry for this member alone
	StopOnUnknown bool          // on_unknown: stop
}

// Registry is a virtual registry. It can be read; every write is refused with a message that says where to push. Build one
// with New for each generation of the configuration.
type Registry struct {
	registry.Unimplemented
	opt     Options
	members []member
	memo    *memo
	tagged  bool // some rule has a tag part
}

var _ registry.Registry = (*Registry)(nil)

type member struct {
	MemberConfig
	rules rules
	hosts map[string]bool // canonical
}

// New builds a virtual registry.
func New(opt Options) *Registry {
	if opt.MemoSize <= 0 {
		opt.MemoSize = 16 << 10
	}
	if opt.NewID == nil {
		opt.NewID = func() string { return "" }
	}
	r := &Registry{opt: opt, memo: newMemo(opt.MemoSize), tagged: anyTagged(opt.Rules)}
	for _, c := range opt.Members {
		c.Enabled = c.Enabled && c.Member != nil
		m := member{MemberConfig: c, hosts: map[string]bool{}}
		m.rules[0] = newLevel("upstream "+c.Name, c.UpstreamRules...)
		m.rules[1] = newLevel("registry "+r.path(), append(append([]Rule(nil), opt.Rules...), c.Rules...)...)
		for _, h := range c.Hosts {
			m.hosts[oci.CanonicalHost(h)] = true
		}
		if c.Hub {
			m.hosts[oci.HubHost] = true
		}
		r.tagged = r.tagged || anyTagged(c.UpstreamRules) || anyTagged(c.Rules)
		r.members = append(r.members, m)
	}
	return r
}

func anyTagged(rules []Rule) bool {
	for _, rule := range rules {
		if rule.Pattern.HasTag() {
			return true
		}
	}
	return false
}

// path is the registry as it stands in a URL.
func (r *Registry) path() string { return r.opt.Group + "/" + r.opt.Name }

// name is the member's own name of a repository.
func (m *member) name(repository string) string {
	if m.Hub {
		return hubName(repository)
	}
	return repository
}

// claims reports whether one of the member's patterns claims the repository.
func (m *member) claims(repository string) bool {
	name := m.name(repository)
	for _, p := range m.Claims {
		if p.MatchRepository(name) {
			return true
		}
	}
	return false
}
