package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/plan"
)

// owned is a kind of thing of a group that the directory keeps: roles, robots, trust rules. What kind is to definitions, it is to
// these: they are changed by the directory, each in one transaction that checks the conditions of the request.
type owned[T any] struct {
	one, many, segment string
	see                access.Action // that reading takes, beside seeing the group
	list               func(ctx context.Context, group int64) ([]T, error)
	get                func(ctx context.Context, group int64, name string) (T, error)
	put                func(ctx context.Context, by access.Actor, group int64, v T, check func(now *T) error) (T, error)
	remove             func(ctx context.Context, by access.Actor, group int64, name string, check func(now *T) error) error
	kind               string // of a plan.Change
	key                func(T) string
	strip              func(*T) // of what a client cannot set
	named              func(*T, string) (field string)
	loses              func(T) (fields []plan.Field, note string) // what goes with one; nil: nothing
	// gives refuses what the caller may not give away.
	gives func(ctx context.Context, group string, v T) error
}

// register declares the operations of an owned kind, but for the list: listedOwned.
func (k *owned[T]) register(a *API) {
	one := "/groups/{group}/" + k.segment + "/{name}"
	tags := []string{k.segment}
	operation(a, huma.Operation{
		OperationID: "get-" + dashed(k.one), Method: http.MethodGet, Path: one, Tags: tags, Summary: "Read " + article(k.one),
	}, func(ctx context.Context, in *getInput) (*tagged[T], error) {
		group, err := k.group(ctx, a, in.Group)
		if err != nil {
			return nil, err
		}
		return k.read(ctx, group, in.Name, in.Conditions)
	})
	operation(a, changes[T](a, huma.Operation{
		OperationID: "put-" + dashed(k.one), Method: http.MethodPut, Path: one, Tags: tags, Summary: "Create or replace " + article(k.one),
		Description: "Fields that are left out take their defaults. If-None-Match: * only creates.",
	}, true), func(ctx context.Context, in *putOwnedInput[T]) (*changed, error) {
		group, err := k.owner(ctx, a, in.Group)
		if err != nil {
			return nil, err
		}
		return k.replace(ctx, a, in.Group, group, in.Name, in.Conditions, in.Body)
	})
	operation(a, patches[T](a, huma.Operation{
		OperationID: "patch-" + dashed(k.one), Method: http.MethodPatch, Path: one, Tags: tags, Summary: "Change fields of " + article(k.one),
		Description: "A JSON merge patch (RFC 7396): fields that are left out stay, null is the default, lists are replaced as a whole.",
	}), func(ctx context.Context, in *patchOwnedInput) (*changed, error) {
		group, err := k.owner(ctx, a, in.Group)
		if err != nil {
			return nil, err
		}
		return k.patch(ctx, a, group, in)
	})
	operation(a, removes(a, huma.Operation{
		OperationID: "delete-" + dashed(k.one), Method: http.MethodDelete, Path: one, Tags: tags, Summary: "Delete " + article(k.one),
	}), func(ctx context.Context, in *DeleteInput) (*changed, error) {
		group, err := k.owner(ctx, a, in.Group)
		if err != nil {
			return nil, err
		}
		return k.delete(ctx, a, in.Group, group, in)
	})
}

type putOwnedInput[T any] struct {
	OneInput
	Conditions
	Body T
}

type patchOwnedInput struct {
	OneInput
	Conditions
	RawBody []byte `contentType:"application/merge-patch+json"`
}

// group finds a group for a caller who may read this kind there.
func (k *owned[T]) group(ctx context.Context, a *API, name string) (int64, error) {
	if err := a.do(ctx, k.see, name); err != nil {
		return 0, err
	}
	return a.groupID(ctx, name)
}

// owner finds a group for a caller who may change this kind there.
func (k *owned[T]) owner(ctx context.Context, a *API, name string) (int64, error) {
	if err := a.do(ctx, access.Own, name); err != nil {
		return 0, err
	}
	return a.groupID(ctx, name)
}

// groupID is for callers who may see the group; the instance is 0.
func (a *API) groupID(ctx context.Context, name string) (int64, error) {
	g, err := a.Definitions.Group(ctx, name)
	return g.ID, orNoGroup(err)
}

