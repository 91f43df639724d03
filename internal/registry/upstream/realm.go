package upstream

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/credential"
	"github.com/weir-registry/weir/internal/registry"
)

// maxTokenAnswer bounds the answer of a token endpoint.
const maxTokenAnswer = 256 << 10

// wellKnownRealm reports public registries whose tokens come from another host of theirs.
func wellKnownRealm(registryHost, realmHost string) bool {
	switch registryHost {
	case hubHost:
		return realmHost == hubRealm
	case "registry.gitlab.com":
		return realmHost == "gitlab.com"
	}
	return false
}

func (l *login) isRealmHost(host string) bool {
	host = CanonicalHost(host)
	return host == CanonicalHost(l.base.Host) || wellKnownRealm(l.base.Host, host) || slices.Contains(l.o.RealmHosts, host)
}

// checkRealm refuses a token endpoint that the registry may not send us to. Whoever can answer for the registry once chooses
// the realm, and would get the password.
func (l *login) checkRealm(realm string) error {
	u, err := url.Parse(realm)
	refuse := func(why string) error {
		return &registry.OutcomeError{Outcome: registry.Unknown, Status: http.StatusUnauthorized, Reason: l.base.Host + ": " + why}
	}
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return refuse("its token endpoint is not a usable URL")
	case u.Scheme != "https" && (u.Scheme != "http" || l.base.Scheme != "http"):
		return refuse("its token endpoint is not https")
	case !l.isRealmHost(u.Host):
		return refuse("its token endpoint is on another host, " + harmless(u.Host) + ", which is not among the upstream's realm_hosts")
	}
	return nil
}

// request asks the realm for a token.
func (l *login) request(ctx context.Context, repository string, key tokenKey) (token, error) {
	if err := l.refusedLately(); err != nil {
		return token{}, err
	}
	for try := 0; ; try++ {
		identity, err := l.identity(ctx, repository)
		if err != nil {
			return token{}, err
		}
		if u, err := url.Parse(key.realm); err != nil || (!identity.IsZero() && !l.mayReceive(u.Host)) {
			return token{}, notAllowed(u.Host)
		}
		resp, err := l.askRealm(ctx, key, identity)
		if err != nil {
			return token{}, err
		}
		if !l.anotherLogin(ctx, repository, resp, identity) || try > 0 {
			return l.readToken(resp, identity)
		}
		drain(resp)
	}
}

// anotherLogin tells the credential that the realm refused identity, and reports whether another one may do.
func (l *login) anotherLogin(ctx context.Context, repository string, resp *http.Response, identity credential.Login) bool {
	return resp.StatusCode == http.StatusUnauthorized && !identity.IsZero() &&
		l.o.Credential.Rejected(ctx, credential.Target{Host: l.base.Host, Repository: repository}, identity)
}

// askRealm sends the form of request that fits the login: POST for an identity token, else GET, or POST where the realm
// knows no GET.
func (l *login) askRealm(ctx context.Context, key tokenKey, identity credential.Login) (*http.Response, error) {
	if identity.Username == "" && !identity.Password.IsZero() {
		return l.post(ctx, key, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {identity.Password.Reveal()}})
	}
	u, err := url.Parse(key.realm)
	if err != nil {
		return nil, unknown(nil, "its token endpoint is not a usable URL")
	}
	q := u.Query() // the realm's own parameters stay
	if key.service != "" {
		q.Set("service", key.service)
	}
	if key.scope != "" { // without, the token tells who we are and opens nothing
		q["scope"] = []string{key.scope}
	}
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, unknown(nil, "its token endpoint is not a usable URL")
	}
	if !identity.IsZero() {
		req.Header.Set("Authorization", basicProof(identity).header.Reveal())
	}
	resp, err := l.roundTrip(ctx, KindToken, req)
	if err != nil || identity.IsZero() || (resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusMethodNotAllowed) {
		return resp, err
	}
	drain(resp)
	return l.post(ctx, key, url.Values{"grant_type": {"password"}, "username": {identity.Username}, "password": {identity.Password.Reveal()}})
}

