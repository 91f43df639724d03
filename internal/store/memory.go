package store

import (
	"hash/maphash"
	"strconv"
	"strings"
	"sync"

	"github.com/maypok86/otter/v2"

	"github.com/weir-registry/weir/internal/store/meta"
)

// Kinds of change that the store writes to the change feed, and the form of their keys.
const (
	ChangeRepository = "repository" // <upstream id>/<epoch>/<name>; it exists now
	ChangeTag        = "tag"        // <repository id>/<tag>
	ChangeManifest   = "manifest"   // <repository id>/<digest>
	ChangeLink       = "link"       // <repository id>/<digest of a blob>
)

// itemKey names one thing a repository may hold.
type itemKey struct {
	kind       string // ChangeTag, ChangeManifest or ChangeLink
	repository int64
	name       string
}

// memory is a bounded cache of rows. A value is a pointer, nil for a row that does not exist.
//
// A row read from the database may be out of date by the time it is put here. Each reader therefore takes a ticket before it
// reads, and its value is dropped if anything under the same stripe was forgotten since. Between the commit of a change and
// its delivery both the old row and the new one could come in, in any order; nothing is remembered then (see holds).
type memory[K comparable] struct {
	cache   *otter.Cache[K, any]
	trusted func() bool
	seed    maphash.Seed
	stripes [64]stripe
}

type stripe struct {
	mu     sync.Mutex
	ticket uint64
	held   int // changes under way
}

func newMemory[K comparable](limit int64, weigh func(K, any) uint32, trusted func() bool) *memory[K] {
	return &memory[K]{
		cache:   otter.Must(&otter.Options[K, any]{MaximumWeight: uint64(max(1, limit)), Weigher: weigh}),
		trusted: trusted,
		seed:    maphash.MakeSeed(),
	}
}

// recall returns what is remembered of key. ok false means: ask the database.
func recall[T any, K comparable](m *memory[K], key K) (value *T, ok bool) {
	v, ok := m.cache.GetIfPresent(key)
	if !ok || !m.trusted() {
		return nil, false
	}
	value, ok = v.(*T)
	return value, ok
}

func (m *memory[K]) stripe(key K) *stripe {
	return &m.stripes[maphash.Comparable(m.seed, key)%uint64(len(m.stripes))]
}

// begin must be called before the database is read for keep.
func (m *memory[K]) begin(key K) (ticket uint64) {
	st := m.stripe(key)
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.ticket
}

// keep remembers a value, unless it may be out of date.
func keep[T any, K comparable](m *memory[K], key K, ticket uint64, value *T) {
	st := m.stripe(key)
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.ticket == ticket && st.held == 0 {
		m.cache.Set(key, value)
	}
}

// amend replaces what is remembered of key, if anything is. fn must return a new value and leave the old one alone.
func amend[T any, K comparable](m *memory[K], key K, fn func(*T) *T) {
	st := m.stripe(key)
	st.mu.Lock()
	defer st.mu.Unlock()
	v, _ := m.cache.GetIfPresent(key)
	if value, ok := v.(*T); ok {
		m.cache.Set(key, fn(value))
	}
}

// forget drops a key and spoils the tickets of those who are reading it.
func (m *memory[K]) forget(key K) {
	st := m.stripe(key)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ticket++
	m.cache.Invalidate(key)
}

// forgetAbsent drops what is remembered of key if that is its absence, and spoils the tickets of those who may have read so.
func forgetAbsent[T any, K comparable](m *memory[K], key K) {
	st := m.stripe(key)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ticket++
	v, _ := m.cache.GetIfPresent(key)
	if value, ok := v.(*T); ok && value == nil {
		m.cache.Invalidate(key)
	}
}

func (m *memory[K]) forgetAll() {
	for i := range m.stripes {
		st := &m.stripes[i]
		st.mu.Lock()
		st.ticket++
		st.mu.Unlock()
	}
	m.cache.InvalidateAll()
}

// holds are the stripes of what a transaction is changing: from before its commit until readers have been told of it, nothing is
// put there, and what it changes is forgotten already. Else a reader that had found nothing remembered could see the new row in the
// database, and after that the old one, which another reader had just put here.
type holds[K comparable] struct {
	memory *memory[K]
	held   []*stripe
}

func (h *holds[K]) add(key K) {
	st := h.memory.stripe(key)
	st.mu.Lock()
	st.held++
	st.ticket++
	h.memory.cache.Invalidate(key)
	st.mu.Unlock()
	h.held = append(h.held, st)
}

func (h *holds[K]) release() {
	for _, st := range h.held {
		st.mu.Lock()
		st.held--
		st.ticket++ // who began to read meanwhile may have read the old row
		st.mu.Unlock()
	}
}

func (m *memory[K]) close() { m.cache.StopAllGoroutines() }

// Weights are what an entry costs in bytes, the cache's own bookkeeping included.
const entryWeight = 160

func weighRepository(key RepositoryKey, _ any) uint32 {
	return uint32(entryWeight + 72 + len(key.Name))
}

func weighItem(key itemKey, value any) uint32 {
	n := entryWeight + len(key.name)
	switch v := value.(type) {
	case *Manifest:
		if v != nil {
			n += 96 + len(v.Digest) + len(v.MediaType) + len(v.Payload)
		}
	case *Tag:
		if v != nil {
			n += 80 + len(v.Name) + len(v.Digest)
		}
	case *Blob:
		if v != nil {
			n += 40 + len(v.Digest) + len(v.Key)
		}
	}
	return uint32(n) // a payload has at most 4 MiB
}

// forget follows the change feed.
func (s *Store) forget(c meta.Change) {
	switch c.Kind {
	case meta.ChangeAll:
		s.ids.forgetAll()
		s.content.forgetAll()
	case ChangeRepository:
		if key, ok := parseRepositoryChange(c); ok {
			s.ids.forget(key)
		}
	case ChangeTag, ChangeManifest, ChangeLink:
		id, name, _ := strings.Cut(c.Key, "/")
		if repository, err := strconv.ParseInt(id, 10, 64); err == nil {
			s.content.forget(itemKey{c.Kind, repository, name})
		}
	}
}

func repositoryChange(key RepositoryKey) string {
	return strconv.FormatInt(key.UpstreamID, 10) + "/" + strconv.FormatInt(key.Epoch, 10) + "/" + key.Name
}

func parseRepositoryChange(c meta.Change) (key RepositoryKey, ok bool) {
	upstream, rest, _ := strings.Cut(c.Key, "/")
	epoch, name, ok := strings.Cut(rest, "/")
	key = RepositoryKey{GroupID: c.GroupID, Name: name}
	var err1, err2 error
	key.UpstreamID, err1 = strconv.ParseInt(upstream, 10, 64)
	key.Epoch, err2 = strconv.ParseInt(epoch, 10, 64)
	return key, ok && err1 == nil && err2 == nil
}

func itemChange(repository int64, name string) string {
	return strconv.FormatInt(repository, 10) + "/" + name
}
