package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
)

// Credentials is what a request brings.
type Credentials struct {
	Authorization string     // the header, as it came
	Address       netip.Addr // of the client
	// Mirror: the door is a mirror, to which daemons send the logins they have for somebody else. What does not log in here
	// is ignored then, and the request goes on as anonymous.
	Mirror    bool
	RequestID string // for the events of workloads
}

// wrongLogin is the answer to a wrong password and to an unknown user alike.
const wrongLogin = "wrong user name or password"

// Authenticate returns who a request comes from. Accepted are Basic with a password, Basic with a personal token as the
// password (and any user name), Basic with a workload's token (Login), and Bearer with a token of the token endpoint, of an exchange or a personal token. No credentials at all are
// Nobody. Errors: UNAUTHORIZED, which needs a challenge; TOOMANYREQUESTS; UNAVAILABLE.
func (d *Directory) Authenticate(ctx context.Context, c Credentials) (Principal, error) {
	scheme, value, _ := strings.Cut(strings.TrimSpace(c.Authorization), " ")
	value = strings.TrimSpace(value)
	var p Principal
	var err error
	method := "bearer"
	switch {
	case scheme == "":
		return Nobody(), nil
	case strings.EqualFold(scheme, "Basic"):
		name, password, ok := parseBasic(value)
		if !ok {
			p, err = Principal{}, refusedLogin("the Authorization header is not a Basic login")
			break
		}
		return d.Login(ctx, name, password, c)
	case strings.EqualFold(scheme, "Bearer") && strings.HasPrefix(value, tokenPrefix):
		method = "token"
		p, err = d.withToken(ctx, value, c)
	case strings.EqualFold(scheme, "Bearer"):
		p, err = d.fromBearer(ctx, value, typeAccess, typeExchange)
	default:
		err = refusedLogin("the Authorization header must be Basic or Bearer")
	}
	return d.outcome(method, p, err, c)
}

// Login checks a user name with a password or a personal token, or "oidc" or "<group>/<rule>" with the token of a workload. An
// empty pair is Nobody. Errors as Authenticate.
func (d *Directory) Login(ctx context.Context, name, password string, c Credentials) (Principal, error) {
	if name == "" && password == "" {
		return Nobody(), nil
	}
	if strings.HasPrefix(password, tokenPrefix) && name != "" {
		p, err := d.withToken(ctx, password, c)
		return d.outcome("token", p, err, c)
	}
	if looksForeign(name, password) {
		p, err := d.withForeign(ctx, name, password, c)
		return d.outcome("workload", p, err, c)
	}
	p, err := d.withPassword(ctx, name, password, c)
	return d.outcome("password", p, err, c)
}

// outcome counts, and lets foreign credentials pass as nobody at a mirror.
func (d *Directory) outcome(method string, p Principal, err error, c Credentials) (Principal, error) {
	code := oci.ErrorCode(err)
	switch {
	case err == nil:
		d.metrics.Login(method, "ok")
		return p, nil
	case c.Mirror && (code == oci.CodeUnauthorized || code == oci.CodeTooManyRequests):
		d.metrics.Login(method, "foreign")
		return Nobody(), nil
	case code == oci.CodeTooManyRequests:
		d.metrics.Login(method, "limited")
	case code == oci.CodeUnauthorized:
		d.metrics.Login(method, "refused")
	}
	return Principal{}, err
}

// logins remembers passwords that were right a moment ago, and limits wrong ones. Docker sends the password with each
// token request; hashing it each time would cost more than the pull.
type logins struct {
	key       [32]byte                     // of this process: the cache is of no use to anybody else
	recent    *otter.Cache[[32]byte, bool] // digest of user, stored hash and password → right or wrong
	pairs     *limiter                     // of an address and what it tries: one that is wrong must not keep others at the address out
	addresses *limiter
	names     *limiter
}

