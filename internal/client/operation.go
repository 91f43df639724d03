package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/weir-registry/weir/internal/plan/desired"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

// Applied is the answer to Apply.
type Applied struct {
	Applied bool              `json:"applied"`
	Text    string            `json:"text"` // the changes, for people
	Changes []json.RawMessage `json:"changes"`
}

// Apply sends a declaration.
func (c *Client) Apply(ctx context.Context, d desired.Document, prune, dryRun bool) (out Applied, err error) {
	in := struct {
		desired.Document
		Prune  bool `json:"prune,omitempty"`
		DryRun bool `json:"dry_run,omitempty"`
	}{d, prune, dryRun}
	err = c.Call(ctx, http.MethodPost, "/apply", in, &out)
	return out, err
}

// Explanation is the answer to Explain.
type Explanation struct {
	Image    string            `json:"image"`
	As       string            `json:"as"`
	Allowed  bool              `json:"allowed"`
	Access   string            `json:"access"`
	Kind     string            `json:"kind,omitempty"`
	Status   int               `json:"status"`
	Message  string            `json:"message,omitempty"`
	Advice   string            `json:"advice,omitempty"`
	Decision *virtual.Decision `json:"decision,omitempty"`
}

// Explain asks how a pull of image by user (empty: the caller) would be answered.
func (c *Client) Explain(ctx context.Context, image, user string, probe bool) (out Explanation, err error) {
	err = c.Call(ctx, http.MethodPost, "/explain", map[string]any{"image": image, "as": user, "probe": probe}, &out)
	return out, err
}

// Refreshed is the answer to Refresh.
type Refreshed struct {
	References int               `json:"references"`
	Kept       []Kept            `json:"kept,omitempty"`
	Deferred   bool              `json:"deferred,omitempty"`
	Decision   *virtual.Decision `json:"decision,omitempty"`
}

// Kept is a reference that no upstream confirmed.
type Kept struct {
	Image  string `json:"image"`
	Reason string `json:"reason"`
}

// Kinds of what Refresh takes.
const (
	RefreshImage      = "image"
	RefreshRepository = "repository"
	RefreshUpstream   = "upstream"
)

// RefreshProgress is how far the refresh of a repository is.
type RefreshProgress struct {
	References      int `json:"references"`
	TotalReferences int `json:"total_references"`
}

// Refresh has cached references confirmed. progress, unless it is nil, is called about once a second.
func (c *Client) Refresh(ctx context.Context, kind, name string, progress func(RefreshProgress)) (out Refreshed, err error) {
	if progress == nil {
		err = c.Call(ctx, http.MethodPost, "/refresh", map[string]string{kind: name}, &out)
		return out, err
	}
	type line struct {
		Progress  *RefreshProgress
		Refreshed *Refreshed
		Problem   *Problem
	}
	err = stream(ctx, c, "/refresh", map[string]any{kind: name, "progress": true}, func(l line) (bool, error) {
		switch {
		case l.Problem != nil:
			return true, l.Problem
		case l.Refreshed != nil:
			out = *l.Refreshed
		case l.Progress != nil:
			progress(*l.Progress)
		}
		return l.Refreshed != nil, nil
	})
	return out, err
}

// Token is a personal token; Text is set only by CreateToken.
type Token struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	User       string     `json:"user"`
	Text       string     `json:"token,omitempty"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
	RevokedAt  *time.Time `json:"revoked_at,omitempty"`
}

// Scope is what a limited token may: actions at a path and below; empty is everywhere.
type Scope struct {
	Path    string   `json:"path"`
	Actions []string `json:"actions"`
}

// CreateToken makes a token for user (empty: the caller); a zero expires is never, and without a limit it may what the user may.
func (c *Client) CreateToken(ctx context.Context, user, name string, expires time.Time, limit ...Scope) (out Token, err error) {
	in := map[string]any{"name": name, "user": user}
	if len(limit) > 0 {
		in["limit"] = map[string]any{"scopes": limit}
	}
	if !expires.IsZero() {
		in["expires_at"] = expires
	}
	err = c.Call(ctx, http.MethodPost, "/tokens", in, &out)
	return out, err
}

// RevokeToken ends a token of user (empty: the caller).
func (c *Client) RevokeToken(ctx context.Context, user, id string) error {
	return c.Call(ctx, http.MethodDelete, "/tokens/"+url.PathEscape(id)+ofUser(user), nil, nil)
}

func ofUser(user string) string {
	if user == "" {
		return ""
	}
	return "?" + url.Values{"user": {user}}.Encode()
}

// Identity is who the server takes the caller for.
type Identity struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"` // user, operator
	UserID  string `json:"user_id,omitempty"`
	TokenID string `json:"token_id,omitempty"`
	Token   string `json:"token,omitempty"` // its name
	Limit   *Limit `json:"limit,omitempty"`
}

// Limit is what a token is limited to.
type Limit struct {
	Scopes []Scope `json:"scopes"`
}

// Whoami asks the server who is calling.
func (c *Client) Whoami(ctx context.Context) (out Identity, err error) {
	err = c.Call(ctx, http.MethodGet, "/whoami", nil, &out)
	return out, err
}

// Group is an entry of Groups.
type Group struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Enabled bool   `json:"enabled"`
}

// Groups lists the groups that the caller may see.
func (c *Client) Groups(ctx context.Context) ([]Group, error) {
	return All[Group](ctx, c, "/groups")
}

// Group reads a group in the form in which it would be declared.
func (c *Client) Group(ctx context.Context, name string) (out desired.Group, err error) {
	err = c.Call(ctx, http.MethodGet, "/groups/"+url.PathEscape(name)+"/declaration", nil, &out)
	return out, err
}

// Version reads the version of the server.
func (c *Client) Version(ctx context.Context) (string, error) {
	var out struct{ Version string }
	err := c.Call(ctx, http.MethodGet, "/version", nil, &out)
	return out.Version, err
}
