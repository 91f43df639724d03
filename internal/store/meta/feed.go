package meta

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Change tells followers that something they may hold in memory has changed.
type Change struct {
	Seq     int64
	GroupID int64 // 0 = the instance
	Kind    string
	Key     string
}

// Kinds of change that this package writes itself. Others belong to the packages that own the rows.
const (
	// ChangeDefinition: something people configure in the group; the key says what.
	ChangeDefinition = "definition"
	// ChangeAll: the feed has a gap; everything held in memory must be dropped.
	ChangeAll = "all"
)

const (
	pollEvery     = 500 * time.Millisecond
	trimEvery     = 10 * time.Minute
	feedRetention = time.Hour       // changes older than this are trimmed; a replica silent for half of it gets ChangeAll
	pollWait      = 2 * time.Second // well below maxBehind: memory must know in time that nobody answers
	trimBatch     = 1000            // rows of one transaction: other writers get their turn in between
)

// feed is this replica's side of the changes table.
type feed struct {
	polling sync.Mutex
	cursor  int64                 // guarded by polling
	seen    atomic.Pointer[sight] // the last time that changes were read
	dumb    atomic.Bool           // the database has not answered since

	mu        sync.Mutex
	followers map[int]func(Change)
	lastID    int
	own       map[int64]time.Time // delivered already, not yet met by the poller
}

// sight is how the feed stood at one moment: all changes were delivered but the newest, of up to lag.
type sight struct {
	at  time.Time
	lag time.Duration
}

// behind counts the time since then by the clock that has gone further: a suspended machine's monotonic clock stands still, and the
// wall clock may be set back.
func (s *sight) behind() time.Duration { return s.lag + elapsed(s.at) }

func elapsed(since time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}

// Follow calls fn for each change until ctx ends: for those of this process before its Write returns, for those of others
// within about a second. Calls may come at the same time from several goroutines, and fn must be quick, must not call
// Write, and must treat a change as "may have changed": some are told twice. A Change of kind ChangeAll means everything.
func (db *DB) Follow(ctx context.Context, fn func(Change)) {
	f := &db.feed
	f.mu.Lock()
	f.lastID++
	id := f.lastID
	f.followers[id] = fn
	f.mu.Unlock()
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.followers, id)
	})
}

// Behind is how old the newest change of another replica may be that followers have not been told of.
func (db *DB) Behind() time.Duration { return db.feed.seen.Load().behind() }

// How far behind the feed what is held in memory may be served. Beyond maxBehind readers ask the database; while that does not answer
// at all, because it restarts, fails over or is frozen, there is nobody to ask, and memory goes on for maxDumb.
const (
	maxBehind = 5 * time.Second
	maxDumb   = 30 * time.Second
)

// Current reports whether what followers hold in memory may be served. If not, they must read the database.
func (db *DB) Current() bool {
	behind := db.Behind()
	return behind <= maxBehind || behind <= maxDumb && db.feed.dumb.Load()
}

func (f *feed) start(ctx context.Context, e engine) (err error) {
	f.followers, f.own = make(map[int]func(Change)), make(map[int64]time.Time)
	f.seen.Store(&sight{at: time.Now()})
	f.cursor, err = e.newCursor(ctx)
	return err
}

// deliverOwn tells of a commit of this process.
func (f *feed) deliverOwn(changes []Change) {
	if len(changes) == 0 {
		return
	}
	f.mu.Lock()
	for _, c := range changes {
		f.own[c.Seq] = time.Now()
	}
	f.mu.Unlock()
	f.deliver(changes)
}

func (f *feed) deliver(changes []Change) {
	f.mu.Lock()
	followers := make([]func(Change), 0, len(f.followers))
	for _, fn := range f.followers {
		followers = append(followers, fn)
	}
	f.mu.Unlock()
	for _, c := range changes {
		for _, fn := range followers {
			fn(c)
		}
	}
}

// keep polls for the changes of other replicas and trims old ones until ctx ends.
func (f *feed) keep(ctx context.Context, e engine, log *slog.Logger) {
	poll, trim := time.NewTicker(pollEvery), time.NewTicker(trimEvery)
	defer poll.Stop()
	defer trim.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
			err = f.poll(ctx, e)
		case <-trim.C:
			err = f.trim(ctx, e)
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("change feed", "error", err, "behind", f.seen.Load().behind().String())
		}
	}
}

func (f *feed) poll(ctx context.Context, e engine) error {
	f.polling.Lock()
	defer f.polling.Unlock()
	silent, began := elapsed(f.seen.Load().at), time.Now()
	patient, cancel := context.WithTimeout(ctx, pollWait)
	defer cancel()
	changes, next, current, err := e.changesAfter(patient, f.cursor)
	if err != nil {
		f.dumb.Store(errors.Is(Failure(err), ErrUnavailable))
		return err
	}
	if silent > feedRetention/2 {
		changes = []Change{{Kind: ChangeAll}}
	}
	f.deliver(f.withoutOwn(changes))
	f.cursor = next
	f.seen.Store(&sight{at: began, lag: max(0, began.Sub(current))})
	f.dumb.Store(false)
	return nil
}

func (f *feed) withoutOwn(changes []Change) []Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	var others []Change
	for _, c := range changes {
		if _, own := f.own[c.Seq]; own {
			delete(f.own, c.Seq)
			continue
		}
		others = append(others, c)
	}
	for seq, at := range f.own { // those that the poller met before their own writer told of them
		if time.Since(at) > time.Minute {
			delete(f.own, seq)
		}
	}
	return others
}

func (f *feed) trim(ctx context.Context, e engine) error {
	before := micros(time.Now().Add(-feedRetention))
	for {
		var n int64
		err := e.write(ctx, func(ctx context.Context, q *query.Queries, _ query.DBTX) (err error) {
			n, err = q.TrimChanges(ctx, query.TrimChangesParams{At: before, Limit: trimBatch})
			return err
		})
		if err != nil || n < trimBatch {
			return err
		}
	}
}
