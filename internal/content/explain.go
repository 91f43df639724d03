package content

import (
	"context"
	"errors"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/namespace"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/serve/api"
)

// statusOK is what a pull would be answered with, in the words of its protocol.
const statusOK = 200

// Explain implements api.Explainer: the same steps as a pull, access first, then the resolver.
func (desk *Desk) Explain(ctx context.Context, q api.Question) (api.Explanation, error) {
	name, ref, err := parseImage(q.Image)
	if err != nil {
		return api.Explanation{}, err
	}
	p, err := desk.asWhom(ctx, q.As, q.Caller)
	if err != nil {
		return api.Explanation{}, err
	}
	t, err := desk.Table.Lookup(namespace.Request{Name: name})
	if err != nil {
		return api.Explanation{}, err
	}
	out := api.Explanation{Image: q.Image, As: p.Name, Kind: string(t.Kind)}
	ctx = access.WithPrincipal(ctx, p)
	err = desk.explainAccess(ctx, p, t, &out)
	if err != nil || !out.Allowed {
		return out, err
	}
	if v, ok := t.Registry.(*virtual.Registry); ok {
		d := v.Explain(ctx, virtual.Request{Repository: t.Local, Reference: ref, Probe: q.Probe})
		out.Decision, out.Status, out.Message = &d, d.Status, d.Message
		return out, nil
	}
	out.Status = statusOK
	if _, err := t.Registry.StatManifest(ctx, t.Local, ref); err != nil {
		return out, desk.explainError(&out, err)
	}
	return out, nil
}

// explainAccess fills in what access says.
func (desk *Desk) explainAccess(ctx context.Context, p access.Principal, t namespace.Target, out *api.Explanation) error {
	d, err := desk.Directory.Check(ctx, p, access.Request{Action: access.Pull, Path: t.Path, Public: desk.public(t)})
	if err != nil {
		return err
	}
	out.Allowed, out.Access = d.Allowed, d.Why
	if err := d.Err(); err != nil {
		return desk.explainError(out, err)
	}
	return nil
}

// public says whether anyone may pull, for somebody on this machine.
func (desk *Desk) public(t namespace.Target) bool {
	return t.Anonymous == namespace.AnonymousYes || t.Anonymous == namespace.AnonymousLoopback && desk.Loopback
}

// explainError turns a protocol error into the outcome that it would be; other errors are returned.
func (desk *Desk) explainError(out *api.Explanation, err error) error {
	e, ok := errors.AsType[*oci.Error](err)
	if !ok {
		return err
	}
	out.Status, out.Message = e.Status(), e.Message
	return nil
}

func (desk *Desk) asWhom(ctx context.Context, as string, caller api.Caller) (access.Principal, error) {
	switch as {
	case "":
		return caller.Principal, nil
	case "anonymous":
		return access.Nobody(), nil
	}
	return desk.Directory.As(ctx, as)
}

// Evaluate implements api.Content. The API has checked that the caller may view the group.
func (desk *Desk) Evaluate(ctx context.Context, q api.EvaluateQuery) (api.Evaluation, error) {
	g := desk.Group(q.Group)
	if g == nil {
		return api.Evaluation{}, api.NoGroup()
	}
	v := g.Virtual[q.Registry]
	if v == nil {
		return api.Evaluation{}, api.NotThere("registry")
	}
	name, ref, err := parseImage(q.Reference)
	if err != nil {
		return api.Evaluation{}, api.WrongBody("reference", "want <repository>[:<tag>] or <repository>@<digest>, as behind the registry's name: library/alpine:3.20")
	}
	verdicts, err := v.Evaluate(access.WithPrincipal(ctx, q.Caller.Principal), name, ref)
	if err != nil {
		return api.Evaluation{}, err
	}
	out := api.Evaluation{Reference: q.Reference, Members: make([]api.Verdict, len(verdicts))}
	for i, m := range verdicts {
		out.Allowed = out.Allowed || m.Allowed
		out.Members[i] = api.Verdict{
			Member: m.Member, Local: m.Local, Repository: m.Repository, Allowed: m.Allowed, Verdict: m.Verdict, Why: m.Why, ClaimedBy: m.Claimed,
		}
	}
	return out, nil
}
