package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/store/meta"
)

var errLogin = oci.NewError(oci.CodeUnauthorized, "log in: send a token as \"Authorization: Bearer weir_…\"")

// statuses are those of the errors that other packages return for bad requests, with the field of the body that they are about. Their
// texts are for people; what was sent stands before them, if it is in there.
var statuses = []struct {
	err    error
	status int
	field  string
}{
	{meta.ErrNotFound, http.StatusNotFound, ""},
	{access.ErrNotFound, http.StatusNotFound, ""},
	{access.ErrExists, http.StatusConflict, ""},
	{meta.ErrInUse, http.StatusConflict, ""},
	{access.ErrLastAdmin, http.StatusConflict, ""},
	{access.ErrRoleInUse, http.StatusConflict, ""},
	{access.ErrRole, http.StatusUnprocessableEntity, "role"},
	{access.ErrPath, http.StatusUnprocessableEntity, "path"},
	{access.ErrPassword, http.StatusUnprocessableEntity, "password"},
	{access.ErrName, http.StatusUnprocessableEntity, "name"},
	{access.ErrTokenName, http.StatusUnprocessableEntity, "name"},
	{access.ErrExpiry, http.StatusUnprocessableEntity, "expires_at"},
	{access.ErrCeiling, http.StatusUnprocessableEntity, "limit"},
}

// problem turns any error into what the client sees. What is nobody's business but the operator's goes to the log.
func (a *API) problem(ctx context.Context, err error) huma.StatusError {
	if e, ok := errors.AsType[huma.StatusError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*plan.InvalidError](err); ok {
		return huma.NewError(http.StatusUnprocessableEntity, "the declaration cannot be applied; nothing was changed", details(e.Problems)...)
	}
	if e, ok := errors.AsType[*plan.DeniedError](err); ok {
		return denied(e.Problems)
	}
	if e, ok := errors.AsType[*oci.Error](err); ok {
		p := huma.NewError(e.Status(), e.Message)
		if e.RetryAfter > 0 {
			seconds := strconv.Itoa(int((e.RetryAfter + time.Second - 1) / time.Second))
			return headed{p, http.Header{"Retry-After": {seconds}}}
		}
		return p
	}
	for _, s := range statuses {
		if !errors.Is(err, s.err) {
			continue
		}
		what := err.Error()
		if s.field == "" {
			return huma.NewError(s.status, what)
		}
		what = from(err, s.err)
		return huma.NewError(s.status, what, &huma.ErrorDetail{Location: "body." + s.field, Message: what})
	}
	id := callerFrom(ctx).RequestID
	a.Log.ErrorContext(ctx, "api", "error", err, "request_id", id)
	if errors.Is(meta.Failure(err), meta.ErrUnavailable) {
		return headed{huma.NewError(http.StatusServiceUnavailable, "the database does not answer: try again in a moment"), http.Header{"Retry-After": {"5"}}}
	}
	return huma.NewError(http.StatusInternalServerError, "internal error; the server's log has it under request id "+id)
}

// from is the text of an error from the sentinel on: what stands before it is for the log, and may repeat what was sent.
func from(err, sentinel error) string {
	what := err.Error()
	return what[max(0, strings.Index(what, sentinel.Error())):]
}

func details(problems []plan.Problem) []error {
	out := make([]error, len(problems))
	for i, p := range problems {
		out[i] = &huma.ErrorDetail{Location: p.Path, Message: p.Message}
	}
	return out
}

// denied is the problem of a change of which the caller may not make some parts.
func denied(problems []plan.Problem) huma.StatusError {
	what := problems[0].Message
	if len(problems) > 1 {
		what = "parts of this take more than you may; nothing was changed"
	}
	return huma.NewError(http.StatusForbidden, what, details(problems)...)
}

// located makes the planner's problems with the definition at those of the part body of the request; others stay where the
// planner saw them.
func located(err error, at, body string) error {
	if e, ok := errors.AsType[*plan.DeniedError](err); ok {
		return fmt.Errorf("%w: %w", denied(moved(e.Problems, at, body)), e)
	}
	e, ok := errors.AsType[*plan.InvalidError](err)
	if !ok {
		return err
	}
	return huma.NewError(http.StatusUnprocessableEntity, "this cannot be; nothing was changed", details(moved(e.Problems, at, body))...)
}

func moved(problems []plan.Problem, at, body string) []plan.Problem {
	out := slices.Clone(problems)
	for i, p := range out {
		if rest, below := strings.CutPrefix(p.Path, at); below && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			if out[i].Path = body + rest; rest == ".name" || rest == ".host" || rest == ".prefix" { // which the path says
				out[i].Path = "path"
			}
		}
	}
	return out
}

// missing is the problem with a field of the body, empty for all of it; what says how to put it right.
func missing(field, what string) error {
	return huma.NewError(http.StatusUnprocessableEntity, what, &huma.ErrorDetail{Location: strings.TrimSuffix("body."+field, "."), Message: what})
}

// conflict is the problem of a change that something else stands in the way of; what says what to do first.
func conflict(what string) error { return huma.NewError(http.StatusConflict, what) }

// headed is a problem with headers.
type headed struct {
	huma.StatusError
	headers http.Header
}

// GetHeaders implements huma.HeadersError.
func (h headed) GetHeaders() http.Header { return h.headers }

// MarshalJSON implements json.Marshaler: headers are no part of the body.
func (h headed) MarshalJSON() ([]byte, error) { return json.Marshal(h.StatusError) }

// ContentType implements huma.ContentTypeFilter.
func (h headed) ContentType(t string) string {
	if f, ok := h.StatusError.(huma.ContentTypeFilter); ok {
		return f.ContentType(t)
	}
	return t
}

// withoutValues keeps problems from echoing what was sent.
func withoutValues(_ huma.Context, _ string, v any) (any, error) {
	if m, ok := v.(*huma.ErrorModel); ok {
		for _, e := range m.Errors {
			e.Value = nil
		}
	}
	return v, nil
}

func writeProblem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(huma.ErrorModel{Status: status, Title: http.StatusText(status), Detail: detail})
}
