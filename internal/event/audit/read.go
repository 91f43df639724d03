package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Entry is one line of the trail, of either stream.
type Entry struct {
	ID         string          `json:"id"`
	At         time.Time       `json:"at"`
	Kind       string          `json:"kind"`
	Outcome    string          `json:"outcome,omitempty" doc:"ok, denied or failed"`
	Group      string          `json:"group,omitempty" doc:"Missing for what is about the instance, or a group that is gone"`
	Actor      Actor           `json:"actor"`
	Address    string          `json:"address,omitempty" doc:"Where it came from; missing once it was erased"`
	Subject    string          `json:"subject,omitempty" doc:"What it is about; of pulls the name that was asked for"`
	Account    string          `json:"account,omitempty" doc:"Name of the account that the subject has by its id; missing once it was erased"`
	RequestID  string          `json:"request_id,omitempty"`
	DecisionID string          `json:"decision_id,omitempty"`
	Detail     json.RawMessage `json:"detail,omitempty" doc:"What was before and after, or how a request was answered"`

	group, address int64 // ids
	pulled         bool  // the address is one of pulls
}

// Actor is who caused it.
type Actor struct {
	ID      string `json:"id,omitempty" doc:"Of the account; missing for the server, the operator and anonymous callers"`
	Kind    string `json:"kind,omitempty" doc:"user, robot, workload, operator, anonymous or server"`
	Name    string `json:"name,omitempty" doc:"Missing once it was erased"`
	TokenID string `json:"token_id,omitempty" doc:"That was shown"`
}

// Outcomes.
const (
	OK     = "ok"
	Denied = "denied"
	Failed = "failed"
)

// Query asks for entries of one stream, newest first. What is empty asks nothing.
type Query struct {
	Stream    string // Changes or Pulls
	GroupID   int64  // 0 = all groups and the instance
	Kind      string // a pattern, with * and ?
	Actor     string // name, also of an account that is gone, or id
	Subject   string // a pattern
	Outcome   string
	RequestID string
	From, To  time.Time // To is not part of it
	Before    Cursor    // of the page before; the zero Cursor is the newest
	Limit     int
}

// Cursor is a place in a stream: an event, or within a batch.
type Cursor struct{ ID, Index int64 }

// Page is a part of a stream. More says that there may be more behind Next, even if there are fewer entries than asked for: a page
// reads a bounded number of rows.
type Page struct {
	Entries []Entry
	Next    Cursor
	More    bool
}

const (
	pageRows   = 500  // of one query
	scanRows   = 5000 // of one page, without those it unpacks
	scanUnpack = 100  // batches that one page unpacks

	// lateness bounds how much later than its time something may be in the order of ids, for queries with To.
	lateness = time.Hour
	newest   = 1<<63 - 1
)

// Read returns a page of a stream. meta.ErrNotFound for an actor that nobody is or was; in a group, which must not tell that of others,
// there is nothing of such an actor.
func (k *Keeper) Read(ctx context.Context, q Query) (Page, error) {
	r := newReader(k.db, q)
	if err := r.findActor(ctx); err != nil {
		return Page{}, fmt.Errorf("read the audit trail: %w", err)
	}
	if r.Before.ID == 0 {
		r.Before = Cursor{newest, newest}
		if !q.To.IsZero() {
			r.Before.ID = meta.FirstID(q.To.Add(lateness))
		}
	}
	some := r.events
	if q.Stream == Pulls {
		some = r.batches
	}
	out, err := some(ctx)
	if err != nil {
		return Page{}, fmt.Errorf("read the audit trail: %w", err)
	}
	return out, r.fill(ctx, out.Entries)
}

// reader is one Read.
type reader struct {
	Query
	q      *query.Queries
	actors []int64 // wanted; nil = all

	names, groups, addresses map[int64]string
}

func newReader(db *meta.DB, q Query) *reader {
	return &reader{Query: q, q: db.Read(), names: map[int64]string{}, groups: map[int64]string{}, addresses: map[int64]string{}}
}

