package audit

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// addressBook remembers the ids of addresses. They stand in a table of their own, by account, so that a person's can be erased.
type addressBook struct{ known map[addressKey]int64 }

type addressKey struct {
	actor, month int64
	address      string
}

const maxKnown = 1 << 16

// resolve fills in the ids of addresses, and returns those that were not known: they count once the transaction is done.
func (b *addressBook) resolve(ctx context.Context, q *query.Queries, newID func() int64, in *batch) (map[addressKey]int64, error) {
	found := map[addressKey]int64{}
	var before addressKey
	var id, from, until int64 // of the record before: address, and its month
	for r := range in.all {
		if r.Actor.Address == "" {
			continue
		}
		key := addressKey{r.Actor.ID, before.month, r.Actor.Address}
		if r.At < from || r.At >= until {
			key.month, from, until = month(r.At)
		}
		if key != before || id == 0 {
			var ok bool
			if id, ok = b.known[key]; !ok {
				id, ok = found[key]
			}
			if !ok {
				var err error
				if id, err = findAddress(ctx, q, newID, key); err != nil {
					return nil, err
				}
				found[key] = id
			}
			before = key
		}
		r.address = id
	}
	return found, nil
}

// month is the month of a time, when it begins and when the next does.
func month(at int64) (number, from, until int64) {
	t := time.UnixMicro(at).UTC()
	first := time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	return meta.Month(t), first.UnixMicro(), first.AddDate(0, 1, 0).UnixMicro()
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
	for key, id := range found {
		b.known[key] = id
	}
}
