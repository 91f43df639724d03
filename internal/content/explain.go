package content

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/namespace"
	"github.com/weir-registry/weir/internal/registry/virtual"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store/meta"
)

// What a pull would be answered with, in the words of its protocol.
const (
	statusOK       = 200
	statusNotFound = 404
)

// Explain implements api.Explainer: the same steps as a pull, access first, then the resolver. Who may not configure the group
// is told about pulls of his own, and of them what they themselves would tell him.
func (desk *Desk) Explain(ctx context.Context, q api.Question) (api.Explanation, error) {
	host, image := desk.door(q.Image)
	name, ref, err := parseImage(image)
	if err != nil {
		return api.Explanation{}, err
	}
	t, err := desk.Table.Lookup(namespace.Request{Host: host, Name: name, Client: q.Caller.Address})
	if err != nil {
		return api.Explanation{}, err
	}
	full, err := desk.mayKnowAll(ctx, q, t.Group)
	if err != nil {
		return api.Explanation{}, err
	}
	p, err := desk.asWhom(ctx, q.As, q.Caller)
	if err != nil {
		return api.Explanation{}, err
	}
	out := api.Explanation{Image: q.Image, As: p.Name}
	ctx = access.WithPrincipal(ctx, p)
	err = desk.explainAccess(ctx, p, t, &out)
	if out.Allowed || full {
		out.Kind = string(t.Kind)
	}
	if err != nil || !out.Allowed {
		return out, err
	}
	if v, ok := t.Registry.(*virtual.Registry); ok {
		d := v.Explain(ctx, virtual.Request{Repository: t.Local, Reference: ref, Probe: q.Probe, Plain: !full})
		var members []virtual.Considered
		if full {
			members = d.Members
		} else {
			d = told(d, q.Probe)
		}
		out.Decision, out.Status, out.Message, out.Advice = &d, d.Status, cmp.Or(d.Message, staleness(d)), advice(p, d, members, t)
		return out, nil
	}
	out.Status = statusOK
	if _, err := t.Registry.StatManifest(ctx, t.Local, ref); err != nil {
		if err := desk.explainError(&out, err); err != nil || out.Status != statusNotFound {
			return out, err
		}
		out.Advice, err = desk.misnamed(ctx, q.Caller, t)
		return out, err
	}
	return out, nil
}

// door takes the host off an image's name, as a client does before it asks: what holds a port, localhost, and the hosts of this
// instance. Other parts with dots may be groups.
func (desk *Desk) door(image string) (host, name string) {
	name = strings.TrimPrefix(strings.TrimPrefix(image, "https://"), "http://")
	first, rest, ok := strings.Cut(name, "/")
	if ok && (strings.Contains(first, ":") || first == "localhost" || desk.Table.Current().Own(first)) {
		return first, rest
	}
	return "", name
}

// mayKnowAll reports whether the caller may be told everything about pulls from the group. Others may only ask for themselves:
// the error says so, the same whether or not there is such a group.
func (desk *Desk) mayKnowAll(ctx context.Context, q api.Question, group string) (bool, error) {
	if q.Caller.Local {
		return true, nil
	}
	d, err := desk.Directory.Check(ctx, q.Caller.Principal, access.Request{Action: access.Configure, Path: group})
	if err != nil || d.Allowed || q.As == "" || q.As == q.Caller.Name {
		return d.Allowed, err
	}
	return false, d.Err()
}

// told is what a pull tells its caller of a decision. Without a probe nobody was asked, which could tell a name that nobody has from
// one that a local member keeps from the caller: both must read alike, as not decided.
func told(d virtual.Decision, probed bool) virtual.Decision {
	if !probed && (d.Result == virtual.ResultNotFound || d.Result == virtual.ResultLogin) {
		d.Result, d.Status, d.Message, d.Rule = virtual.ResultUndecided, 0, "", ""
	}
	d.Members, d.Member, d.Generation = []virtual.Considered{}, "", 0
	return d
}

// explainAccess fills in what access says.
func (desk *Desk) explainAccess(ctx context.Context, p access.Principal, t namespace.Target, out *api.Explanation) error {
	d, err := desk.Directory.Check(ctx, p, access.Request{Action: access.Pull, Path: t.Path, Public: desk.public(t)})
	if err != nil {
		return err
	}
	out.Allowed, out.Access = d.Allowed, d.Why
	if _, path, ok := strings.Cut(t.Path, "/"); ok && d.Cause == access.Ungranted {
		out.Advice = granting(p, t.Group, path)
	}
	if d.Cause == access.Disabled {
		out.Advice = enabling(p)
	}
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
	return desk.Directory.As(ctx, caller.Principal, as)
}

// Evaluate implements api.Content. The API has checked that the caller may view the group.
func (desk *Desk) Evaluate(ctx context.Context, q api.EvaluateQuery) (api.Evaluation, error) {
	g := desk.Group(q.Group)
	if g == nil {
		return api.Evaluation{}, api.NoGroup()
	}
	if !g.Enabled {
		return api.Evaluation{}, api.TurnedOff()
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
	off := slices.ContainsFunc(g.Registries, func(r meta.Registry) bool { return r.Name == q.Registry && !r.Enabled })
	if off {
		out.Why = "the registry is turned off: nothing can be pulled from it, whatever its rules say"
	}
	for i, m := range verdicts {
		out.Allowed = out.Allowed || m.Allowed && !off
		out.Members[i] = api.Verdict{
			Member: m.Member, Local: m.Local, Repository: m.Repository, Allowed: m.Allowed, Verdict: m.Verdict, Why: m.Why, ClaimedBy: m.Claimed,
		}
	}
	return out, nil
}
