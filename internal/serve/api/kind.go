package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/plan/desired"
)

// kind is one of a group's lists of definitions: how it is read and changed. What is answered has the declared form; changes
// go through the planner, as those of POST /apply do.
type kind[T any] struct {
	one, many, segment string // "host binding", "host bindings", "host-bindings"
	section            string // name of the list in declarations, "host_bindings"
	secret             string // the field that is written and never read; it cannot be removed
	virtual            bool   // part of the virtual registries, which can be turned off
	change             access.Action
	list               func(*desired.Group) *[]T
	key                func(T) string      // name in paths
	canon              func(string) string // the one spelling of a name; nil: as it is
	named              func(*T, string) (field string)
	etag               func(plan.State, T) string

	// detach prepares the removal of a definition; nil has nothing to prepare.
	detach func(g *desired.Group, key string) error
}

// OneInput names a definition. Like every struct that others embed it is exported: the parameters of others are not seen.
type OneInput struct {
	Group string `path:"group" maxLength:"128" doc:"Name of the group"`
	Name  string `path:"name" maxLength:"300" doc:"Name of the definition"`
}

type getInput struct {
	OneInput
	Conditions
}

// Try is the parameter of changes that can be tried.
type Try struct {
	DryRun bool `query:"dry_run" doc:"Check and plan only, and answer what would happen"`
}

type putInput[T any] struct {
	OneInput
	Conditions
	Try
	Body T
}

type patchInput struct {
	OneInput
	Conditions
	Try
	RawBody []byte `contentType:"application/merge-patch+json"`
}

// DeleteInput is a definition to delete.
type DeleteInput struct {
	OneInput
	Conditions
	Try
}

type tagged[T any] struct {
	ETag string `header:"ETag" doc:"For If-Match of an update"`
	Body T
}

// changed is the answer of a change: the definition as it is now, or with dry_run what would happen.
type changed struct {
	Status int
	ETag   string `header:"ETag" doc:"For If-Match of the next update"`
	Body   any
}

// spell brings a name from a path into its one spelling.
func (k *kind[T]) spell(in *OneInput) {
	if k.canon != nil {
		in.Name = k.canon(in.Name)
	}
}

// find returns the index of a definition; -1 when there is none.
func (k *kind[T]) find(g *desired.Group, key string) int {
	return slices.IndexFunc(*k.list(g), func(v T) bool { return k.key(v) == key })
}

// tag is the ETag of a definition; empty when there is none.
func (k *kind[T]) tag(s plan.State, key string) string {
	i := k.find(&s.Group, key)
	if i < 0 {
		return ""
	}
	v := (*k.list(&s.Group))[i]
	if k.etag != nil {
		return k.etag(s, v)
	}
	return etag(v)
}

// at is where the planner sees problems of a definition.
func (k *kind[T]) at(group, name string) string {
	if name == wholeGroup {
		name = ""
	}
	return "groups[" + group + "]." + k.section + "[" + name + "]"
}

// state reads a group for a caller who may see it.
func (a *API) state(ctx context.Context, group string, virtual bool) (plan.State, error) {
	if err := a.see(ctx, group); err != nil {
		return plan.State{}, err
	}
	g, err := a.Definitions.Group(ctx, group)
	if err != nil {
		return plan.State{}, orNoGroup(err)
	}
	s := plan.Read(g)
	return s, available(s, virtual)
}

// available refuses what belongs to virtual registries while the group has them turned off.
func available(s plan.State, virtual bool) error {
	if virtual && !*s.Group.Enabled {
		return TurnedOff()
	}
	return nil
}

// TurnedOff answers for what belongs to the virtual registries of a group that has them turned off.
func TurnedOff() error {
	return conflict("the group's virtual registries are turned off, and with them everything about its upstreams and registries and what is cached from them; " +
		`an owner turns them on with PATCH /groups/{group} {"enabled": true}`)
}

// RegistryOff answers for content of one virtual registry that is turned off.
func RegistryOff() error {
	return conflict(`the virtual registry is turned off; a maintainer turns it on with PATCH /groups/{group}/registries/{name} {"enabled": true}`)
}

// edit changes a group that must exist; see plan.Planner.Edit. Problems at the definition at become problems of the body.
func (a *API) edit(ctx context.Context, group string, virtual, dryRun bool, at, body string, change func(*plan.State) error) (*plan.Plan, error) {
	p, err := a.Planner.Edit(ctx, group, func(s *plan.State) error {
		if s.ID == 0 {
			return noGroup()
		}
		if err := available(*s, virtual); err != nil {
			return err
		}
		return change(s)
	}, a.options(ctx, dryRun))
	return p, located(err, at, body)
}

// options are those of a change that the caller makes: what it takes is decided where it is known what changes.
func (a *API) options(ctx context.Context, dryRun bool) plan.Options {
	caller := callerFrom(ctx)
	return plan.Options{
		DryRun: dryRun, ActorID: caller.ID, RequestID: caller.RequestID,
		May: a.asks(ctx),
	}
}

// planned is the answer of a dry run.
func planned(p *plan.Plan) *changed {
	out := ApplyResponse{Changes: p.Changes, Text: p.Text()}
	if out.Changes == nil {
		out.Changes = []plan.Change{}
	}
	return &changed{Status: http.StatusOK, Body: out}
}

// containing filters by a part of the name.
func containing[T any](items []T, key func(T) string, part string) []T {
	var out []T
	for _, v := range items {
		if strings.Contains(key(v), part) {
			out = append(out, v)
		}
	}
	return out
}
