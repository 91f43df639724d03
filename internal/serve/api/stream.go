package api

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// lines are JSON objects, one after the other: what long work tells while it goes on, and at the end what came of it.
const lines = "application/jsonl"

// stream answers with the lines that work tells, and then with the last one, which takes the problem if it failed. What fails before
// the first line is answered as any other error: only a line settles the status.
func stream[L any](ctx context.Context, a *API, work func(tell func(L)) error, last func(*huma.ErrorModel) L) (*huma.StreamResponse, error) {
	next, stop := iter.Pull2(func(yield func(line L, err error) bool) {
		left := false
		err := work(func(line L) { left = left || !yield(line, nil) })
		switch {
		case left:
		case err != nil:
			var none L
			yield(none, err)
		default:
			yield(last(nil), nil)
		}
	})
	line, err, more := next()
	if err != nil {
		stop()
		return nil, err
	}
	return &huma.StreamResponse{Body: func(h huma.Context) {
		defer stop()
		h.SetHeader("Content-Type", lines)
		out := json.NewEncoder(h.BodyWriter())
		flusher, _ := h.BodyWriter().(http.Flusher)
		for ; more; line, err, more = next() {
			if err != nil {
				line = last(a.model(ctx, err))
			}
			_ = out.Encode(line) // a client that left is noticed by the context
			if flusher != nil {
				flusher.Flush()
			}
		}
	}}, nil
}

// whole is the answer without lines of an operation that has them.
func whole(a *API, v any) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(h huma.Context) {
		h.SetHeader("Content-Type", "application/json")
		_ = a.huma.Marshal(h.BodyWriter(), "application/json", v) // a client that left is noticed by the context
	}}
}

// streams declares the answers of an operation that tells lines of type L if progress is wanted, and an R at once if not.
func streams[R, L any](a *API, o huma.Operation) huma.Operation {
	ok := answer("Done; with progress, lines of which the last one tells what came of it", schemaOf[R](a))
	ok.Content[lines] = &huma.MediaType{Schema: schemaOf[L](a)}
	o.Responses = map[string]*huma.Response{"200": ok}
	return o
}

// model is the problem of an error, as a part of an answer.
func (a *API) model(ctx context.Context, err error) *huma.ErrorModel {
	p := a.problem(ctx, err)
	if h, ok := errors.AsType[headed](p); ok {
		p = h.StatusError
	}
	if m, ok := errors.AsType[*huma.ErrorModel](p); ok {
		return m
	}
	return &huma.ErrorModel{Status: p.GetStatus(), Title: http.StatusText(p.GetStatus()), Detail: p.Error()}
}
