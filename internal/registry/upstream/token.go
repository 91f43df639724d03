package upstream

import (
	"maps"
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

// tokens is a bounded cache of tokens; the least recently used go first.
type tokens struct {
	now func() time.Time

	mu      sync.Mutex
	entries map[tokenKey]*tokenEntry
	uses    uint64 // grows with each use
}

type tokenEntry struct {
	token token
	used  uint64
}

func newTokens(now func() time.Time) *tokens {
	return &tokens{now: now, entries: map[tokenKey]*tokenEntry{}}
}

func (c *tokens) get(key tokenKey) (token, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return token{}, false
	}
	if !c.now().Before(e.token.expires) {
		delete(c.entries, key)
		return token{}, false
	}
	c.uses++
	e.used = c.uses
	return e.token, true
}

func (c *tokens) put(key tokenKey, t token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uses++
	c.entries[key] = &tokenEntry{t, c.uses}
	if len(c.entries) > maxTokens {
		c.evict()
	}
}

// evict drops what has expired, or else the one entry that nobody has used for longest. It looks at all of them, which is
// little beside the request that got the token.
func (c *tokens) evict() {
	now := c.now()
	maps.DeleteFunc(c.entries, func(_ tokenKey, e *tokenEntry) bool { return !now.Before(e.token.expires) })
	if len(c.entries) <= maxTokens {
		return
	}
	var oldest tokenKey
	least := c.uses + 1
	for key, e := range c.entries {
		if e.used < least {
			oldest, least = key, e.used
		}
	}
	delete(c.entries, oldest)
}

// drop forgets t, unless a newer token has taken its place.
func (c *tokens) drop(key tokenKey, t token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[key]; ok && e.token == t {
		delete(c.entries, key)
	}
}

// defaultLife is the life of a token whose realm does not tell (distribution token specification).
const defaultLife = 60 * time.Second

// usable is how long a token of the given life may be sent: it must not expire on its way.
func usable(life time.Duration) time.Duration {
	return life - min(life/4, 20*time.Second)
}
