package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// change is one transaction on one repository, whose row it has locked: writers of a repository follow each other. Other
// locks come after it, in the order that queries/shared/content.sql documents.
type change struct {
	*meta.Tx

	repository query.Repository
	now        time.Time
	actor      event.Actor
	unlinked   map[string]struct{}        // oci.DigestBytes of blobs, in a cached repository
	cached     [cachedSlots]int64         // bytes that came to the cache or went
	candidates map[candidateKey]time.Time // written last, in order
	holds      *holds[itemKey]
}

type candidateKey struct {
	kind       CandidateKind
	repository int64
	digest     string // oci.DigestBytes
}

// change runs fn in a transaction that holds a repository; ErrNotFound when it does not exist. fn may run more than once.
func (s *Store) change(ctx context.Context, repository int64, fn func(context.Context, *change) error) error {
	held := &holds[itemKey]{memory: s.content}
	defer held.release()
	err := s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error { return s.lockAndRun(ctx, tx, repository, held, fn) })
	return noteFrom(ctx).committed(err)
}

// changeNamed is change for a repository that is created if it does not exist.
func (s *Store) changeNamed(ctx context.Context, key RepositoryKey, fn func(context.Context, *change) error) error {
	held := &holds[itemKey]{memory: s.content}
	defer held.release()
	err := s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		if id, ok := s.rememberedID(key); ok { // ids are given once, so it is that repository, or it is gone
			if err := s.lockAndRun(ctx, tx, id, held, fn); !errors.Is(err, errNoRepository) {
				return err
			}
		}
		for {
			id, created, err := s.ensureRepository(ctx, tx, key)
			if err == nil {
				err = s.lockAndRun(ctx, tx, id, held, func(ctx context.Context, c *change) error {
					if created {
						c.reviewRepository(c.now.Add(s.grace))
					}
					return fn(ctx, c)
				})
			}
			if !errors.Is(err, errNoRepository) { // else it was collected between the two
				return err
			}
		}
	})
	if noteFrom(ctx).committed(err) == nil { // another transaction may have made the repository, and its change be still on its way to those who read
		key.Format = ""
		forgetAbsent[int64](s.ids, key)
	}
	return err
}

// errNoRepository says that a repository's row is gone.
var errNoRepository = fmt.Errorf("the repository is gone: %w", ErrNotFound)

func (s *Store) lockAndRun(ctx context.Context, tx *meta.Tx, repository int64, held *holds[itemKey], fn func(context.Context, *change) error) error {
	row, err := tx.LockRepository(ctx, repository)
	if errors.Is(err, sql.ErrNoRows) {
		return errNoRepository
	}
	if err != nil {
		return fmt.Errorf("lock repository %d: %w", repository, err)
	}
	c := &change{
		Tx: tx, repository: row, now: s.now(), actor: event.ActorFrom(ctx),
		unlinked: make(map[string]struct{}), candidates: make(map[candidateKey]time.Time), holds: held,
	}
	if err := fn(ctx, c); err != nil {
		return err
	}
	if err := noteFrom(ctx).write(ctx, c); err != nil {
		return fmt.Errorf("note what is done: %w", err)
	}
	if err := c.writeCachedBytes(ctx); err != nil {
		return fmt.Errorf("count the cached bytes: %w", err)
	}
	return c.writeCandidates(ctx)
}

func (s *Store) ensureRepository(ctx context.Context, tx *meta.Tx, key RepositoryKey) (id int64, created bool, err error) {
	find := query.FindRepositoryParams{GroupID: key.GroupID, UpstreamID: key.UpstreamID, Epoch: key.Epoch, Name: key.Name}
	id, err = tx.FindRepository(ctx, find)
	if !errors.Is(err, sql.ErrNoRows) {
		return id, false, err
	}
	id = tx.ID()
	n, err := tx.InsertRepository(ctx, query.InsertRepositoryParams{
		ID: id, GroupID: key.GroupID, UpstreamID: key.UpstreamID, Epoch: key.Epoch,
		Format: cmp.Or(key.Format, "container"), Name: key.Name, CreatedAt: micros(s.now()),
	})
	if err != nil {
		return 0, false, fmt.Errorf("create repository %s: %w", key.Name, err)
	}
	if n == 0 { // another transaction was first
		if id, err = tx.FindRepository(ctx, find); errors.Is(err, sql.ErrNoRows) {
			err = errNoRepository
		}
		return id, false, err
	}
	return id, true, tx.Change(ctx, key.GroupID, ChangeRepository, repositoryChange(key))
}

func (c *change) hosted() bool { return c.repository.UpstreamID == 0 }

// changed notes in the change feed that an item of the repository is another one now.
func (c *change) changed(ctx context.Context, kind, name string) error {
	c.holds.add(itemKey{kind, c.repository.ID, name})
	return c.Change(ctx, c.repository.GroupID, kind, itemChange(c.repository.ID, name))
}

// happened writes an event about a hosted repository. What a cache does by itself is no event.
func (c *change) happened(ctx context.Context, kind, reference string, detail any) error {
	if !c.hosted() {
		return nil
	}
	return c.Event(ctx, meta.Event{
		GroupID: c.repository.GroupID, Kind: kind, ActorID: c.actor.ID, RequestID: c.actor.RequestID,
		Subject: c.repository.Name + reference, Detail: detail,
	})
}

// review asks the collector to decide about something after at.
func (c *change) review(kind CandidateKind, digest []byte, at time.Time) {
	key := candidateKey{kind, c.repository.ID, string(digest)}
	if kind == CandidateBlob {
		key.repository = 0
	}
	c.candidates[key] = at
}

// reviewRepository asks the collector to look after at whether the repository is empty.
func (c *change) reviewRepository(at time.Time) { c.review(CandidateRepository, nil, at) }

// writeCandidates comes last in the transaction and in ascending order, so that two transactions which orphan the same blobs
// cannot wait for each other in a circle.
func (c *change) writeCandidates(ctx context.Context) error {
	keys := make([]candidateKey, 0, len(c.candidates))
	for key := range c.candidates {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b candidateKey) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.repository, b.repository), bytes.Compare([]byte(a.digest), []byte(b.digest)))
	})
	for _, key := range keys {
		err := c.PutCandidate(ctx, query.PutCandidateParams{
			Kind: string(key.kind), RepositoryID: key.repository, Digest: []byte(key.digest), ReviewAfter: micros(c.candidates[key]),
		})
		if err != nil {
			return fmt.Errorf("write a candidate: %w", err)
		}
	}
	return nil
}

// digestText is the digest of a column, for subjects and keys; a broken one is shown as it is.
func digestText(b []byte) string {
	d, err := oci.DigestFromBytes(b)
	if err != nil {
		return "digest:" + strconv.QuoteToASCII(string(b))
	}
	return string(d)
}
