package api

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/event/audit"
	"github.com/weir-registry/weir/internal/store/meta"
)

// Trail is the audit trail; *audit.Keeper is one.
type Trail interface {
	// Read returns a page; meta.ErrNotFound for an actor that nobody is or was. In a group nothing is of such an actor.
	Read(ctx context.Context, q audit.Query) (audit.Page, error)
	// Verify looks at all that is sealed; report is called for each seal.
	Verify(ctx context.Context, report func(audit.Finding)) (audit.Verified, error)
	// Prove writes the seals made in a time, with their rows.
	Prove(ctx context.Context, from, to time.Time, write func(audit.ProofLine) error) error
}

// EventFilter is what the operations on events ask. What is empty asks nothing.
type EventFilter struct {
	Stream    string    `query:"stream" enum:"changes,pulls" default:"changes" doc:"changes, or pulls with refusals and logins: they are kept apart, and for another time"`
	Kind      string    `query:"kind" maxLength:"128" doc:"A kind of the stream, or a pattern such as tag.* or *.denied that means some"`
	Actor     string    `query:"actor" maxLength:"255" doc:"Name of a user, <group>/<name> of a robot or trust rule, also of one that is gone; an id; or anonymous"`
	Subject   string    `query:"subject" maxLength:"512" doc:"What it is about, or a pattern: acme/hub/*"`
	Outcome   string    `query:"outcome" enum:"ok,denied,failed"`
	RequestID string    `query:"request_id" maxLength:"64" doc:"As in X-Request-Id of an answer"`
	From      time.Time `query:"from" doc:"Not before"`
	To        time.Time `query:"to" doc:"Before"`
}

func (f *EventFilter) query(group int64) audit.Query {
	return audit.Query{
		Stream: f.Stream, GroupID: group, Kind: f.Kind, Actor: f.Actor, Subject: f.Subject, Outcome: f.Outcome, RequestID: f.RequestID, From: f.From, To: f.To,
	}
}

// EventsInput are the parameters of lists of events.
type EventsInput struct {
	EventFilter
	ListInput
}

type groupEventsInput struct {
	Group string `path:"group" maxLength:"128"`
	EventsInput
}

// ExportInput are the parameters of exports.
type ExportInput struct {
	EventFilter
	Format string `query:"format" enum:"jsonl,csv" default:"jsonl" doc:"JSON lines, or a table"`
}

type groupExportInput struct {
	Group string `path:"group" maxLength:"128"`
	ExportInput
}

// VerifyLine is one line of a verification: a seal, or at the end what was found, or why it could not go on.
type VerifyLine struct {
	Seal    *audit.Finding  `json:"seal,omitempty"`
	Summary *audit.Verified `json:"summary,omitempty"`
	Error   string          `json:"error,omitempty"`
}

func (a *API) registerEvents() {
	const more = "Newest first. A page may have fewer entries than asked for, even none, although there are more: it reads a bounded number of rows."
	tags := []string{"events"}
	operation(a, huma.Operation{
		OperationID: "list-events", Method: http.MethodGet, Path: "/events", Tags: tags, Summary: "List what happened, in all groups", Description: more,
	}, func(ctx context.Context, in *EventsInput) (*page[audit.Entry], error) {
		if err := a.may(ctx, access.Administer, ""); err != nil {
			return nil, err
		}
		return a.events(ctx, in, 0)
	})
	operation(a, huma.Operation{
		OperationID: "list-group-events", Method: http.MethodGet, Path: "/groups/{group}/events", Tags: tags, Summary: "List what happened in a group", Description: more,
	}, func(ctx context.Context, in *groupEventsInput) (*page[audit.Entry], error) {
		group, err := a.audited(ctx, in.Group)
		if err != nil {
			return nil, err
		}
		return a.events(ctx, &in.EventsInput, group)
	})
	const streamed = "All entries that match, newest first, as they are read. An export that breaks off has failed: the connection is cut."
	operation(a, exportsEvents(a, huma.Operation{
		OperationID: "export-events", Method: http.MethodGet, Path: "/events/export", Tags: tags, Summary: "Export what happened, in all groups", Description: streamed,
	}), func(ctx context.Context, in *ExportInput) (*huma.StreamResponse, error) {
		if err := a.may(ctx, access.Administer, ""); err != nil {
			return nil, err
		}
		return a.export(ctx, in, 0)
	})
	operation(a, exportsEvents(a, huma.Operation{
		OperationID: "export-group-events", Method: http.MethodGet, Path: "/groups/{group}/events/export", Tags: tags, Summary: "Export what happened in a group", Description: streamed,
	}), func(ctx context.Context, in *groupExportInput) (*huma.StreamResponse, error) {
		group, err := a.audited(ctx, in.Group)
		if err != nil {
			return nil, err
		}
		return a.export(ctx, &in.ExportInput, group)
	})
	operation(a, exports(huma.Operation{
		OperationID: "verify-events", Method: http.MethodGet, Path: "/events/verification", Tags: tags, Summary: "Verify that nothing sealed was changed",
		Description: "Recomputes every hash and signature. Answers JSON lines: a seal each, as it is done, then the summary, or an error.",
	}, "JSON lines", schemaOf[VerifyLine](a)), a.verifyEvents)
	operation(a, exports(huma.Operation{
		OperationID: "export-sealed-events", Method: http.MethodGet, Path: "/events/sealed", Tags: tags, Summary: "Export what is sealed, with its seals",
		Description: "JSON lines, for weir audit verify FILE without any server: public keys, each seal with its rows as they are stored, and at the end how many seals " +
			"there are. Names and addresses are no part of what is sealed. An export without its end has failed.",
	}, "JSON lines, whose form is for weir audit verify", &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}), a.exportSealed)
}

