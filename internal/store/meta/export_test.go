package meta

import "context"

// Beat, Poll and Trim do at once what the background work does by the clock.
func (db *DB) Beat(ctx context.Context) error { return db.replica.beat(ctx, db.engine) }

func (db *DB) Poll(ctx context.Context) error { return db.feed.poll(ctx, db.engine) }

func (db *DB) Trim(ctx context.Context) error { return db.feed.trim(ctx, db.engine) }

// Break makes SQLite's writing connection lose its transaction, as a full disk does.
func (tx *Tx) Break(ctx context.Context) error {
	_, err := tx.conn.ExecContext(ctx, "ROLLBACK")
	return err
}

// Kept is how many statements the readers of a SQLite database have prepared.
func Kept(db *DB) int { return len(db.engine.(*sqliteEngine).kept.prepared) }
