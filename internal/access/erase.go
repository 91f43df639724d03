package access

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// EraseUser removes what says who a user is: the account, if it is still there, its name, and the addresses it came from. Events keep
// its id, and nothing else. who is a name, also of a user deleted before, or an id; an id that nobody has is no error, so that an erasure
// can be repeated. also runs in the same transaction for each id; it may be nil. ErrNotFound, ErrLastAdmin.
func (d *Directory) EraseUser(ctx context.Context, by Actor, who string, also func(ctx context.Context, tx *meta.Tx, id int64) error) error {
	err := d.write(ctx, keyEverything, func(ctx context.Context, tx *meta.Tx) error {
		admins, err := lockAdmins(ctx, tx)
		if err != nil {
			return err
		}
		ids, err := usersCalled(ctx, tx, who)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := eraseUser(ctx, tx, by, id); err != nil {
				return err
			}
			if also == nil {
				continue
			}
			if err := also(ctx, tx, id); err != nil {
				return err
			}
		}
		return keepAdmin(ctx, tx, admins)
	})
	if err != nil {
		return fmt.Errorf("erase user: %w", err)
	}
	return nil
}

// usersCalled are the ids of a user and of all that were deleted with the same name.
func usersCalled(ctx context.Context, tx *meta.Tx, who string) ([]int64, error) {
	ids, err := tx.ActorsNamed(ctx, who)
	if err != nil {
		return nil, err
	}
	row, err := tx.AccessAccountByName(ctx, query.AccessAccountByNameParams{Name: who})
	if err == nil {
		return append(ids, row.ID), nil
	}
	if !errors.Is(err, sql.ErrNoRows) || len(ids) > 0 {
		return ids, ignoreNoRows(err)
	}
	id, err := strconv.ParseInt(who, 10, 64)
	if err != nil || id <= 0 {
		return nil, ErrNotFound
	}
	return []int64{id}, nil
}

func ignoreNoRows(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

func eraseUser(ctx context.Context, tx *meta.Tx, by Actor, id int64) error {
	row, err := tx.GetAccount(ctx, id)
	switch {
	case err == nil && row.Kind != string(User):
		return ErrNotFound // robots and trust rules are no people, and belong to their groups
	case err == nil:
		if err := deleteUser(ctx, tx, by, id); err != nil {
			return err
		}
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	for _, erase := range []func(context.Context, int64) error{tx.EraseActor, tx.EraseAddresses} {
		if err := erase(ctx, id); err != nil {
			return err
		}
	}
	return tx.Event(ctx, meta.Event{Kind: "user.erased", ActorID: by.ID, Subject: fmt.Sprintf("user %d", id), RequestID: by.RequestID})
}

// keepName notes what an account was called, for the events that name it by its id.
func keepName(ctx context.Context, tx *meta.Tx, row query.Account, now int64) error {
	name := row.Name
	if row.GroupID != 0 {
		g, err := tx.GetGroup(ctx, row.GroupID)
		if err != nil {
			return err
		}
		name = g.Name + "/" + name
	}
	return tx.PutActor(ctx, query.PutActorParams{ID: row.ID, Kind: row.Kind, Name: name, RemovedAt: now})
}
