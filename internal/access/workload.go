package access

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/maypok86/otter/v2"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// WorkloadUser is the user name of a workload that brings its token as the password and does not say by which rule. With
// "<group>/<rule>" it does.
const WorkloadUser = "oidc"

// Issuers verifies tokens of other issuers. Package access/oidc has the implementation.
type Issuers interface {
	// Verify checks the signature of a token with keys (a JWKS), or with the issuer's own if that is empty, and its iss claim; its
	// times are TrustRule.Test's. It may ask the issuer, and nobody else. ErrUnreachable when the issuer does not answer, *UnknownKeyError when
	// that is not known yet; any other error is the token's fault, and its text holds nothing of the token.
	Verify(ctx context.Context, issuer, keys, token string) (claims map[string]any, err error)
}

// ErrUnreachable is returned while an issuer does not answer.
var ErrUnreachable = errors.New("the issuer does not answer")

// UnknownKeyError is returned for a token by a key that the issuer did not have when it was asked a moment ago: it may have a new one.
type UnknownKeyError struct {
	Again time.Duration // until it is asked again
}

func (e *UnknownKeyError) Error() string { return "the issuer's key is not known yet" }

// signatures are the algorithms that tokens of other issuers may have: never a symmetric one, never none.
var signatures = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

const (
	maxForeignLife = 24 * time.Hour // the longest life of a token that is accepted: whoever finds an older one must not get in by it
	foreignSkew    = time.Minute    // that an issuer's clock may be ahead of ours
)

// notTrusted is all that the outside learns: which rules a group has is not for strangers. The group's events say more.
const notTrusted = "no trust rule accepts the token; the owners of the group can test its claims, and find the refusal among the events"

// workloads remembers tokens that were accepted a moment ago: docker sends its password with each token request.
type workloads struct {
	recent *otter.Cache[[32]byte, *admitted]
}

// admitted is an accepted token.
type admitted struct {
	account int64
	stamp   string // of the rule as it was
	subject string
	until   time.Time // end of the token
}

func newWorkloads() workloads {
	return workloads{otter.Must(&otter.Options[[32]byte, *admitted]{
		MaximumSize: 10_000, ExpiryCalculator: otter.ExpiryWriting[[32]byte, *admitted](5 * time.Minute),
	})}
}

// looksForeign reports whether a login is a workload's: by the user name, and by a password that has the form of a JWT.
func looksForeign(name, password string) bool {
	return (name == WorkloadUser || strings.Contains(name, "/")) && strings.HasPrefix(password, "eyJ") && strings.Count(password, ".") == 2
}

// withForeign logs a workload in by a token as its password: one of another issuer, or one that an exchange gave.
func (d *Directory) withForeign(ctx context.Context, name, token string, c Credentials) (Principal, error) {
	if p, err := d.fromBearer(ctx, token, typeExchange); err == nil || oci.ErrorCode(err) != oci.CodeUnauthorized {
		return p, err
	}
	if name == WorkloadUser {
		name = ""
	}
	return d.admit(ctx, name, token, c, false)
}

// Exchange gives the principal that a token of another issuer stands for, and signs a token for it (RFC 8693). rule is
// "<group>/<name>", or empty if just one rule accepts the token. scopes, if not nil, limit what the new token may be used for; they
// are asked once the principal is known. Errors as Authenticate.
func (d *Directory) Exchange(ctx context.Context, rule, token string, c Credentials, scopes func(Principal) ([]Scope, error)) (Principal, Issued, error) {
	p, err := d.admit(ctx, rule, token, c, true)
	if p, err = d.outcome("workload", p, err, Credentials{Address: c.Address}); err != nil {
		return Principal{}, Issued{}, err
	}
	if scopes != nil {
		limit, err := scopes(p)
		if err != nil {
			return Principal{}, Issued{}, err
		}
		if len(limit) == 0 {
			return Principal{}, Issued{}, oci.NewError(oci.CodeDenied, "nothing of the scope may be granted to "+p.Name)
		}
		p.Ceiling = &Ceiling{Scopes: limit}
	}
	issued, err := d.issue(ctx, p, typeExchange, p.life, nil)
	return p, issued, err
}

