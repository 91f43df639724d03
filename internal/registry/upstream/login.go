package upstream

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/weir-registry/weir/internal/credential"
	"github.com/weir-registry/weir/internal/registry"
)

// login proves who we are to one upstream. It learns from the first challenge how the registry wants it, and from then on
// brings the proof along without being asked.
type login struct {
	*Registry
	tokens  *tokens
	flights singleflight.Group
	known   atomic.Pointer[demand]

	ctx    context.Context // of token requests: they outlive the requests that wait for them
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	refused refusedLogin
}

// demand is what a registry's challenge asks for.
type demand struct {
	scheme  scheme
	realm   string // schemeBearer
	service string
}

// scheme is how a request proves itself.
type scheme uint8

const (
	schemeNone scheme = iota
	schemeBasic
	schemeBearer
)

// proof is what a request to the registry carries.
type proof struct {
	scheme scheme
	header credential.Secret // value of Authorization
	login  credential.Login  // schemeBasic
	key    tokenKey          // schemeBearer
	token  token
}

// refusedLogin remembers that the realm refused our login, so that each pull does not try it again and lock the account.
type refusedLogin struct {
	at    time.Time
	until time.Time
	pause time.Duration
}

const maxRefusedPause = time.Minute

func newLogin(r *Registry) *login {
	l := &login{Registry: r, tokens: newTokens(r.o.Now)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

func (l *login) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.wg.Wait()
}

// enter counts a token request that close has to wait for; false when it is too late for one.
func (l *login) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.wg.Add(1)
	}
	return !l.closed
}

// prepare returns the proof to send with the first try.
func (l *login) prepare(ctx context.Context, repository string) (proof, error) {
	if known := l.known.Load(); known != nil {
		return l.prove(ctx, repository, *known, "")
	}
	identity, err := l.identity(ctx, repository)
	if err != nil || !identity.Basic {
		return proof{}, err
	}
	return basicProof(identity), l.refusedLately()
}

// challenged reads a 401 to a request that carried p and returns the proof for another try; ok is false when there is no
// point in one. resp's body is left alone.
func (l *login) challenged(ctx context.Context, repository string, resp *http.Response, p proof) (next proof, ok bool, err error) {
	want, scope, reason, found := pickDemand(parseChallenges(resp.Header))
	if p.scheme == schemeBasic && (want.scheme != schemeBearer || p.login.Basic) {
		if c, rotates := l.o.Credential.(rotated); rotates && c.UsesPrevious() && resp.StatusCode == http.StatusForbidden {
			return proof{}, false, nil // a repository that is closed to us: the secret is good
		}
		target := credential.Target{Host: l.base.Host, Repository: repository}
		if !l.o.Credential.Rejected(ctx, target, p.login) {
			return proof{}, false, nil
		}
		next, err = l.prove(ctx, repository, demand{scheme: schemeBasic}, "")
		return next, err == nil && next.header != p.header, err
	}
	if !found {
		return proof{}, false, nil
	}
	if want.scheme == schemeBearer {
		if err := l.checkRealm(want.realm); err != nil {
			return proof{}, false, err
		}
	}
	otherScope := scope != "" && scope != p.key.scope
	if p.scheme == schemeBearer && !otherScope {
		if !l.worthRenewing(p, reason) {
			return proof{}, false, nil
		}
		l.tokens.drop(p.key, p.token)
	}
	l.known.Store(&want)
	next, err = l.prove(ctx, repository, want, scope)
	if err != nil {
		return proof{}, false, err
	}
	if p.scheme == schemeBearer && next.scheme == schemeBearer && !otherScope {
		next.token.renewed = true
		l.tokens.put(next.key, next.token)
	}
	return next, next.scheme != schemeNone && next.header != p.header, nil
}

// renewEvery bounds how often the refusal of a token makes us get another: a repository that is closed to us must not cost
// two requests to the realm for each pull.
const renewEvery = 30 * time.Second

// worthRenewing tells a token that is no longer valid from a valid one that does not open this repository.
func (l *login) worthRenewing(p proof, reason string) bool {
	if reason == "insufficient_scope" {
		return false
	}
	return !p.token.renewed || l.o.Now().Sub(p.token.obtained) > renewEvery
}

