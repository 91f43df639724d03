package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/maypok86/otter/v2"

	"github.com/weir-registry/weir/internal/oci"
)

// Bearer tokens are JWTs (RFC 7519) signed with EdDSA. The header's typ tells an access token from a refresh token; kid is
// the id of the signing key. Claims:
//
//	iss, aud   "weir"
//	sub        id of the user, "0" for nobody
//	jti        random
//	iat, nbf, exp
//	tok        id of the personal token behind the login; absent for a password
//	pwd        stamp of the password, or of the trust rule, behind the login; absent for a token
//	sbj        subject of a workload: what its own issuer calls it
//	lim        [{path, exact, actions}]: what the token that an exchange gave is limited to; absent: everything
//	acc        [{path, exact, actions}]: the most the token may be used for
//
// Nothing but these limits is taken from the token: user, token, grants and rules are looked at on every request.
const (
	issuer     = "weir"
	typeAccess = "weir-access+jwt"
	//nolint:gosec // the name of a type, no credential
	typeRefresh  = "weir-refresh+jwt"
	typeExchange = "weir-exchange+jwt" // what a workload gets for a token of its own issuer; a login as that is
	refreshTTL   = 30 * 24 * time.Hour
	clockSkew    = 10 * time.Second // between replicas
	maxBearer    = 16 << 10
)

type claims struct {
	jwt.Claims
	Token    string  `json:"tok,omitempty"`
	Stamp    string  `json:"pwd,omitempty"`
	Workload string  `json:"sbj,omitempty"`
	Limit    []Scope `json:"lim,omitempty"`
	Access   []Scope `json:"acc,omitempty"`
}

// verified is a token whose signature and form are right; times, user and personal token are not part of that. It is shared, and
// never changed.
type verified struct {
	kind   string
	claims claims
	userID int64
	token  int64
}

// bearerCache remembers tokens by their text, which is compared in full: hashing it would take longer than all other checks.
type bearerCache struct {
	seen *otter.Cache[string, *verified]
}

// bearerMemory is how many bytes of tokens are remembered: thousands, as most are below 1 KB.
const bearerMemory = 8 << 20

func newBearerCache() bearerCache {
	return bearerCache{otter.Must(&otter.Options[string, *verified]{
		MaximumWeight: bearerMemory, Weigher: func(text string, _ *verified) uint32 { return uint32(2*len(text) + 512) },
		ExpiryCalculator: otter.ExpiryWriting[string, *verified](5 * time.Minute),
	})}
}

// Issued is a bearer token for the answer of the token endpoint.
type Issued struct {
	Text     string
	IssuedAt time.Time
	Life     time.Duration
}

// IssueBearer signs a bearer token that lets p use the scopes, as far as its grants go at the time of use.
func (d *Directory) IssueBearer(ctx context.Context, p Principal, scopes []Scope) (Issued, error) {
	return d.issue(ctx, p, typeAccess, d.ttl, scopes)
}

// IssueRefresh signs a token that gets new bearer tokens without the password ("identity token" of docker). It lives 30
// days, and ends when the password changes, the personal token is revoked or the user is disabled.
func (d *Directory) IssueRefresh(ctx context.Context, p Principal) (Issued, error) {
	return d.issue(ctx, p, typeRefresh, refreshTTL, nil)
}

func (d *Directory) issue(ctx context.Context, p Principal, kind string, life time.Duration, scopes []Scope) (Issued, error) {
	s, err := d.current(ctx)
	if err != nil {
		return Issued{}, err
	}
	if s.signing == nil {
		return Issued{}, errors.New("issue bearer token: no signing key")
	}
	now := d.now()
	c := claims{
		Claims: jwt.Claims{
			Issuer: issuer, Audience: jwt.Audience{issuer}, Subject: strconv.FormatInt(p.ID, 10), ID: rand.Text(),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(life)),
		},
		Access: scopes, Workload: p.subject,
	}
	if p.Kind == Workload {
		if kind == typeRefresh {
			return Issued{}, errors.New("issue refresh token: not for workloads")
		}
		if p.life > 0 {
			c.Expiry = jwt.NewNumericDate(now.Add(min(life, p.life)))
			life = min(life, p.life)
		}
		if p.Ceiling != nil {
			c.Limit = p.Ceiling.Scopes
		}
	}
	if p.TokenID != 0 {
		c.Token = strconv.FormatInt(p.TokenID, 10)
	} else if u := s.users[p.ID]; u != nil {
		c.Stamp = u.stamp
	}
	options := (&jose.SignerOptions{}).WithType(jose.ContentType(kind)).WithHeader("kid", strconv.FormatInt(s.signing.id, 10))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: s.signing.private}, options)
	if err != nil {
		return Issued{}, fmt.Errorf("issue bearer token: %w", err)
	}
	text, err := jwt.Signed(signer).Claims(c).Serialize()
	if err != nil {
		return Issued{}, fmt.Errorf("issue bearer token: %w", err)
	}
	return Issued{Text: text, IssuedAt: now, Life: life}, nil
}

