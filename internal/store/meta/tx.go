package meta

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Tx is a transaction in the hands of a Write's function, and must not outlive it.
type Tx struct {
	*query.Queries

	db      *DB
	conn    query.DBTX
	changes []Change
	touched []int64 // groups whose generation this transaction has raised

	found   query.FindAddressParams // what address found last …
	foundID int64                   // … since an actor's events come from one
}

// Conn is the connection itself, for the few statements that cannot be generated.
func (tx *Tx) Conn() query.DBTX { return tx.conn }

// Engine is SQLite or PostgreSQL.
func (tx *Tx) Engine() string { return tx.db.Engine() }

// ID is DB.ID.
func (tx *Tx) ID() int64 { return tx.db.ID() }

// Change notes in the change feed that what kind and key name has changed; group 0 is the instance. Followers hear of it
// after the commit.
func (tx *Tx) Change(ctx context.Context, group int64, kind, key string) error {
	seq, err := tx.InsertChange(ctx, query.InsertChangeParams{GroupID: group, Kind: kind, Key: key, At: micros(time.Now())})
	if err != nil {
		return fmt.Errorf("note the change of %s %s: %w", kind, key, err)
	}
	tx.changes = append(tx.changes, Change{Seq: seq, GroupID: group, Kind: kind, Key: key})
	return nil
}

// Event is something that happened, for the audit trail. Who caused it and from where is taken from the context
// (event.WithActor); ActorID with its ActorKind, and RequestID, count before what the context says. Nothing here may name a person or hold a secret: events
// cannot be changed later.
type Event struct {
	GroupID   int64 // 0 = the instance
	Kind      string
	ActorID   int64
	ActorKind string // of ActorID; needed where that is not the context's
	Subject   string
	Detail    any // becomes JSON
	RequestID string
}

// Event stores an event with the transaction.
func (tx *Tx) Event(ctx context.Context, e Event) error {
	if !slices.Contains(event.Changes(), e.Kind) {
		return fmt.Errorf("no events of kind %q are known", e.Kind)
	}
	detail := []byte("{}")
	if e.Detail != nil {
		var err error
		if detail, err = json.Marshal(e.Detail); err != nil {
			return fmt.Errorf("encode the detail of event %s: %w", e.Kind, err)
		}
	}
	by, now := event.ActorFrom(ctx), time.Now()
	if e.ActorID != 0 && e.ActorID != by.ID { // an account that acts by what it has just shown
		by.ID, by.Kind, by.TokenID = e.ActorID, e.ActorKind, 0
	} else {
		by.Kind = cmp.Or(by.Kind, event.Server)
	}
	address, err := tx.address(ctx, by, now)
	if err != nil {
		return fmt.Errorf("note the address of event %s: %w", e.Kind, err)
	}
	return tx.InsertEvent(ctx, query.InsertEventParams{
		ID: tx.ID(), GroupID: e.GroupID, Kind: e.Kind, ActorID: by.ID, ActorKind: by.Kind, TokenID: by.TokenID, AddressID: address,
		Subject: e.Subject, Detail: string(detail), RequestID: cmp.Or(e.RequestID, by.RequestID), DecisionID: by.DecisionID, At: micros(now),
		Unsent: tx.db.unsent,
	})
}

// address is the id of where an actor comes from in this month; 0 for none.
func (tx *Tx) address(ctx context.Context, by event.Actor, now time.Time) (int64, error) {
	if by.Address == "" {
		return 0, nil
	}
	find := query.FindAddressParams{ActorID: by.ID, Month: Month(now), Address: by.Address}
	if find == tx.found {
		return tx.foundID, nil
	}
	id, err := tx.FindAddress(ctx, find)
	if errors.Is(err, sql.ErrNoRows) {
		id, err = tx.makeAddress(ctx, find)
	}
	if err == nil {
		tx.found, tx.foundID = find, id
	}
	return id, err
}

func (tx *Tx) makeAddress(ctx context.Context, find query.FindAddressParams) (int64, error) {
	id := tx.ID()
	n, err := tx.InsertAddress(ctx, query.InsertAddressParams{ID: id, ActorID: find.ActorID, Month: find.Month, Address: find.Address})
	if err == nil && n == 0 { // another transaction was first
		id, err = tx.FindAddress(ctx, find)
	}
	return id, err
}

// Month is how the table of addresses counts them.
func Month(at time.Time) int64 {
	at = at.UTC()
	return int64(at.Year())*12 + int64(at.Month()) - 1
}

// LockBlob reads a blob's row and keeps every other transaction from linking, collecting or moving it until this one ends.
// sql.ErrNoRows when there is none; then nothing is locked.
func (tx *Tx) LockBlob(ctx context.Context, digest []byte) (query.Blob, error) {
	var b query.Blob
	err := tx.lock(ctx, "SELECT digest, size, storage_key, created_at FROM blobs WHERE digest = $1", digest).
		Scan(&b.Digest, &b.Size, &b.StorageKey, &b.CreatedAt)
	return b, err
}

// LockRepository reads and locks a repository's row; sql.ErrNoRows.
func (tx *Tx) LockRepository(ctx context.Context, id int64) (query.Repository, error) {
	var r query.Repository
	err := tx.lock(ctx, "SELECT id, group_id, upstream_id, epoch, format, name, created_at, first_manifest_at FROM repositories WHERE id = $1", id).
		Scan(&r.ID, &r.GroupID, &r.UpstreamID, &r.Epoch, &r.Format, &r.Name, &r.CreatedAt, &r.FirstManifestAt)
	return r, err
}

// lock runs a SELECT whose rows stay locked until the end of the transaction. On SQLite the turn to write is the lock.
func (tx *Tx) lock(ctx context.Context, statement string, args ...any) rowScanner {
	return tx.conn.QueryRowContext(ctx, statement+tx.db.engine.forUpdate(), args...)
}

type rowScanner interface{ Scan(dest ...any) error }

func micros(t time.Time) int64 { return t.UnixMicro() }
