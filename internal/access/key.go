package access

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

const (
	algorithm = "EdDSA"
	// keyOverlap is how long a retired key still verifies: as long as the longest-lived token it may have signed.
	keyOverlap = refreshTTL + time.Hour
)

func keyPlace(id int64) seal.Place {
	return seal.Place{Table: "signing_keys", Row: id, Field: "private_key", Version: 1}
}

// ensureKey makes the first signing key. Replicas that start together may make one each, which does no harm: all verify.
func (d *Directory) ensureKey(ctx context.Context) error {
	s, err := d.current(ctx)
	if err != nil {
		return err
	}
	if s.signing != nil {
		return nil
	}
	return d.RotateSigningKey(ctx, Actor{})
}

// RotateSigningKey makes a new key for signing. The ones before it go on verifying for as long as tokens of theirs live.
func (d *Directory) RotateSigningKey(ctx context.Context, by Actor) error {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return fmt.Errorf("make signing key: %w", err)
	}
	err = d.write(ctx, keyDirectory, func(ctx context.Context, tx *meta.Tx) error {
		id, now := tx.ID(), d.now()
		sealed, err := d.sealer.Seal(keyPlace(id), private.Seed())
		if err != nil {
			return err
		}
		err = tx.InsertSigningKey(ctx, query.InsertSigningKeyParams{
			ID: id, Algorithm: algorithm, PublicKey: public, PrivateKey: sealed, CreatedAt: now.UnixMicro(),
		})
		if err != nil {
			return err
		}
		if err := tx.RetireSigningKeys(ctx, query.RetireSigningKeysParams{RetiredAt: now.UnixMicro(), ID: id}); err != nil {
			return err
		}
		if err := tx.DeleteSigningKeys(ctx, now.Add(-keyOverlap).UnixMicro()); err != nil {
			return err
		}
		return tx.Event(ctx, meta.Event{Kind: "signing_key.rotated", ActorID: by.ID, Subject: fmt.Sprintf("key %d", id), RequestID: by.RequestID})
	})
	if err != nil {
		return fmt.Errorf("rotate signing key: %w", err)
	}
	return nil
}

// readKeys opens the private key only of the key in use.
func (d *Directory) readKeys(ctx context.Context, q *query.Queries, s *snapshot) error {
	rows, err := q.AccessSigningKeys(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		k := signingKey{id: row.ID, public: ed25519.PublicKey(row.PublicKey), retired: fromMicros(row.RetiredAt)}
		if row.Algorithm != algorithm || len(k.public) != ed25519.PublicKeySize {
			continue // of a later version of Weir
		}
		if row.RetiredAt == 0 && s.signing == nil {
			seed, err := d.sealer.Open(keyPlace(row.ID), row.PrivateKey)
			if err != nil {
				return fmt.Errorf("%w; is this the keyset that the database was made with?", err)
			}
			if len(seed) != ed25519.SeedSize {
				return fmt.Errorf("signing key %d has %d bytes", row.ID, len(seed))
			}
			k.private = ed25519.NewKeyFromSeed(seed)
			s.signing = &k
		}
		s.keys = append(s.keys, k)
	}
	return nil
}

func (s *snapshot) verifyingKey(id string, now time.Time) (ed25519.PublicKey, bool) {
	for _, k := range s.keys {
		if fmt.Sprint(k.id) == id && (k.retired.IsZero() || now.Before(k.retired.Add(keyOverlap))) {
			return k.public, true
		}
	}
	return nil, false
}
