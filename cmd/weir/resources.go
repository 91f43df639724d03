package main

import (
	"github.com/spf13/cobra"

	"github.com/weir-registry/weir/internal/plan/desired"
	"github.com/weir-registry/weir/internal/serve/api"
)

// resources are the nouns of the command line that are alike, in the order of the manual. Rules and tokens have commands of their
// own: the ones have no names, and the others are shown once.
func resources() []*resource {
	return []*resource{
		groups(), registries(), members(), upstreams(), credentials(), bindings(), hosted(), repositories(), tags(), manifests(),
		users(), roles(), grants(), robots(), trustRules(), sessions(), jobs(),
	}
}

func newResourceCommands() []*cobra.Command {
	var out []*cobra.Command
	for _, r := range resources() {
		out = append(out, r.command())
	}
	return out
}

var (
	everyVerb = []string{"list", "get", "create", "update", "delete"}
	tried     = []string{"create", "update", "delete"}
	triedGone = []string{"delete"}
)

func groups() *resource {
	return &resource{
		noun: "group", short: "Groups: tenants, the first part of every name", path: "/groups/{name}", key: "name",
		form: api.GroupSettings{}, columns: columns{"name=group", "enabled", "id"}, filters: switchable, verbs: everyVerb, dry: tried,
		warning: "Everything that is defined below it goes too. It is refused while its repositories hold content.",
	}
}

func registries() *resource {
	return &resource{
		noun: "registry", short: "Virtual registries: ordered lists of upstreams behind one name", path: "/groups/{group}/registries/{registry}", key: "name",
		form: desired.Registry{}, columns: columns{"name=registry", "members.upstream=members", "rules:count", "anonymous_pull=anonymous", "enabled"},
		filters: append([]filter{{name: "upstream", doc: "only those that have this upstream as a member"}, anyonePulls}, switchable...), verbs: everyVerb, dry: tried,
		warning: "Its upstreams stay, with what is cached from them, unless --with-exclusive-upstreams is given. It is refused while a host leads to it.",
		deleted: []filter{{name: "with_exclusive_upstreams", doc: "delete its upstreams too, as far as no other registry has them", yes: true}},
		more:    registryCommands,
		example: "  weir registry create hub\n  weir registry attach hub dockerhub\n  weir registry evaluate hub library/alpine:3.20",
	}
}

func members() *resource {
	return &resource{
		noun: "member", short: "Members of a registry: upstreams at their positions",
		long: "Members are attached, detached and moved by `weir registry`.",
		path: "/groups/{group}/registries/{registry}/members/{upstream}", key: "upstream",
		form: desired.Member{}, shown: []string{"position"}, columns: columns{"position", "upstream", "enabled", "claims"}, verbs: []string{"list", "get", "update"}, dry: tried,
	}
}

func upstreams() *resource {
	return &resource{
		noun: "upstream", short: "Upstreams: remote registries, and hosted repositories of the group", path: "/groups/{group}/upstreams/{upstream}", key: "name",
		form: desired.Upstream{}, columns: columns{"name=upstream", "url", "local", "credential", "freshness.default=fresh for", "rules:count", "enabled"},
		filters: append([]filter{{name: "credential", doc: "only those that use this credential"}, {name: "host", doc: "only those that answer for this host"}}, switchable...), verbs: everyVerb, dry: tried,
		warning: "Every registry that has it as a member loses it, and what is cached from it goes.",
		more:    upstreamCommands,
		example: "  weir upstream create ghcr --url https://ghcr.io --freshness-default 12h\n  weir upstream purge ghcr --repository org/app --dry-run",
	}
}

func credentials() *resource {
	return &resource{
		noun: "credential", short: "Credentials: how Weir proves itself to upstreams", path: "/groups/{group}/credentials/{name}", key: "name",
		form: desired.Credential{}, columns: columns{"name=credential", "kind", "username", "hosts"},
		filters: append([]filter{{name: "host", doc: "only those that may be sent to this host"}}, nameFilters...), verbs: everyVerb, dry: tried,
		fixed:   []string{"password"},
		warning: "It is refused while an upstream uses it.",
		more:    credentialCommands,
		example: "  weir credential create hub --username ci --password-env HUB_TOKEN --hosts registry-1.docker.io",
	}
}

