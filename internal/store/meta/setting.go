package meta

import (
	"context"
	"fmt"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

// ChangeSetting is the kind of change of a setting; the key is its name.
const ChangeSetting = "setting"

// Setting returns a setting of the instance that is kept in the database; ErrNotFound.
func (db *DB) Setting(ctx context.Context, name string) (string, error) {
	value, err := db.Read().GetSetting(ctx, name)
	if err != nil {
		return "", fmt.Errorf("setting %s: %w", name, noRows(err))
	}
	return value, nil
}

// SetSetting stores a setting of the instance.
func (tx *Tx) SetSetting(ctx context.Context, name, value string) error {
	if err := tx.PutSetting(ctx, query.PutSettingParams{Name: name, Value: value}); err != nil {
		return fmt.Errorf("setting %s: %w", name, err)
	}
	return tx.Change(ctx, 0, ChangeSetting, name)
}

// InitSetting stores a setting unless it exists, and returns what holds: replicas that start together agree on one value.
func (tx *Tx) InitSetting(ctx context.Context, name, value string) (string, error) {
	if _, err := tx.InsertSetting(ctx, query.InsertSettingParams{Name: name, Value: value}); err != nil {
		return "", fmt.Errorf("setting %s: %w", name, err)
	}
	return tx.GetSetting(ctx, name)
}

// LockDefinitions makes changes of definitions follow each other, so that each is checked against the state it changes.
func (tx *Tx) LockDefinitions(ctx context.Context) error {
	const name = "lock.definitions"
	if _, err := tx.InsertSetting(ctx, query.InsertSettingParams{Name: name}); err != nil {
		return fmt.Errorf("lock the definitions: %w", err)
	}
	var value string
	if err := tx.lock(ctx, "SELECT value FROM settings WHERE name = $1", name).Scan(&value); err != nil {
		return fmt.Errorf("lock the definitions: %w", err)
	}
	return nil
}