func (l *login) post(ctx context.Context, key tokenKey, form url.Values) (*http.Response, error) {
	form.Set("service", key.service)
	if key.scope != "" {
		form.Set("scope", key.scope)
	}
	form.Set("client_id", "weir")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, key.realm, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, unknown(nil, "its token endpoint is not a usable URL")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return l.roundTrip(ctx, KindToken, req)
}

// readToken reads the realm's answer and closes it.
func (l *login) readToken(resp *http.Response, identity credential.Login) (token, error) {
	defer drain(resp)
	l.budget.learn(question{kind: KindToken}, resp)
	switch {
	case resp.StatusCode == http.StatusUnauthorized && !identity.IsZero():
		o := unknown(resp, "the credentials were refused")
		o.RetryAfter = l.noteRefused()
		return token{}, o
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		o := l.refusal(resp, proof{}) // the realm answered for this repository: it is not open to us
		o.Outcome = registry.Denied
		return token{}, o
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return token{}, unknown(resp, "the token endpoint redirects, which is not followed")
	case resp.StatusCode != http.StatusOK:
		o := l.refusal(resp, proof{})
		o.Outcome, o.Reason = registry.Unknown, o.Reason+" from the token endpoint"
		return token{}, o
	}
	l.noteAccepted()
	l.accept(identity)
	return l.parseToken(resp)
}

func (l *login) parseToken(resp *http.Response) (token, error) {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenAnswer+1))
	if err != nil {
		return token{}, err
	}
	var answer struct {
		Token       string  `json:"token"`
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	if len(raw) > maxTokenAnswer || json.Unmarshal(raw, &answer) != nil {
		return token{}, unknown(resp, "the token endpoint's answer makes no sense")
	}
	text := answer.Token
	if text == "" {
		text = answer.AccessToken
	}
	if !validToken(text) {
		return token{}, unknown(resp, "the token endpoint's answer holds no token")
	}
	life := defaultLife
	if answer.ExpiresIn > 0 {
		life = time.Duration(min(answer.ExpiresIn, 24*3600) * float64(time.Second))
	}
	now := l.o.Now() // not issued_at: clocks differ
	return token{text: credential.NewSecret(text), obtained: now, expires: now.Add(usable(life))}, nil
}

// validToken keeps what would break a header out of it.
func validToken(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}

func (l *login) refusedLately() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if wait := l.refused.until.Sub(l.o.Now()); wait > 0 {
		return &registry.OutcomeError{Outcome: registry.Unknown, Status: http.StatusUnauthorized, Reason: l.refusedReason(), At: l.refused.at, RetryAfter: wait}
	}
	return nil
}

func (r *Registry) refusedReason() string { return r.base.Host + ": the credentials were refused" }

// lastRefusal is zero once a login was accepted.
func (l *login) lastRefusal() refusedLogin {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// judged notes how the registry took a Basic login.
func (l *login) judged(resp *http.Response, p proof) {
	switch {
	case p.scheme != schemeBasic:
	case resp.StatusCode == http.StatusUnauthorized:
		l.noteRefused()
	default:
		l.noteAccepted()
		if resp.StatusCode < http.StatusBadRequest || resp.StatusCode == http.StatusNotFound { // others may not have looked at it
			l.accept(p.login)
		}
	}
}

func (l *login) accept(identity credential.Login) {
	if c, ok := l.o.Credential.(rotated); ok {
		c.Accept(identity)
	}
}

// noteRefused returns how long no login is tried now.
func (l *login) noteRefused() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused.pause = min(max(time.Second, 2*l.refused.pause), maxRefusedPause)
	l.refused.at = l.o.Now()
	l.refused.until = l.refused.at.Add(l.refused.pause)
	return l.refused.pause
}

func (l *login) noteAccepted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = refusedLogin{}
}
