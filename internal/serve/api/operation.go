package api

import (
	"context"
	"errors"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/plan/desired"
	"github.com/weir-registry/weir/internal/store/meta"
)

// register declares the operations of a kind: get, put and patch; see listed and registerDelete.
func (k *kind[T]) register(a *API) {
	one := "/groups/{group}/" + k.segment + "/{name}"
	operation(a, huma.Operation{
		OperationID: "get-" + dashed(k.one), Method: http.MethodGet, Path: one, Tags: []string{k.segment},
		Summary: "Read " + article(k.one),
	}, func(ctx context.Context, in *getInput) (*tagged[T], error) { return k.get(ctx, a, in) })
	operation(a, changes[T](a, huma.Operation{
		OperationID: "put-" + dashed(k.one), Method: http.MethodPut, Path: one, Tags: []string{k.segment},
		Summary:     "Create or replace " + article(k.one),
		Description: "Fields that are left out take their defaults; secrets that are left out stay. If-None-Match: * only creates.",
	}, true), func(ctx context.Context, in *putInput[T]) (*changed, error) { return k.put(ctx, a, in) })
	operation(a, patches[T](a, huma.Operation{
		OperationID: "patch-" + dashed(k.one), Method: http.MethodPatch, Path: one, Tags: []string{k.segment},
		Summary:     "Change fields of " + article(k.one),
		Description: "A JSON merge patch (RFC 7396): fields that are left out stay, null is the default, lists are replaced as a whole.",
	}), func(ctx context.Context, in *patchInput) (*changed, error) { return k.patch(ctx, a, in) })
}

func (k *kind[T]) registerDelete(a *API, description string) {
	operation(a, removes(a, huma.Operation{
		OperationID: "delete-" + dashed(k.one), Method: http.MethodDelete, Path: "/groups/{group}/" + k.segment + "/{name}", Tags: []string{k.segment},
		Summary: "Delete " + article(k.one), Description: description,
	}), func(ctx context.Context, in *DeleteInput) (*changed, error) { return k.remove(ctx, a, in, k.detach) })
}

func (k *kind[T]) get(ctx context.Context, a *API, in *getInput) (*tagged[T], error) {
	k.spell(&in.OneInput)
	s, err := a.state(ctx, in.Group, k.virtual)
	if err != nil {
		return nil, err
	}
	i := k.find(&s.Group, in.Name)
	if i < 0 {
		return nil, notThere(k.one)
	}
	tag := k.tag(s, in.Name)
	if err := in.read(tag); err != nil {
		return nil, err
	}
	return &tagged[T]{tag, (*k.list(&s.Group))[i]}, nil
}

func (k *kind[T]) put(ctx context.Context, a *API, in *putInput[T]) (*changed, error) {
	k.spell(&in.OneInput)
	existed := false
	out, err := k.write(ctx, a, in.OneInput, in.Try, func(s *plan.State) error {
		if err := in.update(k.tag(*s, in.Name)); err != nil {
			return err
		}
		v := in.Body
		if field := k.named(&v, in.Name); field != "" {
			return missing(field, "is not the name in the path: leave it out")
		}
		i := k.find(&s.Group, in.Name)
		if existed = i >= 0; existed {
			(*k.list(&s.Group))[i] = v
		} else {
			*k.list(&s.Group) = append(*k.list(&s.Group), v)
		}
		return nil
	})
	if err == nil && !existed && !in.DryRun {
		out.Status = http.StatusCreated
	}
	return out, err
}

