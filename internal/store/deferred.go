package store

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

const (
	flushEvery  = 5 * time.Second
	maxDeferred = 50_000 // of each kind; beyond it the newest are dropped: statistics, and confirmations an upstream repeats
	flushBatch  = 500    // rows per transaction
	finalFlush  = 10 * time.Second
)

// deferred gathers the writes that a hit must not wait for: pulls and confirmations of tags. keep writes them in batches.
type deferred struct {
	db   database
	now  func() time.Time
	log  *slog.Logger
	full chan struct{} // has an element when a flush should not wait for the ticker

	mu       sync.Mutex
	pulls    map[pullKey]pull
	confirms map[itemKey]confirm
	writing  map[itemKey]confirm // being written by flush: still ahead of the database
	dropped  int
}

type pullKey struct {
	repository int64
	digest     oci.Digest
}

type pull struct {
	last  time.Time
	count int64
}

type confirm struct {
	digest oci.Digest
	at     time.Time
}

func newDeferred(db database, now func() time.Time, log *slog.Logger) *deferred {
	return &deferred{
		db: db, now: now, log: log, full: make(chan struct{}, 1),
		pulls: make(map[pullKey]pull), confirms: make(map[itemKey]confirm),
	}
}

// Pulled notes a pull of a manifest: counted in memory, written in batches, flushed on Close.
func (s *Store) Pulled(repository int64, digest oci.Digest) {
	s.deferred.addPull(pullKey{repository, digest}, pull{last: s.now(), count: 1})
}

// Wanted notes that somebody asked about a manifest without fetching it, as nodes do for what they hold already. That is no pull, but
// what is in use must not go for want of one.
func (s *Store) Wanted(repository int64, digest oci.Digest) {
	s.deferred.addPull(pullKey{repository, digest}, pull{last: s.now()})
}

// ConfirmTag restarts a cached tag's freshness: the upstream still names digest. Readers of this replica see it at once; the
// row follows within seconds, and a crash before that only costs another question to the upstream. An earlier confirmation that lies in
// the future is that of a clock which has been set right since, and counts for nothing.
func (s *Store) ConfirmTag(_ context.Context, repository int64, name string, digest oci.Digest, at time.Time) error {
	key := itemKey{ChangeTag, repository, name}
	s.deferred.addConfirm(key, confirm{digest, at})
	amend(s.content, key, func(t *Tag) *Tag {
		if t == nil || t.Digest != digest || !at.After(t.CheckedAt) && !t.CheckedAt.After(s.now()) {
			return t
		}
		confirmed := *t
		confirmed.CheckedAt = at
		return &confirmed
	})
	return nil
}

func (d *deferred) addPull(key pullKey, p pull) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old, ok := d.pulls[key]
	if !ok && !d.room(len(d.pulls)) {
		return
	}
	if old.last.After(p.last) {
		p.last = old.last
	}
	p.count += old.count
	d.pulls[key] = p
}

func (d *deferred) addConfirm(key itemKey, c confirm) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old, ok := d.confirms[key]
	if ok && old.at.After(c.at) || !ok && !d.room(len(d.confirms)) {
		return
	}
	d.confirms[key] = c
}

// room wakes the flusher when half of the room is taken. The caller holds mu.
func (d *deferred) room(n int) bool {
	if n >= maxDeferred/2 {
		select {
		case d.full <- struct{}{}:
		default:
		}
	}
	if n >= maxDeferred {
		d.dropped++
		return false
	}
	return true
}

// overlay brings a tag just read from the database up to date with what is not written yet.
func (d *deferred) overlay(key itemKey, tag *Tag) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, from := range []map[itemKey]confirm{d.writing, d.confirms} {
		if c, ok := from[key]; ok && c.digest == tag.Digest && c.at.After(tag.CheckedAt) {
			tag.CheckedAt = c.at
		}
	}
}

// lastPulled is when a manifest was pulled, as far as only this process knows.
func (d *deferred) lastPulled(key pullKey) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pulls[key].last
}