// admit decides about a token of another issuer. Every decision that is not from memory becomes an event.
func (d *Directory) admit(ctx context.Context, name, token string, c Credentials, exchange bool) (Principal, error) {
	s, err := d.current(ctx)
	if err != nil {
		return Principal{}, err
	}
	key := sha256.Sum256([]byte(name + "\x00" + token))
	if a, ok := d.workloads.recent.GetIfPresent(key); ok && !exchange && d.now().Before(a.until) {
		if u := s.users[a.account]; u != nil && !u.disabled && u.rule != nil && u.stamp == a.stamp {
			return workload(u, a.subject), nil
		}
	}
	k := d.logins.keysOf("workload ", token, c)
	if err := d.logins.blocked(k, d.now()); err != nil {
		return Principal{}, err
	}
	try := &attempt{Directory: d, snapshot: s, name: name, token: token, exchange: exchange}
	ctx = event.WithActor(ctx, event.Actor{Kind: string(Workload), Address: addressText(c.Address), RequestID: c.RequestID})
	u, err := try.decide(ctx)
	if oci.ErrorCode(err) == oci.CodeUnauthorized {
		d.logins.failed(k, d.now())
	}
	if err != nil {
		return Principal{}, err
	}
	if !u.rule.SingleUse {
		d.workloads.recent.Set(key, &admitted{account: u.id, stamp: u.stamp, subject: try.subject, until: try.expires})
	}
	return workload(u, try.subject), nil
}

func workload(u *user, subject string) Principal {
	p := u.principal()
	p.Name, p.subject, p.life = u.name+":"+subject, subject, time.Duration(u.rule.Lifetime)*time.Second
	return p
}

// attempt is one decision about one token.
type attempt struct {
	*Directory
	snapshot *snapshot
	name     string // of the rule; empty = any
	token    string
	exchange bool

	issuer  string    // as the token says, verified or not
	subject string    // verified
	id      string    // verified
	expires time.Time // verified
}

func (a *attempt) decide(ctx context.Context) (*user, error) {
	candidates := a.candidates()
	var matching []*trustRule
	why := "no rule names the issuer"
	verified := map[string]map[string]any{} // by the keys that a rule has
	for _, r := range candidates {
		claims, ok := verified[r.Keys]
		if !ok {
			var err error
			claims, err = a.verify(ctx, r)
			if errors.Is(err, ErrUnreachable) {
				return nil, oci.NewError(oci.CodeUnavailable, "the issuer of the token cannot be asked for its keys right now; try again soon").
					WithRetryAfter(5 * time.Second).WithCause(err)
			}
			if unknown, ok := errors.AsType[*UnknownKeyError](err); ok {
				return nil, oci.NewError(oci.CodeUnavailable, "the token is by a key that its issuer did not have a moment ago; try again when it has been asked again").
					WithRetryAfter(unknown.Again).WithCause(err)
			}
			if err != nil {
				why = err.Error()
			}
			verified[r.Keys] = claims
		}
		if claims == nil {
			continue
		}
		if lacks := r.public(Machine{}).Test(claims, a.now()); len(lacks) > 0 {
			why = strings.Join(lacks, "; ")
			continue
		}
		matching = append(matching, r)
	}
	switch {
	case len(matching) == 0:
		return nil, a.refuse(ctx, candidates, why, notTrusted)
	case len(matching) > 1:
		return nil, a.refuse(ctx, matching, "several rules accept the token",
			"several trust rules accept the token: say which one, as <group>/<rule> (the user name of a login, the audience of an exchange)")
	}
	return a.accept(ctx, matching[0])
}

// candidates are the enabled rules that the token's issuer is named by. Nothing of the token is believed yet.
func (a *attempt) candidates() (out []*trustRule) {
	if len(a.token) > maxBearer {
		return nil
	}
	parsed, err := jwt.ParseSigned(a.token, signatures)
	if err != nil {
		return nil
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return nil
	}
	a.issuer = claims.Issuer
	for _, r := range a.snapshot.issuers[claims.Issuer] {
		if a.name == "" || a.name == r.account.name {
			out = append(out, r)
		}
	}
	return out
}