func (k *kind[T]) patch(ctx context.Context, a *API, in *patchInput) (*changed, error) {
	k.spell(&in.OneInput)
	return k.write(ctx, a, in.OneInput, in.Try, func(s *plan.State) error {
		i := k.find(&s.Group, in.Name)
		if i < 0 {
			return notThere(k.one)
		}
		if err := in.update(k.tag(*s, in.Name)); err != nil {
			return err
		}
		v, err := merged(a, (*k.list(&s.Group))[i], in.RawBody)
		if err != nil {
			return err
		}
		if k.secret != "" && nulls(in.RawBody, k.secret) {
			return missing(k.secret, "a secret cannot be taken away: give another, or leave the field out to keep it")
		}
		if field := k.named(&v, in.Name); field != "" {
			return missing(field, "the name cannot be changed: leave it out")
		}
		(*k.list(&s.Group))[i] = v
		return nil
	})
}

// write changes one definition and answers with it.
func (k *kind[T]) write(ctx context.Context, a *API, in OneInput, try Try, change func(*plan.State) error) (*changed, error) {
	if err := a.do(ctx, k.change, in.Group); err != nil {
		return nil, err
	}
	p, err := a.edit(ctx, in.Group, k.virtual, try.DryRun, k.at(in.Group, in.Name), "body", change)
	if err != nil {
		return nil, err
	}
	if try.DryRun {
		return planned(p), nil
	}
	s := p.After[0]
	i := k.find(&s.Group, in.Name)
	return &changed{Status: http.StatusOK, ETag: k.tag(s, in.Name), Body: (*k.list(&s.Group))[i]}, nil
}

// remove takes a definition away. detach, if not nil, sees to what refers to it.
func (k *kind[T]) remove(ctx context.Context, a *API, in *DeleteInput, detach func(*desired.Group, string) error) (*changed, error) {
	k.spell(&in.OneInput)
	if err := a.do(ctx, k.change, in.Group); err != nil {
		return nil, err
	}
	p, err := a.edit(ctx, in.Group, k.virtual, in.DryRun, k.at(in.Group, in.Name), "path.name", func(s *plan.State) error {
		i := k.find(&s.Group, in.Name)
		if i < 0 {
			return notThere(k.one)
		}
		if err := in.update(k.tag(*s, in.Name)); err != nil {
			return err
		}
		if detach != nil {
			if err := detach(&s.Group, in.Name); err != nil {
				return err
			}
		}
		list := k.list(&s.Group)
		i = k.find(&s.Group, in.Name)
		*list = append((*list)[:i:i], (*list)[i+1:]...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if in.DryRun {
		return planned(p), nil
	}
	return &changed{Status: http.StatusNoContent}, nil
}

// orNoGroup makes a group that is not there the one that may not be seen.
func orNoGroup(err error) error {
	if errors.Is(err, meta.ErrNotFound) {
		return noGroup()
	}
	return err
}

// changes describes the answers of an operation that makes a T so.
func changes[T any](a *API, o huma.Operation, creates bool) huma.Operation {
	one := schemaOf[T](a)
	o.Responses = map[string]*huma.Response{
		"200": answer("As it is now; with dry_run what would happen", &huma.Schema{AnyOf: []*huma.Schema{one, schemaOf[ApplyResponse](a)}}),
	}
	if creates {
		o.Responses["201"] = answer("Created", one)
	}
	return o
}

// patches describes an operation whose body is a merge patch of a T.
func patches[T any](a *API, o huma.Operation) huma.Operation {
	o = changes[T](a, o, false)
	o.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{}}
	for _, t := range []string{"application/merge-patch+json", "application/json"} {
		o.RequestBody.Content[t] = &huma.MediaType{Schema: schemaOf[T](a)}
	}
	return o
}

// removes describes an operation that takes something away.
func removes(a *API, o huma.Operation) huma.Operation {
	o.Responses = map[string]*huma.Response{
		"200": answer("With dry_run: what would happen", schemaOf[ApplyResponse](a)),
		"204": {Description: "Gone"},
	}
	return o
}

func answer(description string, s *huma.Schema) *huma.Response {
	return &huma.Response{Description: description, Content: map[string]*huma.MediaType{"application/json": {Schema: s}}}
}

func schemaOf[T any](a *API) *huma.Schema {
	return a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
}
