package session

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// store keeps sessions in the database, on both engines. A row holds the SHA-256 of the cookie, whose account it is, and
//
//	{"deadline": when it ends however much it is used, "values": {account, stamp, method}}
type store struct {
	db   *meta.DB
	now  func() time.Time
	idle time.Duration // without use; then a session ends
}

var _ scs.CtxStore = (*store)(nil)

// start is what a new session is written with, in the context.
type start struct {
	id        int64
	account   int64
	address   string
	userAgent string
	requestID string
	method    string
	expires   time.Time // unless it is used before; set when it is written
}

type startKey struct{}

// touchEvery is how often the use of a session is written: seldom, and often enough that one in use does not end.
func (s *store) touchEvery() time.Duration { return min(time.Minute, s.idle/4) }

// expiry is when a session used now ends, unless it is used again: after the time without use, or at its deadline.
func (s *store) expiry(deadline time.Time) time.Time {
	if idle := s.now().Add(s.idle).UTC(); idle.Before(deadline) {
		return idle
	}
	return deadline
}

func hashOf(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// FindCtx implements scs.CtxStore.
func (s *store) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	row, err := s.row(ctx, token)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	return row.Data, err == nil, err
}

// row is a session that has not ended; sql.ErrNoRows.
func (s *store) row(ctx context.Context, token string) (query.Session, error) {
	if len(token) != tokenLength {
		return query.Session{}, sql.ErrNoRows
	}
	row, err := s.db.Read().SessionByHash(ctx, hashOf(token))
	if err == nil && row.ExpiresAt <= s.now().UnixMicro() {
		err = sql.ErrNoRows
	}
	return row, err
}

// tokenLength is of the 32 random bytes of scs in base64.
const tokenLength = 43

// CommitCtx implements scs.CtxStore: a new session with its event, or the use of one that is there. A session that was revoked
// meanwhile is not brought back. deadline is when it ends however much it is used.
func (s *store) CommitCtx(ctx context.Context, token string, data []byte, deadline time.Time) error {
	expires := s.expiry(deadline)
	now := s.now().UnixMicro()
	begin, isNew := ctx.Value(startKey{}).(*start)
	return s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		if !isNew {
			_, err := tx.TouchSession(ctx, query.TouchSessionParams{Data: data, LastUsedAt: now, ExpiresAt: expires.UnixMicro(), Hash: hashOf(token)})
			return err
		}
		if _, err := tx.TrimSessions(ctx, now); err != nil {
			return err
		}
		begin.id, begin.expires = tx.ID(), expires
		err := tx.InsertSession(ctx, query.InsertSessionParams{
			ID: begin.id, Hash: hashOf(token), AccountID: begin.account, Data: data, Address: begin.address, UserAgent: begin.userAgent,
			CreatedAt: now, ExpiresAt: expires.UnixMicro(),
		})
		if err != nil {
			return err
		}
		return sessionEvent(ctx, tx, "session.started", begin.account, begin.id, begin.requestID, begin.method)
	})
}

// DeleteCtx implements scs.CtxStore.
func (s *store) DeleteCtx(ctx context.Context, token string) error {
	return s.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		row, err := tx.SessionByHash(ctx, hashOf(token))
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := tx.DeleteSessionByHash(ctx, row.Hash); err != nil {
			return err
		}
		return sessionEvent(ctx, tx, "session.ended", row.AccountID, row.ID, "", "")
	})
}

func sessionEvent(ctx context.Context, tx *meta.Tx, kind string, account, session int64, requestID, method string) error {
	detail := map[string]string{"session": strconv.FormatInt(session, 10)}
	if method != "" {
		detail["method"] = method
	}
	return tx.Event(ctx, meta.Event{
		Kind: kind, ActorID: account, ActorKind: string(access.User), Subject: fmt.Sprintf("account %d", account), RequestID: requestID, Detail: detail,
	})
}

// Find, Commit and Delete implement scs.Store; with a CtxStore the library calls none of them.
func (s *store) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

// Commit implements scs.Store.
func (s *store) Commit(token string, data []byte, expires time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expires)
}

// Delete implements scs.Store.
func (s *store) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }

// codec writes sessions as JSON: values are texts.
type codec struct{}

type stored struct {
	Deadline time.Time      `json:"deadline"`
	Values   map[string]any `json:"values"`
}

// Encode implements scs.Codec.
func (codec) Encode(deadline time.Time, values map[string]any) ([]byte, error) {
	return json.Marshal(stored{deadline, values})
}

// Decode implements scs.Codec.
func (codec) Decode(text []byte) (time.Time, map[string]any, error) {
	var v stored
	if err := json.Unmarshal(text, &v); err != nil {
		return time.Time{}, nil, fmt.Errorf("read session: %w", err)
	}
	if v.Values == nil {
		v.Values = map[string]any{}
	}
	return v.Deadline, v.Values, nil
}
