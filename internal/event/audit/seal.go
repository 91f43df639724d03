package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// A seal closes a range of rows that one replica wrote on one day, in the order of their ids:
//
//	leaf      SHA-256 of a row: each column that does not change later, a number as 8 bytes, a text as its length and its bytes
//	leaves    for each row its id and its leaf
//	sum       SHA-256 of "weir audit 1", the class, replica, number, day, events, first id, last id, last time, SHA-256 of the
//	          leaves and the sum of the seal before it
//	signature Ed25519 of the sum
//
// All numbers are big-endian. A row that commits late, with an id before others that are sealed, comes into the next seal: rows are taken
// because they have no seal, never because of where a cursor stands. Dropping a range keeps its seal without the leaves, so that the
// chain can still be verified.
const (
	sealForm = "weir audit 1"
	sealRows = 1000 // events of one transaction
	sealPull = 8    // batches of one transaction, and of one seal, which is read as a whole: each may have hundreds of kilobytes
	leafSize = 8 + sha256.Size
)

// Streams of the trail.
const (
	Changes = "changes"
	Pulls   = "pulls"
)

// Access is the class of the stream Pulls that has refusals and logins; the class of all others is called as their stream. Each class
// is kept for its own time, so each has its own batches and seals.
const Access = "access"

// leaf is one row as a seal covers it.
type leaf struct {
	id, at int64
	class  string
	sum    [sha256.Size]byte
}

type hasher struct{ buf []byte }

func (h *hasher) number(v int64) { h.buf = binary.BigEndian.AppendUint64(h.buf, uint64(v)) } //nolint:gosec // the bits count

func (h *hasher) text(b string) {
	h.number(int64(len(b)))
	h.buf = append(h.buf, b...)
}

func eventLeaf(e *query.Event) leaf {
	var h hasher
	for _, n := range [...]int64{e.ID, e.GroupID, e.ActorID, e.TokenID, e.AddressID, e.At} {
		h.number(n)
	}
	for _, s := range [...]string{e.Kind, e.ActorKind, e.Subject, e.Detail, e.RequestID, e.DecisionID} {
		h.text(s)
	}
	return leaf{e.ID, e.At, Changes, sha256.Sum256(h.buf)}
}

func batchLeaf(b *query.PullBatch) leaf {
	var h hasher
	for _, n := range [...]int64{b.ID, b.Replica, b.FirstAt, b.LastAt, b.Events} {
		h.number(n)
	}
	h.number(int64(len(b.Payload)))
	all := sha256.New() // past h, which would have to hold the payload too
	all.Write(h.buf)
	all.Write(b.Payload)
	if b.Class != Pulls { // else as before there were classes
		h.buf = h.buf[:0]
		h.text(b.Class)
		all.Write(h.buf)
	}
	return leaf{b.ID, b.LastAt, b.Class, [sha256.Size]byte(all.Sum(nil))}
}

func (l leaf) day() string { return time.UnixMicro(l.at).UTC().Format(time.DateOnly) }

// sealed is a row of seals or pull_seals, which have the same columns.
type sealed = query.Seal

// sum is what is signed.
func sum(s *sealed) []byte {
	var h hasher
	h.buf = append(h.buf, sealForm...)
	h.text(s.Class)
	h.number(s.Replica)
	h.number(s.Number)
	h.text(s.Day)
	for _, n := range [...]int64{s.Events, s.FirstID, s.LastID, s.LastAt} {
		h.number(n)
	}
	h.text(string(s.LeavesSum))
	h.text(string(s.Previous))
	out := sha256.Sum256(h.buf)
	return out[:]
}

// bind makes a seal of leaves, all of one replica, day and class, that follows another.
func (k *Keeper) bind(key *signingKey, before sealed, leaves []leaf) sealed {
	s := sealed{
		ID: k.db.ID(), Replica: replicaOf(leaves[0].id), Number: before.Number + 1, Day: leaves[0].day(), Class: leaves[0].class, Events: int64(len(leaves)),
		FirstID: leaves[0].id, LastID: leaves[len(leaves)-1].id, Previous: before.Sum, KeyID: key.id, SealedAt: k.o.Now().UnixMicro(),
	}
	if s.Previous == nil {
		s.Previous = []byte{}
	}
	var h hasher
	for _, l := range leaves {
		h.number(l.id)
		h.buf = append(h.buf, l.sum[:]...)
		s.LastAt = max(s.LastAt, l.at)
	}
	all := sha256.Sum256(h.buf)
	s.Leaves, s.LeavesSum = h.buf, all[:]
	s.Sum = sum(&s)
	s.Signature = ed25519.Sign(key.private, s.Sum)
	return s
}

// replicaOf is the number of the replica that made an id.
func replicaOf(id int64) int64 { return id >> 12 & 1023 }

// ranges splits leaves, in the order of their ids, by replica, day and class.
func ranges(leaves []leaf) (out [][]leaf) {
	type place struct {
		replica    int64
		day, class string
	}
	at := map[place]int{}
	for _, l := range leaves {
		p := place{replicaOf(l.id), l.day(), l.class}
		i, ok := at[p]
		if !ok {
			i = len(out)
			at[p], out = i, append(out, nil)
		}
		out[i] = append(out[i], l)
	}
	return out
}