// exportsEvents declares the answer of an export.
func exportsEvents(a *API, o huma.Operation) huma.Operation {
	o = exports(o, "JSON lines with an entry each, or a table of the same", schemaOf[audit.Entry](a))
	o.Responses["200"].Content["text/csv"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	return o
}

// audited is the id of a group whose events the caller may read.
func (a *API) audited(ctx context.Context, group string) (int64, error) {
	if err := a.do(ctx, access.Audit, group); err != nil {
		return 0, err
	}
	g, err := a.Definitions.Group(ctx, group)
	if errors.Is(err, meta.ErrNotFound) {
		return 0, noGroup()
	}
	return g.ID, err
}

func (a *API) events(ctx context.Context, in *EventsInput, group int64) (*page[audit.Entry], error) {
	order := "events " + in.Stream
	start, err := in.start(order, 2)
	if err != nil {
		return nil, err
	}
	q := in.query(group)
	q.Limit = in.Limit
	if start != nil {
		var errs [2]error
		q.Before.ID, errs[0] = strconv.ParseInt(start[0], 10, 64)
		q.Before.Index, errs[1] = strconv.ParseInt(start[1], 10, 64)
		if errors.Join(errs[:]...) != nil || q.Before.ID <= 0 || q.Before.Index < 0 {
			return nil, WrongQuery("after", "not from a page of this list: begin again without after")
		}
	}
	p, err := a.readEvents(ctx, q)
	if err != nil {
		return nil, err
	}
	return newPage(ctx, p.Entries, p.More, order, id(p.Next.ID), id(p.Next.Index)), nil
}

func (a *API) readEvents(ctx context.Context, q audit.Query) (audit.Page, error) {
	if err := knownKind(q); err != nil {
		return audit.Page{}, err
	}
	p, err := a.Trail.Read(ctx, q)
	if errors.Is(err, meta.ErrNotFound) {
		return p, WrongQuery("actor", "nobody has this name, and nobody who is gone had it")
	}
	if err != nil || q.GroupID == 0 || len(p.Entries) > 0 || p.More || q.Before != (audit.Cursor{}) {
		return p, err
	}
	return p, a.knownActor(ctx, q.Actor)
}

// knownActor refuses a name that is of nobody, for a list of a group in which nothing is of it. Whom the caller may not know of is nobody.
func (a *API) knownActor(ctx context.Context, name string) error {
	if _, notID := strconv.ParseInt(name, 10, 64); name == "" || notID == nil {
		return nil
	}
	_, err := a.Directory.As(ctx, callerFrom(ctx).Principal, name)
	if errors.Is(err, access.ErrNotFound) {
		return WrongQuery("actor", "nobody whom you may know of has this name, and nothing of what is asked for is of anybody who had it")
	}
	return err
}

// knownKind refuses a kind of which there never is an event: that there is none would look like an answer.
func knownKind(q audit.Query) error {
	if q.Kind == "" || len(audit.Kinds(q.Stream, q.Kind)) > 0 {
		return nil
	}
	for other, flag := range map[string]string{audit.Changes: "without", audit.Pulls: "with"} {
		if kinds := audit.Kinds(other, q.Kind); len(kinds) > 0 {
			return WrongQuery("kind", strings.Join(kinds, ", ")+": of the stream "+other+"; weir audit shows it "+flag+" --pulls")
		}
	}
	return WrongQuery("kind", "no kind is so; "+q.Stream+" have "+strings.Join(audit.Kinds(q.Stream, "*"), ", "))
}

// exportPage is how many entries an export holds at a time.
const exportPage = 500

func (a *API) export(ctx context.Context, in *ExportInput, group int64) (*huma.StreamResponse, error) {
	q := in.query(group)
	q.Limit = exportPage
	first, err := a.readEvents(ctx, q) // so that what is wrong with the query has its own answer
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(h huma.Context) {
		out := newEventWriter(h, in.Format)
		for p := first; ; {
			for i := range p.Entries {
				if err := out.write(&p.Entries[i]); err != nil {
					return // the client has left
				}
			}
			if err := out.flush(); err != nil || !p.More {
				return
			}
			q.Before = p.Next
			var err error
			if p, err = a.Trail.Read(h.Context(), q); err != nil {
				a.Log.ErrorContext(h.Context(), "export of events", "error", err)
				panic(http.ErrAbortHandler) // a part must not pass for the whole
			}
		}
	}}, nil
}

