package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

// span is a batch without its payload.
type span struct{ id, first, last int64 }

// batches reads pulls: the newest batch first, and within it the newest request.
func (r *reader) batches(ctx context.Context) (out Page, err error) {
	at, unpacked := r.Before, 0
	for range scanRows / pageRows {
		rows, err := r.spans(ctx, at.ID)
		if err != nil {
			return Page{}, err
		}
		for _, b := range rows {
			if r.over(b.id) {
				return out, nil
			}
			if b.id != at.ID {
				at = Cursor{b.id, newest}
			}
			if !r.From.IsZero() && b.last < r.From.UnixMicro() || !r.To.IsZero() && b.first >= r.To.UnixMicro() {
				continue
			}
			if unpacked++; unpacked > scanUnpack {
				return out.goesOn(at), nil
			}
			next, err := r.unpack(ctx, b, at.Index, &out)
			if err != nil {
				return Page{}, err
			}
			if len(out.Entries) == r.Limit {
				return out.goesOn(Cursor{b.id, next}), nil
			}
		}
		if len(rows) < pageRows {
			return out, nil
		}
		at = Cursor{rows[len(rows)-1].id - 1, newest}
	}
	return out.goesOn(at), nil
}

// spans are the batches up to one, that may have what is asked for.
func (r *reader) spans(ctx context.Context, last int64) (out []span, err error) {
	switch {
	case r.GroupID != 0:
		rows, err := r.q.ListGroupPullBatches(ctx, query.ListGroupPullBatchesParams{GroupID: r.GroupID, BatchID: last, Limit: pageRows})
		for _, row := range rows {
			out = append(out, span{row.ID, row.FirstAt, row.LastAt})
		}
		return out, err
	case len(r.actors) == 1 && r.actors[0] != 0:
		rows, err := r.q.ListPrincipalPullBatches(ctx, query.ListPrincipalPullBatchesParams{PrincipalID: r.actors[0], BatchID: last, Limit: pageRows})
		for _, row := range rows {
			out = append(out, span{row.ID, row.FirstAt, row.LastAt})
		}
		return out, err
	}
	rows, err := r.q.ListPullBatches(ctx, query.ListPullBatchesParams{ID: last, Limit: pageRows})
	for _, row := range rows {
		out = append(out, span{row.ID, row.FirstAt, row.LastAt})
	}
	return out, err
}

// unpack adds what is asked for of the first before records of a batch, the last of them first, and returns how many are left when the
// page is full.
func (r *reader) unpack(ctx context.Context, b span, before int64, out *Page) (left int64, err error) {
	payload, err := r.q.GetPullBatch(ctx, b.id)
	if errors.Is(err, sql.ErrNoRows) { // dropped meanwhile
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	records, err := decode(payload)
	if err != nil {
		records = unreadable(b.first, b.last, 0)
	}
	for i := min(before, int64(len(records))) - 1; i >= 0; i-- {
		e := &records[i]
		if r.GroupID != 0 && e.group != r.GroupID || !r.wants(e.Kind, e.Path, outcomeOf(e.Kind), e.Actor.RequestID, e.Actor.ID, e.At) {
			continue
		}
		out.Entries = append(out.Entries, e.entry(place(b.id, int(i))))
		if len(out.Entries) == r.Limit {
			return i, nil
		}
	}
	return 0, nil
}

// answered is the detail of a pull.
type answered struct {
	Method    string          `json:"method,omitempty"`
	Operation string          `json:"operation,omitempty"`
	Reference string          `json:"reference,omitempty"`
	Status    int             `json:"status,omitempty"`
	Bytes     int64           `json:"bytes,omitempty"`
	Cache     string          `json:"cache,omitempty"`
	Member    string          `json:"member,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	Code      string          `json:"code,omitempty"`
	Count     int64           `json:"count,omitempty"`
	Until     *time.Time      `json:"until,omitempty"`
	Decision  json.RawMessage `json:"decision,omitempty"`
}

func (r *record) entry(id string) Entry {
	a := answered{
		Method: r.Method, Operation: r.Operation, Reference: r.Reference, Status: r.Status, Bytes: r.Bytes, Cache: r.Cache, Member: r.Member,
		Reason: r.Reason, Code: r.Code,
	}
	if r.until != 0 {
		until := time.UnixMicro(r.until).UTC()
		a.Count, a.Until = r.count, &until
	}
	if json.Valid(r.json) {
		a.Decision = r.json
	}
	detail, _ := json.Marshal(a) // of texts, numbers and valid JSON
	return Entry{
		ID: id, At: time.UnixMicro(r.At).UTC(), Kind: r.Kind, Outcome: outcomeOf(r.Kind), Subject: r.Path, RequestID: r.Actor.RequestID,
		DecisionID: r.Actor.DecisionID, Actor: actorOf(r.Actor.ID, r.Actor.TokenID, r.Actor.Kind), Detail: detail,
		group: r.group, address: r.address, pulled: true,
	}
}

// fill looks up what groups, accounts and addresses are called, as far as that is still known.
func (r *reader) fill(ctx context.Context, entries []Entry) error {
	for i := range entries {
		e := &entries[i]
		id, _ := strconv.ParseInt(e.Actor.ID, 10, 64) // none is 0
		about := int64(0)
		if !e.pulled || strings.HasPrefix(e.Kind, "login.") {
			about = subjectAccount(e.Subject)
		}
		for _, f := range []struct {
			known map[int64]string
			id    int64
			to    *string
			find  func(context.Context, int64) (string, error)
		}{{r.groups, e.group, &e.Group, r.groupName}, {r.names, id, &e.Actor.Name, r.accountName}, {r.names, about, &e.Account, r.accountName},
			{r.addresses, e.address, &e.Address, r.address(e.pulled)}} {
			if f.id == 0 {
				continue
			}
			name, ok := f.known[f.id]
			if !ok {
				var err error
				if name, err = f.find(ctx, f.id); err != nil && !errors.Is(err, sql.ErrNoRows) {
					return err
				}
				f.known[f.id] = name
			}
			*f.to = name
		}
	}
	return nil
}

func (r *reader) groupName(ctx context.Context, id int64) (string, error) {
	g, err := r.q.GetGroup(ctx, id)
	return g.Name, err
}

func (r *reader) accountName(ctx context.Context, id int64) (string, error) {
	row, err := r.q.GetAccount(ctx, id)
	if errors.Is(err, sql.ErrNoRows) {
		gone, err := r.q.GetActor(ctx, id)
		return gone.Name, err
	}
	if err != nil || row.GroupID == 0 {
		return row.Name, err
	}
	g, err := r.groupName(ctx, row.GroupID)
	return g + "/" + row.Name, err
}

// address finds those of pulls in their own table. Ids are unique in both.
func (r *reader) address(pulled bool) func(context.Context, int64) (string, error) {
	if pulled {
		return r.q.GetPullAddress
	}
	return r.q.GetAddress
}
