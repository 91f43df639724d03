// Package upstream is a remote registry as a registry.Registry: HTTP out. Package cache stands on it; assemble makes one
// per upstream. It pulls only: everything else stays unimplemented.
//
// It promises that a credential goes to the hosts it may be sent to and nowhere else, that every host it connects to passes
// the address guard at dial time, that every answer is bounded, and that whatever goes wrong comes back as a
// *registry.OutcomeError whose reason may be shown to people. It verifies manifests against their digest; blobs are
// verified by whoever keeps them. A Registry is safe for concurrent use and learns while it lives (tokens, rate budget,
// circuit breaker, connections), so make it once and keep it.
package upstream

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/credential"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Options make a Registry. Only URL is required.
type Options struct {
	// URL is https://host[:port][/prefix]; http is for tests and private networks. The prefix goes before every repository
	// name. docker.io and index.docker.io stand for registry-1.docker.io.
	URL string

	Credential      credential.Source // nil = anonymous
	CredentialHosts []string          // host[:port]; empty = the upstream's host and its realm hosts
	RealmHosts      []string          // further hosts its token endpoint may be on
	CA              string            // PEM certificates trusted besides the system's

	AllowPrivateNetworks bool // connect to private, loopback and link-local addresses too; metadata services stay refused

	Timeout     time.Duration // until the headers of an answer; default 10s
	IdleTimeout time.Duration // between bytes of a body; default 30s
	Concurrency int           // manifest-like requests at once, and blob transfers at once; default 32 each

	Version    string // of Weir, for the User-Agent
	InstanceID string // how Weir names itself in Via, where a loop is recognised; empty = no Via

	Now     func() time.Time // default time.Now
	Log     *slog.Logger     // default: nothing is logged
	Metrics Metrics          // default: none
}

// Metrics receives what happens. Implementations must not block.
type Metrics interface {
	// Request is one HTTP exchange up to its headers. status is 0 when there was no answer. kind is one of the Kinds.
	Request(kind Kind, method string, status int, duration time.Duration)
	// Budget is the rate limit as the upstream just described it.
	Budget(limit, remaining int)
	// Breaker says that requests to a host of the upstream are being refused (open), or are not any more.
	Breaker(host string, open bool)
}

// Kind is what a request is for, as a metric label.
type Kind string

// Kinds.
const (
	KindManifest  Kind = "manifest"
	KindBlob      Kind = "blob"
	KindTags      Kind = "tags"
	KindReferrers Kind = "referrers"
	KindToken     Kind = "token"
)

// Registry is one remote registry.
type Registry struct {
	registry.Unimplemented

	o         Options
	base      *url.URL // scheme and host
	prefix    string   // "" or "path/", before every repository name
	hub       bool
	transport *http.Transport
	login     *login
	budget    *budget
	small     chan struct{} // slots
	large     chan struct{}
	noted     notes

	breakersMu sync.Mutex
	breakers   map[string]*breaker // by host
}

var _ registry.Registry = (*Registry)(nil)

// New makes a Registry. Nothing is sent yet.
func New(o Options) (*Registry, error) {
	o.defaults()
	base, prefix, err := parseBase(o.URL)
	if err != nil {
		return nil, err
	}
	roots, err := certificates(o.CA)
	if err != nil {
		return nil, err
	}
	r := &Registry{
		o: o, base: base, prefix: prefix, hub: base.Host == hubHost,
		transport: newTransport(o, roots),
		small:     make(chan struct{}, o.Concurrency), large: make(chan struct{}, o.Concurrency),
		breakers: map[string]*breaker{},
	}
	r.budget = newBudget(o.Now, r.hub)
	r.login = newLogin(r)
	return r, nil
}

func (o *Options) defaults() {
	if o.Credential == nil {
		o.Credential = credential.Anonymous{}
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = 30 * time.Second
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 32
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = noMetrics{}
	}
	o.CredentialHosts = canonicalHosts(o.CredentialHosts)
	o.RealmHosts = canonicalHosts(o.RealmHosts)
}

