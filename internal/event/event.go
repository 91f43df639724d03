// Package event names what happened: the kinds of event that are written in the same transaction as the change they tell of,
// and the actor they are written for. The HTTP layer puts the actor into the context, the store takes it out. Requests that change
// nothing are told as a Request each. Package event/audit makes the trail of both.
package event

import "context"

// Kinds of event. They are stored and shown to people, so a kind must never be renamed.
const (
	ManifestPushed    = "manifest.pushed"    // subject: <repository>@<digest>
	ManifestDeleted   = "manifest.deleted"   // subject: <repository>@<digest>
	TagMoved          = "tag.moved"          // subject: <repository>:<tag>; detail has the digests
	TagDeleted        = "tag.deleted"        // subject: <repository>:<tag>
	BlobDeleted       = "blob.deleted"       // subject: <repository>@<digest>
	RepositoryDeleted = "repository.deleted" // subject: <repository>, after the events of all that it held
	ImageCopied       = "image.copied"       // subject: <repository>@<digest>; detail says from where
	CachePurged       = "cache.purged"       // subject: upstream <name>, then the repository and its reference if it was not all of it
	CacheRefreshed    = "cache.refreshed"    // subject: upstream <name>, or the repository or image as it was asked for
	JobRun            = "job.run"            // subject: kind of the job that somebody wants run at once; detail has its key
)

// Actor is who causes a change. The zero Actor is the server itself.
type Actor struct {
	ID         int64  // of the account; 0 = the server, the operator at the local socket, or anonymous
	Kind       string // of principal, as package access has it; empty = the server
	TokenID    int64  // that was shown, 0 = none
	Address    string // where the request came from, empty = from no network
	RequestID  string // of the request that caused it, empty for background work
	DecisionID string // of the resolver's answer that the change stands on, empty if there was none
}

// Kinds of an Actor that is no account: nobody's request, and one that has not shown whose it is.
const (
	Server    = "server"
	Anonymous = "anonymous"
)

type actorKey struct{}

// WithActor returns a context that carries a.
func WithActor(ctx context.Context, a Actor) context.Context {
	return &actorContext{ctx, a}
}

// actorContext holds the value itself, which context.WithValue would put into an allocation of its own.
type actorContext struct {
	context.Context
	actor Actor
}

// Value implements context.Context.
func (c *actorContext) Value(key any) any {
	if _, ok := key.(actorKey); ok {
		return &c.actor
	}
	return c.Context.Value(key)
}

// ActorFrom returns the context's actor.
func ActorFrom(ctx context.Context) Actor {
	if a, ok := ctx.Value(actorKey{}).(*Actor); ok {
		return *a
	}
	return Actor{}
}
