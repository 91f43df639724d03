package lab

import (
	"crypto/tls"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Options are fixed for the life of an Upstream. The zero value listens on free ports of 127.0.0.1.
type Options struct {
	Listen        string // host:port of the registry; "127.0.0.1:0" when empty. "[::1]:0" is an upstream with IPv6 only
	StorageListen string // host:port of the storage host; a free port of the same host when empty
	TLS           bool   // with a certificate of its own, see CA; HTTP/1.1 alone unless HTTP2 is set
	HTTP2         bool   // needs TLS; note that resets become stream resets
	Remember      int    // requests kept for Requests; 10,000 when 0. Counting goes on beyond

	// Leaked is told of credentials and Referers that reached the storage host, where they must not go; nil = nobody.
	Leaked func(header http.Header)
}

// Upstream is a running upstream.
type Upstream struct {
	options Options
	cert    *tls.Certificate // with TLS
	server  *server
	storage *server
	done    chan struct{} // closed by Close: frees hanging requests
	serving sync.WaitGroup

	mu           sync.Mutex
	closed       bool
	behavior     Behavior
	repositories map[string]*repository
	tokens       map[string]remoteToken
	signed       map[string]*signedURL
	issued       int // tokens and signed URLs ever made
	ledger       ledger
}

type repository struct {
	manifests map[oci.Digest]Content
	blobs     map[oci.Digest]Content
	tags      map[string]oci.Digest
}

// New starts an Upstream without content. The caller must Close it.
func New(o Options) (*Upstream, error) {
	if o.Remember <= 0 {
		o.Remember = 10_000
	}
	u := &Upstream{
		options: o, done: make(chan struct{}), repositories: map[string]*repository{},
		tokens: map[string]remoteToken{}, signed: map[string]*signedURL{}, ledger: newLedger(),
	}
	var err error
	if o.TLS {
		if u.cert, err = selfSigned(); err != nil {
			return nil, err
		}
	}
	if u.server, err = u.listen(or(o.Listen, "127.0.0.1:0"), u.serve); err != nil {
		return nil, err
	}
	if u.storage, err = u.listen(or(o.StorageListen, u.server.freePort()), u.serveStorage); err != nil {
		return nil, errors.Join(err, u.Close())
	}
	return u, nil
}

// Close ends every connection and returns when no request is left. Closing twice is fine.
func (u *Upstream) Close() error {
	u.mu.Lock()
	if !u.closed {
		close(u.done)
	}
	u.closed = true
	u.mu.Unlock()
	var err error
	for _, s := range []*server{u.server, u.storage} {
		if s != nil {
			err = errors.Join(err, s.stop())
		}
	}
	u.serving.Wait()
	return err
}

// URL is the base URL; StorageURL that of the host blobs are redirected to.
func (u *Upstream) URL() string        { return u.server.url }
func (u *Upstream) StorageURL() string { return u.storage.url }

// Host is the host and port of URL.
func (u *Upstream) Host() string { return hostOf(u.server.url) }

// Set changes the behaviour.
func (u *Upstream) Set(change func(*Behavior)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(&u.behavior)
}

// Fail adds rules before those there are.
func (u *Upstream) Fail(rules ...Rule) {
	u.Set(func(b *Behavior) { b.Rules = append(slices.Clone(rules), b.Rules...) })
}

// Heal drops all rules. Requests that are being held stay so.
func (u *Upstream) Heal() { u.Set(func(b *Behavior) { b.Rules = nil }) }

// Put adds an image with everything it names, and tags it.
func (u *Upstream) Put(repository string, tags []string, image Image) {
	for _, child := range image.Children {
		u.Put(repository, nil, child)
	}
	u.PutBlob(repository, image.Blobs...)
	u.PutManifest(repository, tags, image.Manifest)
}

// PutBlob adds blobs.
func (u *Upstream) PutBlob(repository string, blobs ...Content) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r := u.repository(repository)
	for _, b := range blobs {
		r.blobs[b.Digest] = b
	}
}

// PutManifest adds a manifest, whatever it names, and tags it.
func (u *Upstream) PutManifest(repository string, tags []string, m registry.Manifest) {
	c := BytesContent(m.MediaType, m.Payload)
	c.Digest = m.Digest
	u.mu.Lock()
	defer u.mu.Unlock()
	r := u.repository(repository)
	r.manifests[m.Digest] = c
	for _, tag := range tags {
		r.tags[tag] = m.Digest
	}
}

// Tag moves tags to a manifest; Untag deletes them.
func (u *Upstream) Tag(repository string, digest oci.Digest, tags ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, tag := range tags {
		u.repository(repository).tags[tag] = digest
	}
}

// Untag deletes tags.
func (u *Upstream) Untag(repository string, tags ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, tag := range tags {
		delete(u.repository(repository).tags, tag)
	}
}

// Remove deletes a manifest with its tags, or a blob.
func (u *Upstream) Remove(repository string, digest oci.Digest) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r := u.repository(repository)
	delete(r.manifests, digest)
	delete(r.blobs, digest)
	maps.DeleteFunc(r.tags, func(_ string, d oci.Digest) bool { return d == digest })
}

// repository returns the repository of a name, made if need be. u.mu must be held.
func (u *Upstream) repository(name string) *repository {
	r, ok := u.repositories[name]
	if !ok {
		r = &repository{manifests: map[oci.Digest]Content{}, blobs: map[oci.Digest]Content{}, tags: map[string]oci.Digest{}}
		u.repositories[name] = r
	}
	return r
}

// ExpireTokens makes every token issued so far invalid.
func (u *Upstream) ExpireTokens() {
	u.mu.Lock()
	defer u.mu.Unlock()
	clear(u.tokens)
}

// ExpireSigned makes every signed URL issued so far answer 403.
func (u *Upstream) ExpireSigned() {
	u.mu.Lock()
	defer u.mu.Unlock()
	clear(u.signed)
}

// Stop closes the registry's listener and every connection to it: connections are refused from now on. Restart undoes it.
func (u *Upstream) Stop() { _ = u.server.stop() }

// Restart listens again on the address that Stop freed.
func (u *Upstream) Restart() error {
	u.server.mu.Lock()
	defer u.server.mu.Unlock()
	s, err := u.listen(hostOf(u.server.url), u.serve)
	if err == nil {
		u.server.http, u.server.listener = s.http, s.listener
	}
	return err
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func hostOf(base string) string {
	parsed, err := url.Parse(base)
	if err != nil {
		return ""
	}
	return parsed.Host
}