// pulledSince are the manifests that were pulled after at, by repository, as far as only this process knows.
func (d *deferred) pulledSince(at time.Time) map[int64][]oci.Digest {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := map[int64][]oci.Digest{}
	for key, p := range d.pulls {
		if p.last.After(at) {
			list[key.repository] = append(list[key.repository], key.digest)
		}
	}
	return list
}

// keep flushes until ctx ends, and then once more.
func (d *deferred) keep(ctx context.Context) {
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalFlush)
			defer cancel()
			d.flush(last)
			return
		case <-ticker.C:
		case <-d.full:
		}
		d.flush(ctx)
	}
}

// flush writes what was gathered; what could not be written is gathered again. Only keep calls it, and tests.
func (d *deferred) flush(ctx context.Context) {
	d.mu.Lock()
	pulls, confirms, dropped := d.pulls, d.confirms, d.dropped
	d.pulls, d.confirms, d.writing, d.dropped = make(map[pullKey]pull), make(map[itemKey]confirm), confirms, 0
	d.mu.Unlock()
	if dropped > 0 {
		d.log.Warn("pulls or confirmations dropped: the database is too slow", "count", dropped)
	}
	// One order for all: transactions that meet on rows must not wait for each other in a circle.
	pullKeys := slices.SortedFunc(maps.Keys(pulls), func(a, b pullKey) int {
		return cmp.Or(cmp.Compare(a.repository, b.repository), cmp.Compare(a.digest, b.digest))
	})
	for batch := range slices.Chunk(pullKeys, flushBatch) {
		if err := d.writePulls(ctx, batch, pulls); err != nil {
			d.log.Warn("write pulls", "error", err)
			for _, key := range batch {
				d.addPull(key, pulls[key])
			}
		}
	}
	confirmKeys := slices.SortedFunc(maps.Keys(confirms), func(a, b itemKey) int {
		return cmp.Or(cmp.Compare(a.repository, b.repository), cmp.Compare(a.name, b.name))
	})
	for batch := range slices.Chunk(confirmKeys, flushBatch) {
		if err := d.writeConfirms(ctx, batch, confirms); err != nil {
			d.log.Warn("write confirmations of tags", "error", err)
			for _, key := range batch {
				d.addConfirm(key, confirms[key])
			}
		}
	}
	d.mu.Lock()
	d.writing = nil
	d.mu.Unlock()
}

func (d *deferred) writePulls(ctx context.Context, keys []pullKey, pulls map[pullKey]pull) error {
	return d.db.WriteTelemetry(ctx, func(ctx context.Context, q *query.Queries) error {
		var sum pull
		for i, key := range keys {
			p := pulls[key]
			err := q.AddPulls(ctx, query.AddPullsParams{
				RepositoryID: key.repository, Digest: oci.DigestBytes(key.digest), LastPulledAt: micros(p.last), PullCount: p.count,
			})
			if err != nil {
				return err
			}
			sum.last, sum.count = later(sum.last, p.last), sum.count+p.count
			if i+1 < len(keys) && keys[i+1].repository == key.repository {
				continue // the sum of a repository is written once
			}
			err = q.AddRepositoryPulls(ctx, query.AddRepositoryPullsParams{
				RepositoryID: key.repository, LastPulledAt: micros(sum.last), PullCount: sum.count,
			})
			if err != nil {
				return err
			}
			sum = pull{}
		}
		return nil
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (d *deferred) writeConfirms(ctx context.Context, keys []itemKey, confirms map[itemKey]confirm) error {
	return d.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		for _, key := range keys {
			c := confirms[key]
			n, err := tx.ConfirmTag(ctx, query.ConfirmTagParams{
				CheckedAt: micros(c.at), Latest: micros(d.now()),
				RepositoryID: key.repository, Name: key.name, Digest: oci.DigestBytes(c.digest),
			})
			if err != nil {
				return err
			}
			if n == 0 { // moved, deleted, or confirmed later by another replica
				continue
			}
			if err := tx.Change(ctx, 0, ChangeTag, itemChange(key.repository, key.name)); err != nil {
				return err
			}
		}
		return nil
	})
}
