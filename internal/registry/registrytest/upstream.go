package registrytest

import (
	"encoding/pem"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Upstream is a fake remote registry for pulls: an HTTP server on loopback that speaks the distribution protocol, with
// a second server that blobs can be redirected to. Its Behavior can be switched while it runs; it records every request
// and counts the bytes it sent. Credentials that reach the second server fail the test.
type Upstream struct {
	t       testing.TB
	server  *httptest.Server
	storage *httptest.Server
	done    chan struct{} // closed when the test ends: frees hanging requests

	mu           sync.Mutex
	behavior     Behavior
	repositories map[string]*remoteRepository
	requests     []*Request
	sent         map[oci.Digest]int64
	tokens       map[string]remoteToken
	signed       map[string]*signedURL
	issued       int // tokens and signed URLs ever made
}

type remoteRepository struct {
	manifests map[oci.Digest]Content
	blobs     map[oci.Digest]Content
	tags      map[string]oci.Digest
}

// UpstreamOptions are fixed for the life of an Upstream.
type UpstreamOptions struct {
	TLS   bool // with a certificate of its own, see CA; HTTP/2 is offered
	HTTP2 bool // needs TLS; note that resets become stream resets
}

// NewUpstream starts an Upstream that stops when the test ends.
func NewUpstream(t testing.TB, o UpstreamOptions) *Upstream {
	t.Helper()
	u := &Upstream{
		t: t, done: make(chan struct{}), repositories: map[string]*remoteRepository{}, sent: map[oci.Digest]int64{},
		tokens: map[string]remoteToken{}, signed: map[string]*signedURL{},
	}
	u.server = u.start(o, http.HandlerFunc(u.serve))
	u.storage = u.start(o, http.HandlerFunc(u.serveStorage))
	t.Cleanup(func() {
		close(u.done)
		for _, s := range []*httptest.Server{u.server, u.storage} {
			s.CloseClientConnections()
			s.Close()
		}
	})
	return u
}

func (u *Upstream) start(o UpstreamOptions, h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = o.HTTP2
	if o.TLS {
		s.StartTLS()
	} else {
		s.Start()
	}
	return s
}

// URL is the base URL; StorageURL that of the host blobs are redirected to.
func (u *Upstream) URL() string        { return u.server.URL }
func (u *Upstream) StorageURL() string { return u.storage.URL }

// Host is the host and port of URL.
func (u *Upstream) Host() string {
	parsed, err := url.Parse(u.server.URL)
	if err != nil {
		u.t.Fatal(err)
	}
	return parsed.Host
}

// CA is the PEM certificate that both servers' TLS trusts to.
func (u *Upstream) CA() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: u.server.Certificate().Raw}))
}

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

// Heal drops all rules.
func (u *Upstream) Heal() { u.Set(func(b *Behavior) { b.Rules = nil }) }

// Put adds an image with everything it names, and tags it.
func (u *Upstream) Put(repository string, tags []string, image Image) {
	for _, child := range image.Children {
		u.Put(repository, nil, child)
	}
	u.PutBlob(repository, image.Blobs...)
	u.PutManifest(repository, tags, image.Manifest)
}

// PutFixture adds a fixture.
func (u *Upstream) PutFixture(f Fixture) {
	for _, item := range f {
		u.Put(item.Repository, item.Tags, item.Image)
	}
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

func (u *Upstream) repository(name string) *remoteRepository {
	r, ok := u.repositories[name]
	if !ok {
		r = &remoteRepository{manifests: map[oci.Digest]Content{}, blobs: map[oci.Digest]Content{}, tags: map[string]oci.Digest{}}
		u.repositories[name] = r
	}
	return r
}

// ExpireTokens makes every token issued so far invalid; ExpireSigned every signed URL.
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

// Requests returns a copy of the requests received so far, oldest first.
func (u *Upstream) Requests() []Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make([]Request, len(u.requests))
	for i, r := range u.requests {
		out[i] = *r
	}
	return out
}

// Count counts the requests of a kind received so far, refused ones too. An empty method or kind counts all.
func (u *Upstream) Count(method string, kind Kind) int {
	n := 0
	for _, r := range u.Requests() {
		if (method == "" || method == r.Method) && (kind == "" || kind == r.Kind) {
			n++
		}
	}
	return n
}

// Sent is how many body bytes of a blob or manifest have been written, over all responses.
func (u *Upstream) Sent(digest oci.Digest) int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.sent[digest]
}

// Forget drops the recorded requests and byte counts.
func (u *Upstream) Forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests = nil
	clear(u.sent)
}

// record notes a request; the caller sets Status through the returned function.
func (u *Upstream) record(r *http.Request, p remotePath) func(status int) {
	q := &Request{
		Time: time.Now(), Method: r.Method, Kind: p.kind, Repository: p.repository, Reference: p.reference, Host: r.Host,
		Proto: r.Proto, Query: r.URL.RawQuery, Header: r.Header.Clone(),
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests = append(u.requests, q)
	return func(status int) {
		u.mu.Lock()
		defer u.mu.Unlock()
		q.Status = status
	}
}

// Stop closes the listener and every connection: connections are refused from now on. Start on the same address with
// Restart.
func (u *Upstream) Stop() {
	u.server.CloseClientConnections()
	_ = u.server.Listener.Close()
}

// Restart listens again on the address that Stop freed. Plain HTTP only.
func (u *Upstream) Restart() {
	u.t.Helper()
	l, err := net.Listen("tcp", strings.TrimPrefix(u.server.URL, "http://"))
	if err != nil {
		u.t.Fatalf("listen again: %v", err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(u.serve))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	u.t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
}
