package store

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Options adjust a Store. The zero value is what a server uses.
type Options struct {
	// Grace is how long content that nothing refers to is kept, so that a push under way finds what it has uploaded.
	// Default 24 h; negative = none.
	Grace time.Duration

	// MaxUploads is how many unfinished uploads of one group are kept. Default 10,000; negative = any number.
	MaxUploads int

	// Memory bounds what is held of tags, manifests, links and repository ids, in bytes. Default 16 MiB.
	Memory int64

	Log *slog.Logger
	Now func() time.Time // default time.Now
}

const (
	defaultGrace  = 24 * time.Hour
	defaultMemory = 16 << 20

	defaultMaxUploads = 10_000
)

// database is what the store needs of *meta.DB.
type database interface {
	Read() *query.Queries
	ReadConn() query.DBTX
	Write(ctx context.Context, fn func(ctx context.Context, tx *meta.Tx) error) error
	WriteTelemetry(ctx context.Context, fn func(ctx context.Context, q *query.Queries) error) error
	Follow(ctx context.Context, fn func(meta.Change))
	Current() bool
}

// Store is the door. Build one with New and Close it.
type Store struct {
	db    database
	blobs blob.Store
	log   *slog.Logger
	grace time.Duration
	now   func() time.Time

	ids      *memory[RepositoryKey]
	content  *memory[itemKey]
	deferred *deferred
	sessions sessions

	maxUploads int

	stop context.CancelFunc
	wait sync.WaitGroup
}

// New returns a Store over rows and bytes that belong together. The caller closes db after the Store.
func New(db *meta.DB, blobs blob.Store, o Options) *Store { return newStore(db, blobs, o) }

func newStore(db database, blobs blob.Store, o Options) *Store {
	s := &Store{
		db: db, blobs: blobs, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
		grace: max(0, cmp.Or(o.Grace, defaultGrace)), now: o.Now,
		maxUploads: cmp.Or(o.MaxUploads, defaultMaxUploads),
	}
	if s.now == nil {
		s.now = time.Now
	}
	limit := cmp.Or(o.Memory, defaultMemory)
	s.ids = newMemory(limit/16, weighRepository, db.Current)
	s.content = newMemory(limit-limit/16, weighItem, db.Current)
	s.deferred = newDeferred(db, s.now, s.log)

	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	db.Follow(ctx, s.forget)
	s.wait.Go(func() { s.deferred.keep(ctx) })
	return s
}

// Close writes what was deferred and ends the store's goroutines. No other call may be running.
func (s *Store) Close() error {
	s.stop()
	s.wait.Wait()
	s.ids.close()
	s.content.close()
	return nil
}
