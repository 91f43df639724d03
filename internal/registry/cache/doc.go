// Package cache is the pull-through registry: it puts a store in front of one remote registry, of whatever kind, and is a
// member of virtual registries. Package assemble builds one Registry for each upstream; all of them share one Fills.
//
// References (tags, lists) are fresh or stale (freshness.go); a stale one is checked with its upstream (check.go) and served
// stale whenever the upstream gives no authoritative answer. Content is named by its digest, enters the store through a fill
// (fill.go) that any number of clients share, and never needs asking again. Nothing enters the store unless its bytes have
// been hashed here, and no client receives the end of content whose bytes turned out to be wrong.
//
// All exported methods are safe for concurrent use. Background work, checks and fills alike, belongs to Fills, whose
// Close waits for it.
package cache