// Close ends background work and idle connections. Requests under way go on, and so may those that come later: a transfer that
// began before the configuration changed has to renew its token and take up broken reads.
func (r *Registry) Close() {
	r.login.close()
	r.transport.CloseIdleConnections()
}

// Host is the host that requests go to, with its port if that is not the default.
func (r *Registry) Host() string { return r.base.Host }

// Budget is what is known of the upstream's rate limit.
func (r *Registry) Budget() Budget { return r.budget.state() }

// Open reports whether the circuit breaker refuses requests to the registry's host.
func (r *Registry) Open() bool { return r.breaker(r.base.Host).open() }

// Docker Hub's API and token hosts.
const (
	hubHost  = "registry-1.docker.io"
	hubRealm = "auth.docker.io"
)

// CanonicalHost is oci.CanonicalHost with the host that Docker Hub answers at.
func CanonicalHost(host string) string {
	host = oci.CanonicalHost(host)
	if host == oci.HubHost {
		return hubHost
	}
	return host
}

func canonicalHosts(hosts []string) []string {
	out := make([]string, len(hosts))
	for i, h := range hosts {
		out[i] = CanonicalHost(h)
	}
	return out
}

func parseBase(text string) (*url.URL, string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, "", errors.New("upstream URL: not a URL") // the parser's error repeats the text, userinfo included
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, "", errors.New("upstream URL: must begin with https:// or http://")
	case u.Host == "":
		return nil, "", errors.New("upstream URL: the host is missing")
	case u.User != nil:
		return nil, "", errors.New("upstream URL: must not hold a user name or password; use a credential")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, "", errors.New("upstream URL: must not hold a query or fragment")
	}
	prefix := strings.Trim(u.Path, "/")
	if prefix == "v2" || prefix == "v1" {
		prefix = ""
	}
	prefix = strings.TrimPrefix(prefix, "v2/")
	if prefix != "" {
		if !oci.ValidRepository(prefix) {
			return nil, "", fmt.Errorf("upstream URL: the path %q cannot begin a repository name", prefix)
		}
		prefix += "/"
	}
	host := strings.ToLower(u.Host)
	if u.Scheme == "https" {
		host = CanonicalHost(host)
	}
	return &url.URL{Scheme: u.Scheme, Host: host}, prefix, nil
}

func certificates(pem string) (*x509.CertPool, error) {
	if pem == "" {
		return nil, nil // the system's
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM([]byte(pem)) {
		return nil, errors.New("upstream CA: no certificate in PEM form")
	}
	return roots, nil
}

// remoteName is repository as the upstream knows it: below the URL's prefix, and Docker Hub's official images under library/.
func (r *Registry) remoteName(repository string) string {
	if r.hub && r.prefix == "" && !strings.Contains(repository, "/") {
		return "library/" + repository
	}
	return r.prefix + repository
}

func (r *Registry) breaker(host string) *breaker {
	r.breakersMu.Lock()
	defer r.breakersMu.Unlock()
	b, ok := r.breakers[host]
	if !ok {
		if len(r.breakers) >= maxBreakers {
			r.forgetBreakers()
		}
		b = &breaker{now: r.o.Now, change: func(open bool) {
			r.o.Metrics.Breaker(host, open)
			r.o.Log.Warn("upstream breaker", slog.String("host", host), slog.Bool("open", open))
		}}
		r.breakers[host] = b
	}
	return b
}

// maxBreakers bounds the hosts that are followed: redirects can name any number.
const maxBreakers = 64

func (r *Registry) forgetBreakers() {
	for host := range r.breakers {
		if host != r.base.Host {
			delete(r.breakers, host)
		}
	}
}

type noMetrics struct{}

func (noMetrics) Request(Kind, string, int, time.Duration) {}
func (noMetrics) Budget(int, int)                          {}
func (noMetrics) Breaker(string, bool)                     {}