func (a *attempt) verify(ctx context.Context, r *trustRule) (map[string]any, error) {
	if a.issuers == nil {
		return nil, ErrUnreachable
	}
	claims, err := a.issuers.Verify(ctx, r.Issuer, r.Keys, a.token)
	if err != nil {
		return nil, err
	}
	a.subject, _ = claims["sub"].(string)
	a.subject = printable(a.subject)
	a.id, _ = claims["jti"].(string)
	a.expires = seconds(claims["exp"])
	return claims, nil
}

func (a *attempt) accept(ctx context.Context, r *trustRule) (*user, error) {
	if r.SingleUse && !a.exchange {
		return nil, a.refuse(ctx, []*trustRule{r}, "as a password, but the rule wants single use",
			"the trust rule takes each token once: exchange it at /api/v1/token/exchange, and log in with what that gives")
	}
	used := false
	err := a.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		used = false
		if r.SingleUse {
			if _, err := tx.TrimUsedTokens(ctx, a.now().UnixMicro()); err != nil {
				return err
			}
			n, err := tx.InsertUsedToken(ctx, query.InsertUsedTokenParams{Hash: a.usedHash(r), ExpiresAt: a.expires.Add(time.Minute).UnixMicro()})
			if err != nil {
				return err
			}
			if used = n == 0; used {
				return nil
			}
		}
		return a.event(ctx, tx, "workload.admitted", r.account, "")
	})
	if err != nil {
		return nil, oci.NewError(oci.CodeUnavailable, "logins by token cannot be recorded right now; try again soon").WithRetryAfter(5 * time.Second).WithCause(err)
	}
	if used {
		return nil, a.refuse(ctx, []*trustRule{r}, "the token was exchanged before", "the token was exchanged before, and the trust rule takes each once")
	}
	return r.account, nil
}

// usedHash names a token for a rule; one without an id by its text.
func (a *attempt) usedHash(r *trustRule) []byte {
	name := "jti\x00" + a.id
	if a.id == "" {
		name = "text\x00" + a.token
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s", r.account.id, a.issuer, name))
	return sum[:]
}

// refuse records a refusal, with the group if it can only be meant for one, and says as little as must be.
func (a *attempt) refuse(ctx context.Context, rules []*trustRule, why, message string) error {
	var account *user
	if len(rules) == 1 {
		account = rules[0].account
	}
	err := a.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		return a.event(ctx, tx, "workload.refused", account, why)
	})
	if err != nil {
		a.log.Warn("refusal of a workload not recorded", "error", err)
	}
	return refusedLogin(message)
}

func (a *attempt) event(ctx context.Context, tx *meta.Tx, kind string, account *user, why string) error {
	e := meta.Event{Kind: kind, Subject: "issuer " + printable(a.issuer)}
	detail := map[string]any{"issuer": printable(a.issuer), "subject": a.subject, "exchange": a.exchange}
	if a.id != "" {
		detail["jti"] = printable(a.id)
	}
	if why != "" {
		detail["reason"] = why
	}
	if account != nil {
		e.GroupID, e.ActorID, e.ActorKind, e.Subject = account.group, account.id, string(account.kind), fmt.Sprintf("account %d", account.id)
		detail["rule"] = account.name
	}
	e.Detail = detail
	return tx.Event(ctx, e)
}

// addressText is an address for an event, empty for none.
func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// printable cuts foreign text to what logs and names can bear.
func printable(s string) string {
	if len(s) > 255 {
		s = s[:255]
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || r == '\ufffd' {
			return '_'
		}
		return r
	}, s)
}

// seconds reads a NumericDate (RFC 7519, section 2).
func seconds(v any) time.Time {
	var f float64
	switch n := v.(type) {
	case float64:
		f = n
	case json.Number:
		f, _ = n.Float64()
	}
	if f <= 0 || f > 1<<40 {
		return time.Time{}
	}
	return time.Unix(int64(f), 0)
}