func bindings() *resource {
	return &resource{
		noun: "binding", short: "Host bindings: host names that lead to a registry", path: "/groups/{group}/host-bindings/{host}", key: "host",
		form: desired.HostBinding{}, columns: columns{"host", "registry", "mirror", "networks"},
		filters: append([]filter{
			{name: "registry", doc: "only those that lead to this registry"}, {name: "mirror", doc: "true or false: only mirrors, or the others", of: yesNo},
		}, nameFilters...), verbs: everyVerb, dry: tried,
		warning: "Requests to the host no longer lead to the registry.",
		example: "  weir binding create mirror.example.com --registry open --mirror --networks 10.0.0.0/8",
	}
}

func hosted() *resource {
	return &resource{
		noun: "hosted", short: "Settings of hosted repositories, by the beginning of their path",
		long: "The longest matching prefix decides; the prefix - is the whole group.", path: "/groups/{group}/hosted/{prefix}", key: "prefix",
		form: desired.Hosted{}, columns: columns{"prefix", "anonymous_pull=anonymous", "allow_sparse_index=sparse index"},
		filters: append([]filter{anyonePulls}, nameFilters...), verbs: everyVerb, dry: tried,
		warning: "Settings only: repositories stay.",
	}
}

var (
	nameFilters = []filter{{name: "name", doc: "only those with this in their name"}, {name: "sort", doc: "name, or -name for backwards", of: []string{"name", "-name"}}}
	switchable  = append([]filter{{name: "enabled", doc: "true or false: only those that are turned on, or off", of: yesNo}}, nameFilters...)
	anyonePulls = filter{name: "anonymous_pull", doc: "true or false: only where anyone may pull, or not", of: yesNo}
	yesNo       = []string{"true", "false"}
	ofUpstream  = []filter{{name: "upstream", doc: "the upstream that a cached repository is from; a hosted one without it"}}
)

func repositories() *resource {
	return &resource{
		noun: "repository", short: "Repositories: what the group hosts, and what is cached from upstreams",
		long: "A hosted repository is named as below its group; a cached one as its upstream names it, with --upstream.",
		path: "/groups/{group}/repositories/{repository}", key: "name", query: ofUpstream,
		columns: columns{"name=repository", "kind", "upstream", "pulls", "last_pulled_at:time=last pulled"},
		filters: []filter{
			{name: "kind", doc: "hosted or cached: only these", of: []string{"hosted", "cached"}}, {name: "registry", doc: "only what comes through this registry"},
			{name: "prefix", doc: "only names that begin so"}, {name: "sort", doc: "name, last_pulled_at or -last_pulled_at", of: []string{"name", "last_pulled_at", "-last_pulled_at"}},
		},
		verbs: []string{"list", "get"},
		more:  repositoryCommands,
	}
}

func tags() *resource {
	return &resource{
		noun: "tag", short: "Tags of a repository", path: "/groups/{group}/repositories/{repository}/tags/{tag}", key: "name", query: ofUpstream,
		columns: columns{"name=tag", "digest:digest", "platform", "size:bytes", "updated_at:time=updated", "pulls", "cached.stale=stale"},
		filters: []filter{{name: "prefix", doc: "only tags that begin so"}, {name: "sort", doc: "name, or -updated_at for what moved last", of: []string{"name", "-updated_at"}}},
		verbs:   []string{"list", "get", "delete"}, dry: triedGone, content: true,
		warning: "Of a hosted repository the manifest stays. Of a cached one it goes too, and the next pull fetches it anew.",
		more:    tagCommands,
	}
}

func manifests() *resource {
	return &resource{
		noun: "manifest", short: "Manifests of a repository", path: "/groups/{group}/repositories/{repository}/manifests/{digest}", key: "digest", query: ofUpstream,
		columns: columns{"digest", "media_type=type", "platform", "size:bytes", "tags", "pulls"},
		verbs:   []string{"list", "get", "delete"}, dry: triedGone, content: true,
		warning: "Tags that point to it go too.",
	}
}
