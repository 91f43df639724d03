package access

import (
	"context"
	"fmt"
)

// SessionStamp is what a login of p depends on, for a session to hold: it changes with the password. ErrNotFound.
func (d *Directory) SessionStamp(ctx context.Context, p Principal) (string, error) {
	s, err := d.current(ctx)
	if err != nil {
		return "", err
	}
	u := s.users[p.ID]
	if u == nil || u.kind != User {
		return "", fmt.Errorf("user %d: %w", p.ID, ErrNotFound)
	}
	return u.stamp, nil
}

// SessionPrincipal is whose a session is. ErrNotFound once the user is gone or disabled, or its password has changed.
func (d *Directory) SessionPrincipal(ctx context.Context, userID int64, stamp string) (Principal, error) {
	s, err := d.current(ctx)
	if err != nil {
		return Principal{}, err
	}
	u := s.users[userID]
	if u == nil || u.kind != User || u.disabled || u.stamp != stamp {
		return Principal{}, fmt.Errorf("session of user %d: %w", userID, ErrNotFound)
	}
	return u.principal(), nil
}
