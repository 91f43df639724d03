package audit

import (
	"context"
	"database/sql"
	"errors"
	"maps"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

// addressBook remembers the ids of addresses. They stand in a table of their own, by account, so that a person's can be erased.
type addressBook struct{ known map[addressKey]int64 }

type addressKey struct {
	actor, month int64
	address      string
}

const maxKnown = 1 << 16

// resolve returns the ids of the addresses of a batch. Those that are new count once the transaction is done.
func (b *addressBook) resolve(ctx context.Context, q *query.Queries, newID func() int64, in *batch) (map[addressKey]int64, error) {
	found := map[addressKey]int64{}
	for _, p := range in.pages {
		for _, key := range p.addresses {
			if _, ok := found[key]; ok {
				continue
			}
			id, ok := b.known[key]
			if !ok {
				var err error
				if id, err = findAddress(ctx, q, newID, key); err != nil {
					return nil, err
				}
			}
			found[key] = id
		}
	}
	return found, nil
}

func findAddress(ctx context.Context, q *query.Queries, newID func() int64, key addressKey) (int64, error) {
	find := query.FindPullAddressParams{ActorID: key.actor, Month: key.month, Address: key.address}
	id, err := q.FindPullAddress(ctx, find)
	if !errors.Is(err, sql.ErrNoRows) {
		return id, err
	}
	id = newID()
	n, err := q.InsertPullAddress(ctx, query.InsertPullAddressParams{ID: id, ActorID: key.actor, Month: key.month, Address: key.address})
	if err == nil && n == 0 { // another replica was first
		id, err = q.FindPullAddress(ctx, find)
	}
	return id, err
}

func (b *addressBook) remember(found map[addressKey]int64) {
	if b.known == nil || len(b.known)+len(found) > maxKnown {
		b.known = map[addressKey]int64{}
	}
	maps.Copy(b.known, found)
}
