package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// A personal token is "weir_" and 256 random bits in hexadecimal. Only its SHA-256 is kept: with that much randomness a
// slow hash would protect nothing more.
const (
	tokenPrefix = "weir_"
	tokenLength = len(tokenPrefix) + 64
)

// Token is a personal token as its owner sees it.
type Token struct {
	ID         int64
	Name       string
	Ceiling    *Ceiling // nil = everything the user may
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero = never
	LastUsedAt time.Time // zero = never; exact to a few minutes
	RevokedAt  time.Time // zero = not
}

// CreateToken makes a token for a user or a robot and returns its text, which nobody can see again. A zero expires is never; the name
// of a revoked token can be used again. ErrTokenName, ErrExpiry, ErrCeiling, ErrNotFound, ErrExists.
func (d *Directory) CreateToken(ctx context.Context, by Actor, accountID int64, name string, expires time.Time, c *Ceiling) (text string, t Token, err error) {
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", Token{}, ErrTokenName
	}
	now := d.now()
	if !expires.IsZero() && !expires.After(now) {
		return "", Token{}, ErrExpiry
	}
	scope, err := c.encode()
	if err != nil {
		return "", Token{}, err
	}
	text, hash := newToken()
	if err := d.robotMay(ctx, accountID, c); err != nil {
		return "", Token{}, err
	}
	p := query.InsertTokenParams{AccountID: accountID, Name: name, Hash: hash, Scope: scope, CreatedAt: now.UnixMicro()}
	if !expires.IsZero() {
		p.ExpiresAt = expires.UnixMicro()
	}
	err = d.write(ctx, keyTokens, func(ctx context.Context, tx *meta.Tx) error {
		p.ID = tx.ID()
		return insertToken(ctx, tx, by, p, 0)
	})
	if err != nil {
		return "", Token{}, fmt.Errorf("create token %q: %w", name, err)
	}
	return text, Token{ID: p.ID, Name: name, Ceiling: c, CreatedAt: fromMicros(p.CreatedAt), ExpiresAt: fromMicros(p.ExpiresAt)}, nil
}

func newToken() (text string, hash []byte) {
	var secret [32]byte
	_, _ = rand.Read(secret[:])
	text = tokenPrefix + hex.EncodeToString(secret[:])
	sum := sha256.Sum256([]byte(text))
	return text, sum[:]
}

// robotMay is ErrCeiling for a limit that names what a robot has no grant for: the token would not do what somebody expects of it,
// until a later grant makes it do more than anybody remembers.
func (d *Directory) robotMay(ctx context.Context, account int64, c *Ceiling) error {
	s, err := d.current(ctx)
	if err != nil {
		return err
	}
	u := s.users[account]
	if u == nil || u.kind != Robot || c == nil {
		return nil
	}
	for _, scope := range c.Scopes {
		for _, action := range scope.Actions {
			if s.covering(u, Request{Action: action, Path: scope.Path}) == nil {
				return fmt.Errorf("%w: the robot has no grant to %s", ErrCeiling, describe(Request{Action: action, Path: scope.Path}))
			}
		}
	}
	return nil
}

