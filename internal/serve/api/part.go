package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/plan"
)

// part is a part of a definition that is read and replaced by itself.
type part[T, P any] struct {
	kind    *kind[T]
	segment string
	what    string
	at      string // below the definition, where the planner sees problems
	body    string // where these are in the request
	get     func(T) P
	set     func(*T, P)
	check   func(P) error // of what is to be set; nil: anything may
}

func (p part[T, P]) register(a *API) {
	path := "/groups/{group}/" + p.kind.segment + "/{name}/" + p.segment
	id := dashed(p.kind.one) + "-" + p.segment
	operation(a, huma.Operation{
		OperationID: "get-" + id, Method: http.MethodGet, Path: path, Tags: []string{p.kind.segment}, Summary: "Read " + p.what,
	}, func(ctx context.Context, in *getInput) (*tagged[P], error) { return p.read(ctx, a, in) })
	operation(a, changes[P](a, huma.Operation{
		OperationID: "put-" + id, Method: http.MethodPut, Path: path, Tags: []string{p.kind.segment}, Summary: "Replace " + p.what,
		Description: "All of them at once.",
	}, false), func(ctx context.Context, in *putInput[P]) (*changed, error) { return p.replace(ctx, a, in) })
}

func (p part[T, P]) read(ctx context.Context, a *API, in *getInput) (*tagged[P], error) {
	s, err := a.state(ctx, in.Group, p.kind.virtual)
	if err != nil {
		return nil, err
	}
	i := p.kind.find(&s.Group, in.Name)
	if i < 0 {
		return nil, notThere(p.kind.one)
	}
	v := p.get((*p.kind.list(&s.Group))[i])
	if err := in.Conditions.read(etag(v)); err != nil {
		return nil, err
	}
	return &tagged[P]{etag(v), v}, nil
}

func (p part[T, P]) replace(ctx context.Context, a *API, in *putInput[P]) (*changed, error) {
	if err := a.do(ctx, p.kind.change, in.Group); err != nil {
		return nil, err
	}
	if p.check != nil {
		if err := p.check(in.Body); err != nil {
			return nil, err
		}
	}
	at := p.kind.at(in.Group, in.Name) + p.at
	done, err := a.edit(ctx, in.Group, p.kind.virtual, in.DryRun, at, p.body, func(s *plan.State) error {
		i := p.kind.find(&s.Group, in.Name)
		if i < 0 {
			return notThere(p.kind.one)
		}
		v := &(*p.kind.list(&s.Group))[i]
		if err := in.update(etag(p.get(*v))); err != nil {
			return err
		}
		p.set(v, in.Body)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if in.DryRun {
		return planned(done), nil
	}
	s := done.After[0]
	v := p.get((*p.kind.list(&s.Group))[p.kind.find(&s.Group, in.Name)])
	return &changed{Status: http.StatusOK, ETag: etag(v), Body: v}, nil
}

func listOf[T any](items []T) List[T] {
	if items == nil {
		items = []T{}
	}
	return List[T]{items}
}

// fixed sets a definition's name to the one in the path; it returns the field if that says another.
func fixed(field *string, name, called string) string {
	if *field != "" && *field != name {
		return called
	}
	*field = name
	return ""
}

func dashed(name string) string { return strings.ReplaceAll(name, " ", "-") }

func article(name string) string {
	if strings.ContainsAny(name[:1], "aeiou") {
		return "an " + name
	}
	return "a " + name
}
