package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Event is one entry of the audit trail.
type Event struct {
	ID         string          `json:"id"`
	At         time.Time       `json:"at"`
	Kind       string          `json:"kind"`
	Outcome    string          `json:"outcome,omitempty"`
	Group      string          `json:"group,omitempty"`
	Actor      EventActor      `json:"actor"`
	Address    string          `json:"address,omitempty"`
	Subject    string          `json:"subject,omitempty"`
	Account    string          `json:"account,omitempty"` // that the subject has by its id
	RequestID  string          `json:"request_id,omitempty"`
	DecisionID string          `json:"decision_id,omitempty"`
	Detail     json.RawMessage `json:"detail,omitempty"`
}

// EventActor is who caused an event.
type EventActor struct {
	ID      string `json:"id,omitempty"`
	Kind    string `json:"kind,omitempty"`
	Name    string `json:"name,omitempty"`
	TokenID string `json:"token_id,omitempty"`
}

// EventsPath is where the events of a group are, of all when it is empty.
func EventsPath(group string) string {
	if group == "" {
		return "/events"
	}
	return "/groups/" + url.PathEscape(group) + "/events"
}

// Events lists what happened, newest first: most at most, 0 = all. The query is that of the API.
func (c *Client) Events(ctx context.Context, group string, query url.Values, most int) ([]Event, error) {
	items, err := c.Items(ctx, EventsPath(group), query, most)
	if err != nil {
		return nil, err
	}
	out := make([]Event, len(items))
	for i, item := range items {
		if err := json.Unmarshal(item, &out[i]); err != nil {
			return nil, fmt.Errorf("the answer of %s: %w", c.where, err)
		}
	}
	return out, nil
}

// ExportEvents writes what happened to w as it comes. An error after the first bytes means that they are not all.
func (c *Client) ExportEvents(ctx context.Context, w io.Writer, group string, query url.Values) error {
	response, err := c.send(ctx, c.patient(), http.MethodGet, EventsPath(group)+"/export?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(w, response.Body); err != nil {
		return fmt.Errorf("the export of %s broke off: %w", c.where, err)
	}
	return nil
}

// ExportSealed writes what is sealed, with its seals, to w as it comes. The query has from and to.
func (c *Client) ExportSealed(ctx context.Context, w io.Writer, query url.Values) error {
	response, err := c.send(ctx, c.patient(), http.MethodGet, "/events/sealed?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(w, response.Body); err != nil {
		return fmt.Errorf("the export of %s broke off: %w", c.where, err)
	}
	return nil
}

// SealFinding is one seal that was verified.
type SealFinding struct {
	Stream  string `json:"stream"`
	Replica int64  `json:"replica"`
	Number  int64  `json:"number"`
	Day     string `json:"day"`
	Events  int64  `json:"events"`
	Problem string `json:"problem,omitempty"`
	Row     string `json:"row,omitempty"`
}

// Verification is what was found.
type Verification struct {
	Seals    int64       `json:"seals"`
	Events   int64       `json:"events"`
	Dropped  int64       `json:"dropped"`
	Problems int64       `json:"problems"`
	Keys     []SealKey   `json:"keys"`
	Starts   []ChainHead `json:"starts,omitempty"`
	Heads    []ChainHead `json:"heads"`
}

// SealKey is a public key that seals are signed with.
type SealKey struct {
	ID        string    `json:"id"`
	PublicKey string    `json:"public_key"`
	CreatedAt time.Time `json:"created_at"`
}

// ChainHead is the last seal of a chain.
type ChainHead struct {
	Stream  string `json:"stream"`
	Replica int64  `json:"replica"`
	Number  int64  `json:"number"`
	Sum     string `json:"sum"`
}

// VerifyEvents has the server recompute every seal. report is called for each as it comes in.
func (c *Client) VerifyEvents(ctx context.Context, report func(SealFinding)) (Verification, error) {
	response, err := c.send(ctx, c.patient(), http.MethodGet, "/events/verification", nil)
	if err != nil {
		return Verification{}, err
	}
	defer response.Body.Close()
	for lines := json.NewDecoder(response.Body); ; {
		var line struct {
			Seal    *SealFinding
			Summary *Verification
			Error   string
		}
		switch err := lines.Decode(&line); {
		case errors.Is(err, io.EOF):
			return Verification{}, errors.New("the server stopped in the middle of the verification")
		case err != nil:
			return Verification{}, fmt.Errorf("read the answer of %s: %w", c.where, err)
		case line.Seal != nil:
			report(*line.Seal)
		case line.Error != "":
			return Verification{}, errors.New(line.Error)
		case line.Summary != nil:
			return *line.Summary, nil
		}
	}
}

// EraseUser deletes who a user is: the account, its name and its addresses. name may be that of a user deleted before, or an id.
func (c *Client) EraseUser(ctx context.Context, name string) error {
	return c.Call(ctx, http.MethodPost, "/users/"+url.PathEscape(name)+"/erase", nil, nil)
}

// patient has no deadline but the context's.
func (c *Client) patient() *http.Client {
	h := *c.http
	h.Timeout = 0
	return &h
}
