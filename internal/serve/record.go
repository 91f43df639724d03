package serve

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Recorder takes finished requests into the audit trail; *audit.Trail is one.
type Recorder interface {
	// Record must not wait when r is a hit.
	Record(ctx context.Context, r event.Request)
}

// record tells the trail of a request, if it is of a kind that the trail has.
func (f *Front) record(r *http.Request, w *responseWriter, door string, info *Info, t registry.TraceValues, end time.Time) {
	if f.recorder == nil {
		return
	}
	info.mu.Lock()
	kind := recordKind(r, w, door, info)
	if kind == "" {
		info.mu.Unlock()
		return
	}
	e := event.Request{
		At: end.UnixMicro(), Kind: kind, Actor: info.actor, Path: info.path, Reference: info.reference, Operation: info.operation, Method: r.Method,
		Status: w.result(), Bytes: w.sent, Cache: string(t.Cache), Member: t.Member, Reason: t.Reason, Decision: t.Decision,
		Code: string(oci.ErrorCode(info.err)),
	}
	e.Actor.Address, e.Actor.RequestID, e.Actor.DecisionID = info.Address, info.ID, t.DecisionID
	info.explain(&e)
	info.mu.Unlock()
	f.recorder.Record(r.Context(), e)
}

// explain adds what is known of a refusal. The caller holds info.mu.
func (i *Info) explain(e *event.Request) {
	switch e.Kind {
	case event.PullDenied, event.PushDenied, event.APIDenied, event.LoginRefused, event.LoginLimited, event.RequestLimited:
	default:
		return
	}
	e.Actor.Kind = cmp.Or(e.Actor.Kind, event.Anonymous)
	told := i.refused()
	e.Path, e.Operation = cmp.Or(e.Path, told.Path), cmp.Or(e.Operation, told.Operation)
	if told.Account != 0 {
		e.Path = "account " + strconv.FormatInt(told.Account, 10)
	}
	if e.Decision == nil {
		e.Decision = told.Decision
	}
	if e.Reason = cmp.Or(e.Reason, told.Reason); e.Reason == "" {
		if answer, ok := errors.AsType[*oci.Error](i.err); ok {
			e.Reason = strings.TrimSuffix(answer.Message, " (decision "+e.Actor.DecisionID+")") // which the event has
		}
	}
}

// refused is what is known of a refusal, by the door and by the error. The caller holds mu.
func (i *Info) refused() (out event.Refusal) {
	if i.refusal != nil {
		out = *i.refusal
	}
	told, ok := event.RefusalOf(i.err)
	if !ok {
		return out
	}
	out.Kind, out.Operation = cmp.Or(out.Kind, told.Kind), cmp.Or(out.Operation, told.Operation)
	out.Path, out.Reason = cmp.Or(out.Path, told.Path), cmp.Or(out.Reason, told.Reason)
	out.Account = cmp.Or(out.Account, told.Account)
	if out.Decision == nil {
		out.Decision = told.Decision
	}
	return out
}

// recordKind is the kind of event that a request is, empty for none. A client without credentials that is asked for some is none: all
// begin like that. The caller holds info.mu.
func recordKind(r *http.Request, w *responseWriter, door string, info *Info) string {
	status, read := w.result(), r.Method == http.MethodGet || r.Method == http.MethodHead
	shown := r.Header.Get("Authorization") != ""
	if status >= http.StatusBadRequest {
		if told := info.refused(); told.Kind != "" {
			return told.Kind
		}
	}
	switch {
	case status == http.StatusUnauthorized && info.actor.ID == 0:
		if shown || door != doorImages && !read {
			return event.LoginRefused
		}
		return ""
	case door == doorToken && status < http.StatusMultipleChoices && info.actor.ID != 0:
		return event.LoginAccepted
	case door == doorAPI && status == http.StatusForbidden:
		return event.APIDenied
	case door == doorImages:
		return imageKind(r, w, info, read)
	}
	return ""
}

func imageKind(r *http.Request, w *responseWriter, info *Info, read bool) string {
	status := w.result()
	denied := status == http.StatusUnauthorized || status == http.StatusForbidden
	switch {
	case denied && read:
		return event.PullDenied
	case denied:
		return event.PushDenied
	case !read || info.operation != "manifest" && info.operation != "blob":
		return ""
	case status >= http.StatusBadRequest || w.aborted:
		return event.PullFailed
	case r.Method == http.MethodHead || status == http.StatusNotModified:
		return event.PullChecked
	}
	return event.Pull
}

// Names of doors, as Front.Handle gets them.
const (
	doorImages = "distribution"
	doorToken  = "token"
	doorAPI    = "api"
)

// result is the status that the client got.
func (w *responseWriter) result() int {
	switch {
	case w.status != 0:
		return w.status
	case w.aborted:
		return statusClosed
	}
	return http.StatusOK // net/http sends it for a handler that wrote nothing
}
