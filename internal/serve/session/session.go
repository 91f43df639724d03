// Package session keeps people logged in with their browsers: a cookie names a row of the database, so that a session can be seen and
// ended from anywhere, and ends by itself when it is not used, when it is old, and with its user or password.
//
// Requests that a cookie authenticates are checked for where they come from: another site's page must not act with somebody's
// cookie. Package app puts a Manager before the API. Managers are safe for concurrent use.
package session

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/alexedwards/scs/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/serve"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Directory tells whose a session is; *access.Directory is one.
type Directory interface {
	SessionStamp(ctx context.Context, p access.Principal) (string, error)
	SessionPrincipal(ctx context.Context, userID int64, stamp string) (access.Principal, error)
}

// Options configure a Manager.
type Options struct {
	DB        *meta.DB
	Directory Directory
	Idle      time.Duration    // after which a session that is not used ends; 0 = 8 hours
	Lifetime  time.Duration    // after which every session ends; 0 = 7 days
	Origins   []string         // external URLs: pages from there are our own, whatever a proxy makes of the host
	Now       func() time.Time // nil = time.Now; for the expiry of rows
}

// Manager keeps sessions.
type Manager struct {
	db        *meta.DB
	directory Directory
	store     *store
	scs       *scs.SessionManager
	origins   *http.CrossOriginProtection
	lifetime  time.Duration
	now       func() time.Time
}

// Session is one browser's login as its user sees it.
type Session struct {
	ID         int64
	Address    string // of the client that logged in
	UserAgent  string
	Method     string // password, or the name of a sign-in provider
	CreatedAt  time.Time
	LastUsedAt time.Time // exact to a minute, or to a quarter of Options.Idle if that is less
	ExpiresAt  time.Time // unless it is used before
}

// ErrNotFound is returned for a session that is not, or is not the user's.
var ErrNotFound = errors.New("no such session")

// Names of the cookie. With the prefix browsers take it from us over TLS alone, and send it to this very host.
const (
	cookieSecure = "__Host-weir"
	cookiePlain  = "weir"
)

const (
	keyAccount = "account"
	keyStamp   = "stamp"
	keyMethod  = "method"
)

// New returns a Manager.
func New(o Options) (*Manager, error) {
	m := &Manager{db: o.DB, directory: o.Directory, now: o.Now, lifetime: o.Lifetime, origins: http.NewCrossOriginProtection()}
	if m.now == nil {
		m.now = time.Now
	}
	if m.lifetime <= 0 {
		m.lifetime = 7 * 24 * time.Hour
	}
	for _, origin := range o.Origins {
		if err := m.origins.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
	}
	m.store = &store{db: o.DB, now: m.now, idle: o.Idle}
	if o.Idle <= 0 {
		m.store.idle = 8 * time.Hour
	}
	m.scs = scs.New()
	m.scs.Store, m.scs.Codec, m.scs.Lifetime = m.store, codec{}, m.lifetime
	return m, nil
}

// Start begins a session of a user who has just logged in by method, and returns its cookie. Each login gets a session of its own:
// one that somebody else may have put into the browser before is never taken over.
func (m *Manager) Start(ctx context.Context, p access.Principal, method, userAgent string) (*http.Cookie, Session, error) {
	stamp, err := m.directory.SessionStamp(ctx, p)
	if err != nil {
		return nil, Session{}, err
	}
	if ctx, err = m.scs.Load(ctx, ""); err != nil {
		return nil, Session{}, err
	}
	m.scs.Put(ctx, keyAccount, strconv.FormatInt(p.ID, 10))
	m.scs.Put(ctx, keyStamp, stamp)
	m.scs.Put(ctx, keyMethod, method)
	begin := &start{account: p.ID, userAgent: printable(userAgent, 255), method: method}
	if info := serve.FromContext(ctx); info != nil {
		begin.address, begin.requestID = info.Address, info.ID
	}
	token, _, err := m.scs.Commit(context.WithValue(ctx, startKey{}, begin))
	if err != nil {
		return nil, Session{}, err
	}
	now := m.now().UTC()
	s := Session{ID: begin.id, Address: begin.address, UserAgent: begin.userAgent, Method: method, CreatedAt: now, LastUsedAt: now, ExpiresAt: begin.expires}
	return m.cookie(ctx, token, int(m.lifetime/time.Second)), s, nil
}

// printable is a note about a client, at most n bytes of it, without what no database or terminal takes as text.
func printable(s string, n int) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s[:min(len(s), n)])
}