// seal closes everything that is not sealed yet, some rows in each transaction.
func (k *Keeper) seal(ctx context.Context) error {
	key, err := k.signingKey(ctx)
	if err != nil {
		return err
	}
	for n := sealRows; n == sealRows; {
		if n, err = k.sealEvents(ctx, key); err != nil {
			return fmt.Errorf("seal changes: %w", err)
		}
	}
	for n := sealPull; n == sealPull; {
		if n, err = k.sealPulls(ctx, key); err != nil {
			return fmt.Errorf("seal pulls: %w", err)
		}
	}
	return nil
}

func (k *Keeper) sealEvents(ctx context.Context, key *signingKey) (n int, err error) {
	err = k.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		rows, err := tx.UnsealedEvents(ctx, sealRows)
		if err != nil {
			return err
		}
		n = len(rows)
		leaves := make([]leaf, n)
		for i := range rows {
			leaves[i] = eventLeaf(&rows[i])
		}
		for _, part := range ranges(leaves) {
			before, err := tx.LastSeal(ctx, replicaOf(part[0].id))
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			s := k.bind(key, before, part)
			if err := tx.InsertSeal(ctx, insertion(&s)); err != nil {
				return err
			}
			for _, l := range part {
				if _, err := tx.SealEvent(ctx, query.SealEventParams{SealID: s.ID, ID: l.id}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return n, err
}

func (k *Keeper) sealPulls(ctx context.Context, key *signingKey) (n int, err error) {
	err = k.db.WriteTelemetry(ctx, func(ctx context.Context, q *query.Queries) error {
		rows, err := q.UnsealedPullBatches(ctx, sealPull)
		if err != nil {
			return err
		}
		n = len(rows)
		leaves := make([]leaf, n)
		for i := range rows {
			leaves[i] = batchLeaf(&rows[i])
		}
		for _, part := range ranges(leaves) {
			before, err := q.LastPullSeal(ctx, replicaOf(part[0].id))
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			s := k.bind(key, sealed(before), part)
			if err := q.InsertPullSeal(ctx, query.InsertPullSealParams(insertion(&s))); err != nil {
				return err
			}
			for _, l := range part {
				if _, err := q.SealPullBatch(ctx, query.SealPullBatchParams{SealID: s.ID, ID: l.id}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return n, err
}

func insertion(s *sealed) query.InsertSealParams {
	return query.InsertSealParams{
		ID: s.ID, Replica: s.Replica, Number: s.Number, Day: s.Day, Events: s.Events, FirstID: s.FirstID, LastID: s.LastID, LastAt: s.LastAt,
		Leaves: s.Leaves, LeavesSum: s.LeavesSum, Previous: s.Previous, Sum: s.Sum, KeyID: s.KeyID, Signature: s.Signature, SealedAt: s.SealedAt, Class: s.Class,
	}
}

type signingKey struct {
	id      int64
	private ed25519.PrivateKey
}

func keyPlace(id int64) seal.Place {
	return seal.Place{Table: "audit_keys", Row: id, Field: "private_key", Version: 1}
}

// signingKey is the newest key; the first seal makes one.
func (k *Keeper) signingKey(ctx context.Context) (*signingKey, error) {
	rows, err := k.db.Read().AuditKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("keys of the audit trail: %w", err)
	}
	if len(rows) == 0 {
		return k.makeKey(ctx)
	}
	row := rows[len(rows)-1]
	seed, err := k.o.Sealer.Open(keyPlace(row.ID), row.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("key %d of the audit trail: %w", row.ID, err)
	}
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("key %d of the audit trail has %d bytes", row.ID, len(seed))
	}
	private := ed25519.NewKeyFromSeed(seed)
	if public, ok := private.Public().(ed25519.PublicKey); !ok || !bytes.Equal(public, row.PublicKey) {
		return nil, fmt.Errorf("key %d of the audit trail is not what its public half says", row.ID)
	}
	return &signingKey{row.ID, private}, nil
}

func (k *Keeper) makeKey(ctx context.Context) (*signingKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	out := &signingKey{private: private}
	err = k.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		out.id = tx.ID()
		secret, err := k.o.Sealer.Seal(keyPlace(out.id), private.Seed())
		if err != nil {
			return err
		}
		err = tx.InsertAuditKey(ctx, query.InsertAuditKeyParams{ID: out.id, PublicKey: public, PrivateKey: secret, CreatedAt: k.o.Now().UnixMicro()})
		if err != nil {
			return err
		}
		return tx.Event(ctx, meta.Event{Kind: "audit.key_made", Subject: fmt.Sprintf("key %d", out.id), Detail: map[string][]byte{"public_key": public}})
	})
	if err != nil {
		return nil, fmt.Errorf("make a key for the audit trail: %w", err)
	}
	return out, nil
}