func newLogins(perMinute int) logins {
	if perMinute <= 0 {
		perMinute = 10
	}
	l := logins{pairs: newLimiter(perMinute), addresses: newLimiter(5 * perMinute), names: newLimiter(3 * perMinute)}
	_, _ = rand.Read(l.key[:])
	l.recent = otter.Must(&otter.Options[[32]byte, bool]{
		MaximumSize: 10_000, ExpiryCalculator: otter.ExpiryWriting[[32]byte, bool](time.Minute),
	})
	return l
}

// digest covers the stored hash, so that a change of password makes what was remembered useless.
func (l *logins) digest(parts ...string) [32]byte {
	mac := hmac.New(sha256.New, l.key[:])
	for _, p := range parts {
		_ = binary.Write(mac, binary.BigEndian, uint64(len(p)))
		mac.Write([]byte(p))
	}
	return [32]byte(mac.Sum(nil))
}

// keys are what an attempt is counted under: the client's address, the address with what it tries, and the name unless that is
// empty. They depend on what was sent alone, so that no limit tells whether a name exists.
type keys struct{ address, pair, name string }

// keysOf makes the keys of an attempt of some kind at something: a name, a token. Mirrors see foreign logins all day, which must not
// use up what real logins from the same address may fail.
func (l *logins) keysOf(kind, what string, c Credentials) keys {
	address := kind + addressKey(c.Address)
	if c.Mirror {
		address = "mirror " + address
	}
	pair := l.digest(address, what)
	return keys{address: address, pair: string(pair[:16])}
}

// blocked is TOOMANYREQUESTS while one of the keys has failed too often. The narrowest comes first: one that is blocked must not
// go on to raise the price for the wider ones.
func (l *logins) blocked(k keys, now time.Time) error {
	wait := l.pairs.blocked(k.pair, now)
	if wait == 0 {
		wait = l.addresses.blocked(k.address, now)
	}
	if wait == 0 && k.name != "" {
		wait = l.names.blocked(k.name, now)
	}
	if wait == 0 {
		return nil
	}
	wait = wait.Truncate(time.Second) + time.Second
	return oci.NewError(oci.CodeTooManyRequests, fmt.Sprintf("too many failed logins; the next one may be tried in %s", wait)).WithRetryAfter(wait).
		WithCause(&event.RefusedError{Refusal: event.Refusal{Kind: event.LoginLimited, Reason: "too many failed logins"}})
}

func (l *logins) failed(k keys, now time.Time) {
	l.pairs.failed(k.pair, now)
	l.addresses.failed(k.address, now)
	if k.name != "" {
		l.names.failed(k.name, now)
	}
}

func (d *Directory) withPassword(ctx context.Context, name, password string, c Credentials) (Principal, error) {
	s, err := d.current(ctx)
	if err != nil {
		return Principal{}, err
	}
	if len(name) > maxName || len(password) > maxPassword {
		return Principal{}, refusedLogin(wrongLogin)
	}
	u := s.byName[name]
	stored := ""
	if u != nil {
		stored = u.hash
	}
	digest := d.logins.digest(name, stored, password)
	right, err := d.checkPassword(ctx, digest, name, password, stored, c)
	if limited, ok := errors.AsType[*oci.Error](err); ok && u != nil {
		if told, ok := event.RefusalOf(err); ok {
			told.Account = u.id
			err = limited.WithCause(&event.RefusedError{Refusal: told})
		}
	}
	if err != nil {
		return Principal{}, err
	}
	switch {
	case u == nil:
		return Principal{}, refusedAs(0, wrongLogin, "there is no such user")
	case !right:
		return Principal{}, refusedAs(u.id, wrongLogin, "wrong password")
	case u.disabled:
		return Principal{}, refusedAs(u.id, wrongLogin, "the account is disabled")
	}
	return u.principal(), nil
}