// cookie is as strict as a browser can be told: no script reads it, no other site sends it, and over TLS nobody else sets it.
func (m *Manager) cookie(ctx context.Context, value string, age int) *http.Cookie {
	secure := isSecure(ctx)
	name := cookiePlain
	if secure {
		name = cookieSecure
	}
	return &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: age, Secure: secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

func isSecure(ctx context.Context) bool {
	info := serve.FromContext(ctx)
	return info != nil && info.Scheme == "https"
}

// token is what the request's cookie holds; empty without one.
func token(r *http.Request) string {
	name := cookiePlain
	if isSecure(r.Context()) {
		name = cookieSecure
	}
	c, err := r.Cookie(name)
	if err != nil || len(c.Value) != tokenLength {
		return ""
	}
	return c.Value
}

// SameOrigin is DENIED for a request that a page of another site makes a browser send, unless it only reads.
func (m *Manager) SameOrigin(r *http.Request) error {
	if err := m.origins.Check(r); err != nil {
		return oci.NewError(oci.CodeDenied, "the request comes from a page of another site").WithCause(err)
	}
	return nil
}

// Principal is who a request's cookie logs in; Nobody without a session that lives. The use of a session makes it last. Errors:
// DENIED as SameOrigin, and those of the database.
func (m *Manager) Principal(r *http.Request) (access.Principal, error) {
	text := token(r)
	if text == "" {
		return access.Nobody(), nil
	}
	row, err := m.store.row(r.Context(), text)
	if errors.Is(err, sql.ErrNoRows) {
		return access.Nobody(), nil
	}
	if err != nil {
		return access.Principal{}, unavailable(err)
	}
	if err := m.SameOrigin(r); err != nil {
		return access.Principal{}, err
	}
	deadline, values, err := codec{}.Decode(row.Data)
	if err != nil || !m.now().Before(deadline) {
		return access.Nobody(), err
	}
	stamp, _ := values[keyStamp].(string)
	p, err := m.directory.SessionPrincipal(r.Context(), row.AccountID, stamp)
	if errors.Is(err, access.ErrNotFound) {
		return access.Nobody(), nil
	}
	if err != nil {
		return access.Principal{}, err
	}
	p.Session = row.ID
	if m.now().Sub(time.UnixMicro(row.LastUsedAt)) >= m.store.touchEvery() {
		return p, m.touch(r.Context(), text)
	}
	return p, nil
}

func (m *Manager) touch(ctx context.Context, token string) error {
	ctx, err := m.scs.Load(ctx, token)
	if err == nil && m.scs.GetString(ctx, keyAccount) != "" { // it may have been revoked since
		_, _, err = m.scs.Commit(ctx)
	}
	if err != nil {
		return unavailable(err)
	}
	return nil
}

func unavailable(err error) error {
	return oci.NewError(oci.CodeUnavailable, "sessions cannot be read right now; try again soon").WithRetryAfter(5 * time.Second).WithCause(err)
}

// List returns the sessions of a user that live, the oldest first.
func (m *Manager) List(ctx context.Context, account int64) ([]Session, error) {
	rows, err := m.db.Read().AccountSessions(ctx, query.AccountSessionsParams{AccountID: account, ExpiresAt: m.now().UnixMicro()})
	if err != nil {
		return nil, err
	}
	out := make([]Session, len(rows))
	for i, r := range rows {
		_, values, err := codec{}.Decode(r.Data)
		if err != nil {
			return nil, err
		}
		method, _ := values[keyMethod].(string)
		out[i] = Session{
			ID: r.ID, Address: r.Address, UserAgent: r.UserAgent, Method: method, CreatedAt: time.UnixMicro(r.CreatedAt).UTC(),
			LastUsedAt: time.UnixMicro(r.LastUsedAt).UTC(), ExpiresAt: time.UnixMicro(r.ExpiresAt).UTC(),
		}
	}
	return out, nil
}

// Revoke ends a session of a user; ErrNotFound.
func (m *Manager) Revoke(ctx context.Context, by access.Actor, account, id int64) error {
	return m.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		n, err := tx.DeleteSession(ctx, query.DeleteSessionParams{ID: id, AccountID: account})
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrNotFound
		}
		return sessionEvent(ctx, tx, "session.ended", account, id, by.RequestID, "")
	})
}

// Forget is the cookie that makes a browser forget its session.
func (m *Manager) Forget(ctx context.Context) *http.Cookie { return m.cookie(ctx, "", -1) }