func (k *owned[T]) read(ctx context.Context, group int64, name string, c Conditions) (*tagged[T], error) {
	v, err := k.get(ctx, group, name)
	if err != nil {
		return nil, k.problem(err)
	}
	if err := c.read(etag(v)); err != nil {
		return nil, err
	}
	return &tagged[T]{etag(v), v}, nil
}

func (k *owned[T]) replace(ctx context.Context, a *API, name string, group int64, key string, c Conditions, v T) (*changed, error) {
	if field := k.named(&v, key); field != "" {
		return nil, missing(field, "is not the name in the path: leave it out")
	}
	if err := k.gives(ctx, name, v); err != nil {
		return nil, err
	}
	status := http.StatusOK
	out, err := k.put(ctx, a.actor(ctx), group, v, func(now *T) error {
		if status = http.StatusOK; now == nil {
			status = http.StatusCreated
			return c.update("")
		}
		return c.update(etag(*now))
	})
	if err != nil {
		return nil, k.problem(err)
	}
	return &changed{Status: status, ETag: etag(out), Body: out}, nil
}

// patch reads, merges and writes what it has read: whoever comes in between makes it begin again.
func (k *owned[T]) patch(ctx context.Context, a *API, group int64, in *patchOwnedInput) (*changed, error) {
	for range 5 {
		now, err := k.get(ctx, group, in.Name)
		if err != nil {
			return nil, k.problem(err)
		}
		if err := in.update(etag(now)); err != nil {
			return nil, err
		}
		tag := etag(now)
		k.strip(&now)
		v, err := merged(a, now, in.RawBody)
		if err != nil {
			return nil, err
		}
		out, err := k.replace(ctx, a, in.Group, group, in.Name, Conditions{IfMatch: tag}, v)
		if e, ok := errors.AsType[huma.StatusError](err); !ok || e.GetStatus() != http.StatusPreconditionFailed {
			return out, err
		}
	}
	return nil, conflict("others change it all the time: try again")
}

// tried is the actor of a change that may be a dry run.
func (a *API) tried(ctx context.Context, try Try) access.Actor {
	by := a.actor(ctx)
	by.DryRun = try.DryRun
	return by
}

func (k *owned[T]) delete(ctx context.Context, a *API, name string, group int64, in *DeleteInput) (*changed, error) {
	lost := plan.Change{Action: plan.Remove, Group: name, Kind: k.kind, Name: in.Name}
	err := k.remove(ctx, a.tried(ctx, in.Try), group, in.Name, func(now *T) error {
		if k.loses != nil {
			lost.Fields, lost.Note = k.loses(*now)
		}
		return in.update(etag(*now))
	})
	if errors.Is(err, access.ErrDryRun) {
		return planned(&plan.Plan{Changes: []plan.Change{lost}}), nil
	}
	if err != nil {
		return nil, k.problem(err)
	}
	return &changed{Status: http.StatusNoContent}, nil
}

// losesGrants is what goes with a robot or trust rule.
func losesGrants(grants []Given) ([]plan.Field, string) {
	var parts []string
	for _, g := range grants {
		parts = append(parts, strings.TrimSuffix(g.Role+":"+g.Path, ":"))
	}
	return []plan.Field{{Name: "grants", Old: strings.Join(parts, ", ")}}, "its grants go with it, and its tokens end for good"
}

// problem names the field that the directory did not accept.
func (k *owned[T]) problem(err error) error {
	if e, ok := errors.AsType[huma.StatusError](err); ok {
		return e
	}
	if errors.Is(err, access.ErrNotFound) {
		return notThere(k.one)
	}
	if errors.Is(err, access.ErrExists) {
		return conflict(from(err, access.ErrExists))
	}
	if e, ok := errors.AsType[*access.FieldError](err); ok {
		return missing(e.Field, e.Message)
	}
	for _, f := range []struct {
		err   error
		field string
	}{
		{access.ErrMachineName, "name"}, {access.ErrRoleName, "name"}, {access.ErrPath, "grants"}, {access.ErrRole, "grants"}, {access.ErrGrants, "grants"},
		{access.ErrActions, "actions"},
	} {
		if errors.Is(err, f.err) {
			return missing(f.field, from(err, f.err))
		}
	}
	return err
}
