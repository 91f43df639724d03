package lab

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// remoteToken is a bearer token that an Upstream issued.
type remoteToken struct {
	scopes  []string
	expires time.Time // zero = never
}

const tokenService = "registry.test"

// authorized checks the login of a request to the registry, and answers it if it is refused.
func (x *exchange) authorized() bool {
	b := x.behavior
	switch b.Auth {
	case AuthBasic:
		user, password, ok := x.r.BasicAuth()
		if ok && user == b.Username && password == b.Password {
			return true
		}
		x.challenge(`Basic realm="test"`)
		return false
	case AuthBearer:
		return x.bearer()
	}
	return true
}

func (x *exchange) bearer() bool {
	scope := "repository:" + x.path.repository + ":pull"
	text, _ := strings.CutPrefix(x.r.Header.Get("Authorization"), "Bearer ")
	x.mu.Lock()
	token, known := x.tokens[text]
	x.mu.Unlock()
	b := x.behavior
	switch {
	case !known || b.RejectTokens || expired(token.expires):
		x.challengeBearer(scope, "")
		return false
	case x.path.kind == KindPing:
		return true
	case slices.Contains(b.Forbidden, x.path.repository):
		x.fail(http.StatusForbidden, "DENIED")
		return false
	case slices.Contains(b.Denied, x.path.repository) || !slices.Contains(token.scopes, scope):
		x.challengeBearer(scope, "insufficient_scope")
		return false
	}
	return true
}

func (x *exchange) challengeBearer(scope, reason string) {
	b := x.behavior
	realm := b.Realm
	if realm == "" {
		realm = x.base(x.r) + "/token"
	}
	c := fmt.Sprintf(`Bearer realm=%q,service=%q`, realm, tokenService)
	if !b.NoScope && x.path.repository != "" {
		c += fmt.Sprintf(`,scope=%q`, scope)
	}
	if reason != "" {
		c += fmt.Sprintf(`,error=%q`, reason)
	}
	x.challenge(c)
}

func (x *exchange) challenge(c string) {
	x.w.Header().Set("Www-Authenticate", c)
	x.fail(http.StatusUnauthorized, "UNAUTHORIZED")
}

// token is the token endpoint: GET with Basic, POST with grant_type password or refresh_token.
func (x *exchange) token() {
	b := x.behavior
	if x.r.Method == http.MethodPost && b.NoTokenPOST {
		x.fail(http.StatusNotFound, "NOT_FOUND")
		return
	}
	if err := x.r.ParseForm(); err != nil || x.r.Form.Get("service") != tokenService {
		x.fail(http.StatusBadRequest, "UNSUPPORTED")
		return
	}
	if !x.tokenLogin() {
		x.fail(http.StatusUnauthorized, "UNAUTHORIZED")
		return
	}
	scopes := []string{}
	for _, s := range x.r.Form["scope"] {
		scopes = append(scopes, strings.Fields(s)...)
	}
	x.mu.Lock()
	x.issued++
	text := "token-" + strconv.Itoa(x.issued)
	makeRoom(x.tokens)
	x.tokens[text] = remoteToken{scopes, until(b.TokenLife)}
	x.mu.Unlock()
	field := "token"
	if b.AccessTokenField {
		field = "access_token"
	}
	out := map[string]any{field: text}
	if b.ExpiresIn > 0 {
		out["expires_in"] = b.ExpiresIn
	}
	body, _ := json.Marshal(out)
	x.answer(http.StatusOK, "application/json", body)
}

func (x *exchange) tokenLogin() bool {
	b, form := x.behavior, x.r.Form
	if x.r.Method == http.MethodPost {
		switch form.Get("grant_type") {
		case "refresh_token":
			return b.IdentityToken != "" && form.Get("refresh_token") == b.IdentityToken
		case "password":
			return form.Get("username") == b.Username && form.Get("password") == b.Password
		}
		return false
	}
	user, password, _ := x.r.BasicAuth() // an anonymous request has the empty login
	return user == b.Username && password == b.Password
}

// maxIssued bounds the tokens, and the signed URLs, that are good at a time.
const maxIssued = 10_000

// makeRoom drops some entry of a full map: its client will have to ask for another.
func makeRoom[V any](m map[string]V) {
	for k := range m {
		if len(m) < maxIssued {
			return
		}
		delete(m, k)
	}
}

func until(life time.Duration) time.Time {
	if life <= 0 {
		return time.Time{}
	}
	return time.Now().Add(life)
}

func expired(at time.Time) bool { return !at.IsZero() && time.Now().After(at) }

// base is the URL of the registry as the client named its host: it may have come through a tunnel or by another name.
func (u *Upstream) base(r *http.Request) string {
	scheme, _, _ := strings.Cut(u.URL(), ":")
	return scheme + "://" + r.Host
}

// storageBase is the URL of the storage host at the host name that the client used.
func (u *Upstream) storageBase(r *http.Request) string {
	base := u.StorageURL()
	scheme, _, _ := strings.Cut(base, ":")
	_, port, _ := net.SplitHostPort(hostOf(base))
	return scheme + "://" + net.JoinHostPort(hostname(r.Host), port)
}

func hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}