// checkPassword takes the same time whether or not the user exists. Whoever has waited for a slot looks again before it
// hashes: the same login may have succeeded meanwhile, or others failed too often.
func (d *Directory) checkPassword(ctx context.Context, digest [32]byte, name, password, stored string, c Credentials) (bool, error) {
	if c.Mirror && stored == "" {
		name = "" // somebody else's user
	}
	k := d.logins.keysOf("", name, c)
	k.name = name
	known := func() (right, ok bool) {
		right, ok = d.logins.recent.GetIfPresent(digest)
		return right, ok && (right || c.Mirror) // a wrong one is tried, and counted, again: not at mirrors
	}
	if right, ok := known(); ok {
		return right, nil
	}
	if err := d.logins.blocked(k, d.now()); err != nil {
		return false, err
	}
	release, err := d.hasher.slot(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	if right, ok := known(); ok {
		return right, nil
	}
	if err := d.logins.blocked(k, d.now()); err != nil {
		return false, err
	}
	right := d.hasher.verify(password, stored)
	d.logins.recent.Set(digest, right)
	if !right {
		d.logins.failed(k, d.now())
	}
	return right, nil
}

func (d *Directory) withToken(ctx context.Context, text string, c Credentials) (Principal, error) {
	if len(text) != tokenLength {
		return Principal{}, refused("the token is not complete")
	}
	var buf [tokenLength]byte
	copy(buf[:], text)
	hash := sha256.Sum256(buf[:])
	if t, ok := d.rememberedToken(d.tokens.byHash.GetIfPresent(hash)); ok {
		return d.tokenUser(ctx, t)
	}
	k := d.logins.keysOf("token ", text, c) // nobody guesses a token: this spares the database, no more
	if err := d.logins.blocked(k, d.now()); err != nil {
		return Principal{}, err
	}
	t, err := d.tokenByHash(ctx, hash)
	if errors.Is(err, ErrNotFound) {
		d.logins.failed(k, d.now())
		return Principal{}, refused("unknown or revoked token; create another with `weir token create`")
	}
	if err != nil {
		return Principal{}, err
	}
	return d.tokenUser(ctx, t)
}

func (d *Directory) tokenUser(ctx context.Context, t *heldToken) (Principal, error) {
	if err := d.tokenAlive(t); err != nil {
		return Principal{}, err
	}
	s, err := d.current(ctx)
	if err != nil {
		return Principal{}, err
	}
	u := s.users[t.AccountID]
	if u == nil || u.disabled {
		return Principal{}, refusedToken(t.AccountID, fmt.Sprintf("the account of token %s is disabled", t.Name))
	}
	d.used.note(t.ID, d.now())
	p := u.principal()
	p.TokenID, p.Token, p.Ceiling = t.ID, t.Name, t.ceiling
	return p, nil
}

func (d *Directory) tokenAlive(row *heldToken) error {
	switch {
	case row.RevokedAt != 0:
		return refusedToken(row.AccountID, fmt.Sprintf("token %s was revoked; create another with `weir token create`", row.Name))
	case row.ExpiresAt != 0 && d.now().UnixMicro() >= row.ExpiresAt:
		return refusedToken(row.AccountID, fmt.Sprintf("token %s expired at %s; create another with `weir token create`",
			row.Name, fromMicros(row.ExpiresAt).Format(time.RFC3339)))
	}
	return nil
}

// parseBasic reads the value of a Basic header (RFC 7617).
func parseBasic(value string) (name, password string, ok bool) {
	b, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(b), ":")
}

func refusedLogin(message string) error { return oci.NewError(oci.CodeUnauthorized, message) }

// refusedAs is a refused login, with what the trail is told beside the message: whose it was meant to be, and the real reason. The name that
// was tried is no part of it: an account has its id, and what is the name of none is often a password.
func refusedAs(account int64, message, reason string) error {
	return oci.NewError(oci.CodeUnauthorized, message).WithCause(&event.RefusedError{Refusal: event.Refusal{Account: account, Reason: reason}})
}

// refusedToken is refused of a token that was an account's.
func refusedToken(account int64, message string) error {
	told := event.Refusal{Account: account, Reason: message}
	return oci.NewError(oci.CodeUnauthorized, message).WithCause(&event.RefusedError{Refusal: told, Cause: ErrInvalidToken})
}
