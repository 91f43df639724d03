// Package virtual is the resolver: ordered members, rules and claims that together answer as one registry.Registry. Package
// registry/namespace leads requests to it, registry/assemble builds it from definitions. It does no I/O of its own, reads no
// clock and knows no SQL: everything it learns comes through Member, so the same code decides a pull, an explanation
// (Peek alone) and a probe (HEADs), and they cannot disagree.
//
// # The walk
//
// Members are looked at in order. A member can be out before anything is asked: turned off, not serving the host that the
// request was narrowed to, not the owner of a claimed name, or excluded by a rule. Of those left, the first that holds
// an entry, fresh or stale, is the candidate and is asked first; a fresh entry costs no upstream traffic. Without a candidate
// members are asked in order until one has it. What an answer means:
//
//	found      the walk ends
//	absent     the next member
//	denied     the next member; as unknown for a member with on_unknown: stop
//	unknown    the next member; under strict_precedence or on_unknown: stop no member below counts any more
//	forbidden  the walk ends with the answer that a name nobody has would get
//
// Under strict_precedence, and below a member with on_unknown: stop, an entry of a lower member is a candidate only when every
// higher member has given an authoritative answer. That holds for references and lists, which a lower member could
// impersonate. Content named by digest cannot be impersonated: whoever holds it serves it, and a digest that nobody
// holds goes first to the member whose repository refers to it.
//
// # Claims
//
// A name that a member claims belongs to the first claiming member alone; a repository that exists in a local member is claimed
// by that member, for every caller, unless a pattern claims it. Claims of members that are turned off, or that narrowing left
// out, must hold too: otherwise turning off a private member, or adding "?ns=docker.io", would send private names to a public
// upstream. A request narrowed to one host for a name that a member elsewhere claims therefore finds nothing.
//
// # Rules
//
// A matching deny excludes; where a level (upstream, registry) has any allow, one must match. Both levels must pass, for the
// member's own name of the repository ("library/alpine" at Docker Hub). A digest is judged by the tags that admitted it,
// when any rule with a tag part can match the repository, so that digests do not bypass rules.
package virtual