// RotateToken makes a token that follows another: of the same name, limit and life, unless expires says otherwise. The old one, and
// what it gave, ends after overlap, 0 being at once. ErrNotFound, also when it has ended; ErrExpiry.
func (d *Directory) RotateToken(ctx context.Context, by Actor, accountID, tokenID int64, expires time.Time, overlap time.Duration) (text string, t Token, err error) {
	now := d.now()
	if overlap < 0 || !expires.IsZero() && !expires.After(now) {
		return "", Token{}, ErrExpiry
	}
	text, hash := newToken()
	err = d.write(ctx, keyTokens, func(ctx context.Context, tx *meta.Tx) error {
		if _, err := lockAdmins(ctx, tx); err != nil { // two rotations must not both follow the same one
			return err
		}
		old, err := tx.TokenByID(ctx, tokenID)
		if errors.Is(err, sql.ErrNoRows) || err == nil && (old.AccountID != accountID || old.RevokedAt != 0 || old.ExpiresAt != 0 && old.ExpiresAt <= now.UnixMicro()) {
			return fmt.Errorf("token %d: %w", tokenID, ErrNotFound)
		}
		if err != nil {
			return err
		}
		p := query.InsertTokenParams{ID: tx.ID(), AccountID: accountID, Name: old.Name, Hash: hash, Scope: old.Scope, CreatedAt: now.UnixMicro()}
		switch {
		case !expires.IsZero():
			p.ExpiresAt = expires.UnixMicro()
		case old.ExpiresAt != 0:
			p.ExpiresAt = now.UnixMicro() + old.ExpiresAt - old.CreatedAt
		}
		if err := succeed(ctx, tx, old, now, overlap); err != nil {
			return err
		}
		t = Token{
			ID: p.ID, Name: p.Name, Ceiling: decodeCeiling(p.Scope), CreatedAt: fromMicros(p.CreatedAt), ExpiresAt: fromMicros(p.ExpiresAt),
		}
		return insertToken(ctx, tx, by, p, tokenID)
	})
	if err != nil {
		return "", Token{}, fmt.Errorf("rotate token: %w", err)
	}
	return text, t, nil
}

// succeed takes the name from a token, and its life after the overlap.
func succeed(ctx context.Context, tx *meta.Tx, old query.Token, now time.Time, overlap time.Duration) error {
	p := query.SucceedTokenParams{ExpiresAt: old.ExpiresAt, ID: old.ID, AccountID: old.AccountID}
	if overlap == 0 {
		p.RevokedAt = now.UnixMicro()
	} else if end := now.Add(overlap).UnixMicro(); old.ExpiresAt == 0 || end < old.ExpiresAt {
		p.ExpiresAt = end
	}
	_, err := tx.SucceedToken(ctx, p)
	return err
}

// insertToken makes a token, instead of another if that is not 0.
func insertToken(ctx context.Context, tx *meta.Tx, by Actor, p query.InsertTokenParams, instead int64) error {
	if err := targets(ctx, tx, Grant{AccountID: p.AccountID}); err != nil {
		return err
	}
	if err := tx.ReleaseTokenName(ctx, query.ReleaseTokenNameParams{AccountID: p.AccountID, Name: p.Name}); err != nil {
		return err
	}
	n, err := tx.CountTokenName(ctx, query.CountTokenNameParams{AccountID: p.AccountID, Name: p.Name})
	if err != nil {
		return err
	}
	if n > 0 {
		return ErrExists
	}
	if err := tx.InsertToken(ctx, p); err != nil {
		return err
	}
	detail := map[string]any{"token": fmt.Sprint(p.ID), "name": p.Name}
	if p.ExpiresAt != 0 {
		detail["expires_at"] = fromMicros(p.ExpiresAt)
	}
	if limit := decodeCeiling(p.Scope); limit != nil {
		detail["limit"] = limit
	}
	if instead != 0 {
		old, err := tx.TokenByID(ctx, instead)
		if err != nil {
			return err
		}
		ends := old.ExpiresAt
		if old.RevokedAt != 0 {
			ends = old.RevokedAt
		}
		detail["instead_of"] = map[string]any{"token": fmt.Sprint(instead), "ends_at": fromMicros(ends)}
	}
	return tx.Event(ctx, meta.Event{
		Kind: "token.created", ActorID: by.ID, Subject: fmt.Sprintf("account %d", p.AccountID), RequestID: by.RequestID, Detail: detail,
	})
}

// Tokens lists the tokens of a user, revoked and expired ones included, oldest first.
func (d *Directory) Tokens(ctx context.Context, accountID int64) ([]Token, error) {
	rows, err := d.db.Read().AccountTokens(ctx, accountID)
	if err != nil {
		return nil, fmt.Errorf("list tokens of user %d: %w", accountID, err)
	}
	out := make([]Token, len(rows))
	for i, r := range rows {
		out[i] = Token{
			ID: r.ID, Name: r.Name, Ceiling: decodeCeiling(r.Scope), CreatedAt: fromMicros(r.CreatedAt),
			ExpiresAt: fromMicros(r.ExpiresAt), LastUsedAt: fromMicros(r.LastUsedAt), RevokedAt: fromMicros(r.RevokedAt),
		}
	}
	return out, nil
}

