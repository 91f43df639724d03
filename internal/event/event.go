// Package event names what happened: the kinds of event that are written in the same transaction as the change they tell of,
// and the actor they are written for. The HTTP layer puts the actor into the context, the store takes it out; sinks (audit,
// webhooks, statistics) read the rows later.
package event

import "context"

// Kinds of event. They are stored and shown to people, so a kind must never be renamed.
const (
	ManifestPushed  = "manifest.pushed"  // subject: <repository>@<digest>
	ManifestDeleted = "manifest.deleted" // subject: <repository>@<digest>
	TagMoved        = "tag.moved"        // subject: <repository>:<tag>; detail has the digests
	TagDeleted      = "tag.deleted"      // subject: <repository>:<tag>
	BlobDeleted     = "blob.deleted"     // subject: <repository>@<digest>
)

// Actor is who causes a change. The zero Actor is the server itself.
type Actor struct {
	ID        int64  // principal; 0 = the server or anonymous
	RequestID string // of the request that caused it, empty for background work
}

type actorKey struct{}

// WithActor returns a context that carries a.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorFrom returns the context's actor.
func ActorFrom(ctx context.Context) Actor {
	a, _ := ctx.Value(actorKey{}).(Actor)
	return a
}