// findActor is meant to find everybody who was ever called so.
func (r *reader) findActor(ctx context.Context) error {
	switch r.Actor {
	case "":
		return nil
	case "anonymous":
		r.actors = []int64{0}
		return nil
	}
	gone, err := r.q.ActorsNamed(ctx, r.Actor)
	if err != nil {
		return err
	}
	r.actors = gone
	if id, err := strconv.ParseInt(r.Actor, 10, 64); err == nil {
		r.actors = append(r.actors, id)
	}
	p := query.AccessAccountByNameParams{Name: r.Actor}
	if group, name, ok := strings.Cut(r.Actor, "/"); ok {
		g, err := r.q.GetGroupByName(ctx, group)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		p.GroupID, p.Name = g.ID, name
	}
	row, err := r.q.AccessAccountByName(ctx, p)
	if err == nil {
		r.actors = append(r.actors, row.ID)
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if len(r.actors) == 0 && r.GroupID == 0 {
		return fmt.Errorf("account: %w", meta.ErrNotFound)
	}
	if r.actors == nil {
		r.actors = []int64{} // and not all
	}
	return nil
}

// Kinds lists the kinds of a stream that a pattern means.
func Kinds(stream, pattern string) (out []string) {
	all := event.Changes()
	if stream == Pulls {
		all = event.Requests()
	}
	for _, kind := range all {
		if matches(pattern, kind) {
			out = append(out, kind)
		}
	}
	return out
}

func matches(pattern, s string) bool { return oci.Pattern{Repository: pattern}.MatchRepository(s) }

func (r *reader) wants(kind, subject, outcome, requestID string, actor, at int64) bool {
	return (r.Kind == "" || matches(r.Kind, kind)) &&
		(r.Subject == "" || matches(r.Subject, subject)) &&
		(r.Outcome == "" || r.Outcome == outcome) &&
		(r.RequestID == "" || r.RequestID == requestID) &&
		(r.actors == nil || slices.Contains(r.actors, actor)) &&
		(r.From.IsZero() || at >= r.From.UnixMicro()) && (r.To.IsZero() || at < r.To.UnixMicro())
}

// over reports whether everything from an id on is older than what is asked for.
func (r *reader) over(id int64) bool {
	return !r.From.IsZero() && id < meta.FirstID(r.From.Add(-time.Minute))
}

func (r *reader) events(ctx context.Context) (out Page, err error) {
	last := r.Before.ID - 1
	for range scanRows / pageRows {
		rows, err := r.eventRows(ctx, last)
		if err != nil {
			return Page{}, err
		}
		for i := range rows {
			e := &rows[i]
			if r.over(e.ID) {
				return out, nil
			}
			last = e.ID - 1
			if !r.wants(e.Kind, e.Subject, outcomeOf(e.Kind), e.RequestID, e.ActorID, e.At) {
				continue
			}
			out.Entries = append(out.Entries, entryOf(e))
			if len(out.Entries) == r.Limit {
				return out.goesOn(Cursor{ID: e.ID}), nil
			}
		}
		if len(rows) < pageRows {
			return out, nil
		}
	}
	return out.goesOn(Cursor{ID: last + 1}), nil
}

func (p Page) goesOn(at Cursor) Page {
	p.Next, p.More = at, true
	return p
}

func (r *reader) eventRows(ctx context.Context, last int64) ([]query.Event, error) {
	switch {
	case r.GroupID != 0:
		return r.q.ListGroupEvents(ctx, query.ListGroupEventsParams{GroupID: r.GroupID, ID: last, Limit: pageRows})
	case len(r.actors) == 1:
		return r.q.ListActorEvents(ctx, query.ListActorEventsParams{ActorID: r.actors[0], ID: last, Limit: pageRows})
	}
	return r.q.ListAllEvents(ctx, query.ListAllEventsParams{ID: last, Limit: pageRows})
}

func entryOf(e *query.Event) Entry {
	out := Entry{
		ID: strconv.FormatInt(e.ID, 10), At: time.UnixMicro(e.At).UTC(), Kind: e.Kind, Outcome: outcomeOf(e.Kind), Subject: e.Subject,
		RequestID: e.RequestID, DecisionID: e.DecisionID, Actor: actorOf(e.ActorID, e.TokenID, e.ActorKind),
		group: e.GroupID, address: e.AddressID,
	}
	if e.Detail != "{}" && json.Valid([]byte(e.Detail)) {
		out.Detail = json.RawMessage(e.Detail)
	}
	return out
}

// subjectAccount is the id of the account that a change is about: "user 7", "account 7", "acme: grant account 7 team"; 0 when it is about
// none.
func subjectAccount(subject string) int64 {
	words := strings.Fields(subject)
	for i, word := range words {
		if (word == "account" || word == "user") && i+1 < len(words) && (i == 0 || words[i-1] == "grant") {
			id, _ := strconv.ParseInt(words[i+1], 10, 64) // none is 0
			return id
		}
	}
	return 0
}

func actorOf(id, token int64, kind string) Actor {
	a := Actor{Kind: kind}
	if id != 0 {
		a.ID = strconv.FormatInt(id, 10)
	}
	if token != 0 {
		a.TokenID = strconv.FormatInt(token, 10)
	}
	return a
}

func outcomeOf(kind string) string {
	switch kind {
	case event.PullDenied, event.PushDenied, event.APIDenied, event.LoginRefused, event.LoginLimited, event.RequestLimited, "workload.refused":
		return Denied
	case event.PullFailed:
		return Failed
	case event.Gap:
		return ""
	}
	return OK
}