// RevokeToken ends a token of a user, and the bearer tokens that it gave. ErrNotFound, also when it was revoked before.
func (d *Directory) RevokeToken(ctx context.Context, by Actor, accountID, tokenID int64) error {
	return d.write(ctx, keyTokens, func(ctx context.Context, tx *meta.Tx) error {
		n, err := tx.RevokeToken(ctx, query.RevokeTokenParams{RevokedAt: d.now().UnixMicro(), ID: tokenID, AccountID: accountID})
		if err != nil {
			return fmt.Errorf("revoke token %d: %w", tokenID, err)
		}
		if n == 0 {
			return fmt.Errorf("token %d: %w", tokenID, ErrNotFound)
		}
		return tx.Event(ctx, meta.Event{
			Kind: "token.revoked", ActorID: by.ID, Subject: fmt.Sprintf("account %d", accountID), RequestID: by.RequestID,
			Detail: map[string]any{"token": fmt.Sprint(tokenID)},
		})
	})
}

// tokenCache keeps token rows until one of them changes. None may go out of it by its age: whoever pulls while the database restarts
// would be asked to come again.
type tokenCache struct {
	mu         *sync.Mutex
	generation *int64 // grows with drop
	byHash     *otter.Cache[[32]byte, *heldToken]
	byID       *otter.Cache[int64, *heldToken]
}

// heldToken is a token's row as requests need it. It is shared, and never changed.
type heldToken struct {
	query.Token
	ceiling *Ceiling
}

func newTokenCache() tokenCache {
	return tokenCache{
		mu: &sync.Mutex{}, generation: new(int64),
		byHash: otter.Must(&otter.Options[[32]byte, *heldToken]{MaximumSize: 10_000}),
		byID:   otter.Must(&otter.Options[int64, *heldToken]{MaximumSize: 10_000}),
	}
}

func (c tokenCache) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	*c.generation++
	c.byHash.InvalidateAll()
	c.byID.InvalidateAll()
}

func (c tokenCache) begin() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.generation
}

// keep stores a row unless something was dropped since it began to be read: the row may be the old one.
func (c tokenCache) keep(began int64, row *heldToken) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if began == *c.generation {
		c.byHash.Set([32]byte(row.Hash), row)
		c.byID.Set(row.ID, row)
	}
}

// rememberedToken is a token from memory, if memory can be trusted.
func (d *Directory) rememberedToken(t *heldToken, ok bool) (*heldToken, bool) {
	return t, ok && d.db.Current()
}

func (d *Directory) tokenByHash(ctx context.Context, hash [32]byte) (*heldToken, error) {
	began := d.tokens.begin()
	row, err := d.db.Read().TokenByHash(ctx, hash[:])
	return d.tokenRead(began, row, err)
}

func (d *Directory) tokenByID(ctx context.Context, id int64) (*heldToken, error) {
	if t, ok := d.rememberedToken(d.tokens.byID.GetIfPresent(id)); ok {
		return t, nil
	}
	began := d.tokens.begin()
	row, err := d.db.Read().TokenByID(ctx, id)
	return d.tokenRead(began, row, err)
}

func (d *Directory) tokenRead(began int64, row query.Token, err error) (*heldToken, error) {
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, ErrNotFound
	case err != nil:
		return nil, oci.NewError(oci.CodeUnavailable, "tokens cannot be read right now; try again soon").
			WithRetryAfter(5 * time.Second).WithCause(err)
	}
	t := &heldToken{Token: row, ceiling: decodeCeiling(row.Scope)}
	d.tokens.keep(began, t)
	return t, nil
}
