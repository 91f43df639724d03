package upstream

import (
	"container/list"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/credential"
)

// tokenKey says what a token is good for. The identity that got it is part of it: tokens never cross identities.
type tokenKey struct{ fingerprint, realm, service, scope string }

func (k tokenKey) String() string {
	return k.fingerprint + "\x00" + k.realm + "\x00" + k.service + "\x00" + k.scope
}

// token is a bearer token that a realm issued.
type token struct {
	text     credential.Secret
	obtained time.Time
	expires  time.Time // not to be sent any more
	renewed  bool      // obtained because its predecessor was refused
}

// maxTokens bounds the cache. Registries issue a token per repository.
const maxTokens = 4096

// tokens is a bounded cache of tokens, the least recently used go first.
type tokens struct {
	now func() time.Time

	mu      sync.Mutex
	entries map[tokenKey]*list.Element // of tokenEntry
	order   *list.List                 // most recently used first
}

type tokenEntry struct {
	key   tokenKey
	token token
}

func newTokens(now func() time.Time) *tokens {
	return &tokens{now: now, entries: map[tokenKey]*list.Element{}, order: list.New()}
}

func (c *tokens) get(key tokenKey) (token, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return token{}, false
	}
	t := e.Value.(tokenEntry).token
	if !c.now().Before(t.expires) {
		c.remove(e)
		return token{}, false
	}
	c.order.MoveToFront(e)
	return t, true
}

func (c *tokens) put(key tokenKey, t token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[key]; ok {
		c.remove(e)
	}
	c.entries[key] = c.order.PushFront(tokenEntry{key, t})
	for c.order.Len() > maxTokens {
		c.remove(c.order.Back())
	}
}

// drop forgets t, unless a newer token has taken its place.
func (c *tokens) drop(key tokenKey, t token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[key]; ok && e.Value.(tokenEntry).token == t {
		c.remove(e)
	}
}

func (c *tokens) remove(e *list.Element) {
	c.order.Remove(e)
	delete(c.entries, e.Value.(tokenEntry).key)
}

// defaultLife is the life of a token whose realm does not tell (distribution token specification).
const defaultLife = 60 * time.Second

// usable is how long a token of the given life may be sent: it must not expire on its way.
func usable(life time.Duration) time.Duration {
	return life - min(life/4, 20*time.Second)
}