// pickDemand chooses among challenges: Bearer before Basic.
func pickDemand(challenges []challenge) (d demand, scope, reason string, ok bool) {
	for _, c := range challenges {
		switch {
		case c.scheme == "bearer" && c.params["realm"] != "":
			return demand{schemeBearer, c.params["realm"], c.params["service"]}, c.params["scope"], c.params["error"], true
		case c.scheme == "basic":
			d, ok = demand{scheme: schemeBasic}, true
		}
	}
	return d, "", "", ok
}

// prove returns the proof that d asks for. scope is the challenge's, empty if it named none.
func (l *login) prove(ctx context.Context, repository string, d demand, scope string) (proof, error) {
	if d.scheme == schemeBasic {
		identity, err := l.identity(ctx, repository)
		if err != nil || identity.IsZero() {
			return proof{}, err
		}
		return basicProof(identity), l.refusedLately()
	}
	usual := "repository:" + l.remoteName(repository) + ":pull"
	if scope == "" {
		scope = usual
	}
	key := tokenKey{l.o.Credential.Fingerprint(), d.realm, d.service, scope}
	t, ok := l.tokens.get(key)
	if !ok {
		var err error
		if t, err = l.obtain(ctx, repository, key); err != nil {
			return proof{}, err
		}
		if scope != usual { // the next request asks for the usual scope, before it hears what this registry calls it
			l.tokens.put(tokenKey{key.fingerprint, key.realm, key.service, usual}, t)
		}
	}
	return proof{scheme: schemeBearer, header: bearerHeader(t), key: key, token: t}, nil
}

// obtain gets a token from the realm, once for all who want it now. The request goes on when the first of them leaves.
func (l *login) obtain(ctx context.Context, repository string, key tokenKey) (token, error) {
	done := l.flights.DoChan(key.String(), func() (any, error) {
		if !l.enter() {
			return token{}, failure(l.ctx, "", context.Canceled)
		}
		defer l.wg.Done()
		return l.fetch(l.ctx, repository, key)
	})
	select {
	case <-ctx.Done():
		return token{}, failure(ctx, "", ctx.Err())
	case result := <-done:
		if result.Err != nil && l.ctx.Err() != nil { // closed: whoever still needs the upstream asks in its own time
			return l.fetch(ctx, repository, key)
		}
		t, _ := result.Val.(token)
		return t, result.Err
	}
}

func (l *login) fetch(ctx context.Context, repository string, key tokenKey) (token, error) {
	own, cancel := context.WithTimeoutCause(ctx, 2*l.o.Timeout, errNoHeaders)
	defer cancel()
	t, err := l.request(own, repository, key)
	if err == nil {
		l.tokens.put(key, t)
	}
	return t, err
}

// identity is our login at the upstream, after checking that it may go there.
func (l *login) identity(ctx context.Context, repository string) (credential.Login, error) {
	identity, err := l.o.Credential.Login(ctx, credential.Target{Host: l.base.Host, Repository: repository})
	if err != nil {
		return credential.Login{}, &registry.OutcomeError{Outcome: registry.Unknown, Reason: "the credential could not be obtained", Err: err}
	}
	if !identity.IsZero() && !l.mayReceive(l.base.Host) {
		return credential.Login{}, notAllowed(l.base.Host)
	}
	return identity, nil
}

// mayReceive reports whether the credential may be sent to host.
func (l *login) mayReceive(host string) bool {
	allowed := l.o.CredentialHosts
	if len(allowed) == 0 {
		return host == l.base.Host || l.isRealmHost(host)
	}
	return slices.Contains(allowed, CanonicalHost(host)) || (wellKnownRealm(l.base.Host, host) && slices.Contains(allowed, l.base.Host))
}

func notAllowed(host string) error {
	return &registry.OutcomeError{Outcome: registry.Unknown, Reason: "the credential may not be sent to " + host, Err: errors.New("host is not among the credential's hosts")}
}

func bearerHeader(t token) credential.Secret {
	return credential.NewSecret("Bearer " + t.text.Reveal())
}

func basicProof(l credential.Login) proof {
	header := "Basic " + base64.StdEncoding.EncodeToString([]byte(l.Username+":"+l.Password.Reveal()))
	return proof{scheme: schemeBasic, header: credential.NewSecret(header), login: l}
}