// stampOf changes with the password. The hash it is made of is salted and random enough that the stamp says nothing of either.
func stampOf(hash string) string {
	sum := sha256.Sum256([]byte("weir password stamp\x00" + hash))
	return hex.EncodeToString(sum[:8])
}

// Refresh returns the principal of a refresh token; UNAUTHORIZED.
func (d *Directory) Refresh(ctx context.Context, text string) (Principal, error) {
	p, err := d.fromBearer(ctx, text, typeRefresh)
	if err == nil && p.IsAnonymous() {
		return Principal{}, refused("the refresh token belongs to nobody")
	}
	p.Ceiling, p.Bearer = p.personal, false
	return p, err
}

// fromBearer checks everything about a JWT and returns its principal.
func (d *Directory) fromBearer(ctx context.Context, text string, kinds ...string) (Principal, error) {
	s, err := d.current(ctx)
	if err != nil {
		return Principal{}, err
	}
	v, err := d.verify(s, text)
	if err != nil || !slices.Contains(kinds, v.kind) {
		return Principal{}, refused("the bearer token is not one of this server, or damaged; log in again")
	}
	now := d.now()
	if err := v.claims.ValidateWithLeeway(jwt.Expected{Issuer: issuer, AnyAudience: jwt.Audience{issuer}, Time: now}, clockSkew); err != nil {
		return Principal{}, refused("the bearer token has expired; get another one from the token endpoint")
	}
	ceiling := &Ceiling{Scopes: v.claims.Access}
	if v.userID == 0 {
		p := Nobody()
		p.Ceiling, p.Bearer = ceiling, true
		return p, nil
	}
	return d.bearerUser(ctx, s, v, ceiling)
}

func (d *Directory) bearerUser(ctx context.Context, s *snapshot, v *verified, ceiling *Ceiling) (Principal, error) {
	u := s.users[v.userID]
	if u == nil || u.disabled {
		return Principal{}, refusedToken(v.userID, "the account of the bearer token is gone or disabled")
	}
	p := u.principal()
	p.Ceiling, p.Bearer = ceiling, true
	if v.token == 0 {
		if v.claims.Stamp != u.stamp {
			return Principal{}, refusedToken(u.id, "the password, or the trust rule, has changed; log in again")
		}
		if u.kind == Workload {
			p = d.bearerWorkload(u, v, p)
		}
		return p, nil
	}
	row, err := d.tokenByID(ctx, v.token)
	if errors.Is(err, ErrNotFound) || (err == nil && row.AccountID != u.id) {
		return Principal{}, refusedToken(u.id, "the token behind the bearer token is gone; log in again")
	}
	if err != nil {
		return Principal{}, err
	}
	if err := d.tokenAlive(row); err != nil {
		return Principal{}, err
	}
	d.used.note(row.ID, d.now())
	p.TokenID, p.Token, p.personal = row.ID, row.Name, row.ceiling
	return p, nil
}

// bearerWorkload is the principal of a workload's token. What an exchange gave is a login, with a limit or without; what the token
// endpoint made of it carries that limit on.
func (d *Directory) bearerWorkload(u *user, v *verified, p Principal) Principal {
	w := workload(u, v.claims.Workload)
	w.Ceiling, w.Bearer = p.Ceiling, p.Bearer
	var limit *Ceiling
	if len(v.claims.Limit) > 0 {
		limit = &Ceiling{Scopes: v.claims.Limit}
	}
	w.personal = limit
	if v.kind == typeExchange {
		w.Ceiling, w.Bearer, w.personal = limit, false, nil
		w.life = min(w.life, v.claims.Expiry.Time().Sub(d.now()))
	}
	return w
}

// verify checks signature and form, from memory if this text was seen before.
func (d *Directory) verify(s *snapshot, text string) (*verified, error) {
	if len(text) > maxBearer {
		return nil, ErrInvalidToken
	}
	if v, ok := d.bearer.seen.GetIfPresent(text); ok {
		return v, nil
	}
	parsed, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil || len(parsed.Headers) != 1 {
		return nil, ErrInvalidToken
	}
	head := parsed.Headers[0]
	key, ok := s.verifyingKey(head.KeyID, d.now())
	if !ok {
		return nil, ErrInvalidToken
	}
	v := &verified{}
	if err := parsed.Claims(key, &v.claims); err != nil {
		return nil, ErrInvalidToken
	}
	v.kind, _ = head.ExtraHeaders[jose.HeaderType].(string)
	if v.userID, err = strconv.ParseInt(v.claims.Subject, 10, 64); err != nil || v.userID < 0 || v.claims.Expiry == nil {
		return nil, ErrInvalidToken
	}
	if v.claims.Token != "" {
		if v.token, err = strconv.ParseInt(v.claims.Token, 10, 64); err != nil || v.token <= 0 {
			return nil, ErrInvalidToken
		}
	}
	d.bearer.seen.Set(strings.Clone(text), v) // the text is a part of a request's header
	return v, nil
}

func refused(message string) error {
	return oci.NewError(oci.CodeUnauthorized, message).WithCause(ErrInvalidToken)
}