// eventWriter writes entries in one of the two forms.
type eventWriter struct {
	json  *json.Encoder
	csv   *csv.Writer
	flush func() error
}

var eventColumns = []string{
	"id", "at", "kind", "outcome", "group", "actor_id", "actor_kind", "actor", "token_id", "address", "subject", "request_id", "decision_id", "detail", "account",
}

func newEventWriter(h huma.Context, format string) *eventWriter {
	flusher, _ := h.BodyWriter().(http.Flusher)
	push := func() error {
		if flusher != nil {
			flusher.Flush()
		}
		return h.Context().Err()
	}
	if format != "csv" {
		h.SetHeader("Content-Type", "application/jsonl")
		return &eventWriter{json: json.NewEncoder(h.BodyWriter()), flush: push}
	}
	h.SetHeader("Content-Type", "text/csv; charset=utf-8; header=present")
	h.SetHeader("Content-Disposition", `attachment; filename="events.csv"`)
	w := &eventWriter{csv: csv.NewWriter(h.BodyWriter())}
	w.flush = func() error {
		w.csv.Flush()
		return errors.Join(w.csv.Error(), push())
	}
	_ = w.csv.Write(eventColumns) // an error stays for flush
	return w
}

func (w *eventWriter) write(e *audit.Entry) error {
	if w.json != nil {
		return w.json.Encode(e)
	}
	cells := []string{
		e.ID, e.At.Format(time.RFC3339Nano), e.Kind, e.Outcome, e.Group, e.Actor.ID, e.Actor.Kind, e.Actor.Name, e.Actor.TokenID, e.Address, e.Subject,
		e.RequestID, e.DecisionID, string(e.Detail), e.Account,
	}
	for i := range cells {
		cells[i] = harmless(cells[i])
	}
	return w.csv.Write(cells)
}

// harmless keeps a spreadsheet from taking a cell for a formula.
func harmless(cell string) string {
	if cell == "" {
		return cell
	}
	switch cell[0] {
	case '=', '+', '-', '@', '\t', '\r', '\n':
		return "'" + cell
	}
	return cell
}

// SealedInput are the parameters of a sealed export.
type SealedInput struct {
	From time.Time `query:"from" doc:"Seals made not before: what they cover is older by up to some minutes"`
	To   time.Time `query:"to" doc:"Seals made before"`
}

func (a *API) exportSealed(ctx context.Context, in *SealedInput) (*huma.StreamResponse, error) {
	if err := a.may(ctx, access.Administer, ""); err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(h huma.Context) {
		h.SetHeader("Content-Type", "application/jsonl")
		out := json.NewEncoder(h.BodyWriter())
		err := a.Trail.Prove(h.Context(), in.From, in.To, func(line audit.ProofLine) error { return out.Encode(line) })
		if err != nil && h.Context().Err() == nil {
			_ = out.Encode(audit.ProofLine{Error: a.problem(h.Context(), err).Error()}) // a client that left does not need it
		}
	}}, nil
}

func (a *API) verifyEvents(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	if err := a.may(ctx, access.Administer, ""); err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(h huma.Context) {
		h.SetHeader("Content-Type", "application/jsonl")
		out := json.NewEncoder(h.BodyWriter())
		flusher, _ := h.BodyWriter().(http.Flusher)
		write := func(line VerifyLine) {
			_ = out.Encode(line) // a client that left is noticed by the context
			if flusher != nil {
				flusher.Flush()
			}
		}
		v, err := a.Trail.Verify(h.Context(), func(f audit.Finding) { write(VerifyLine{Seal: &f}) })
		if err != nil {
			write(VerifyLine{Error: a.problem(h.Context(), err).Error()})
			return
		}
		write(VerifyLine{Summary: &v})
	}}, nil
}
