package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/plan/desired"
)

// AccountGrant is a role that somebody has at a path of a group, or at the instance.
type AccountGrant struct {
	Account string      `json:"account,omitempty" readOnly:"true" doc:"A user, or <group>/<name> for a robot or trust rule"`
	Kind    access.Kind `json:"kind,omitempty" readOnly:"true" enum:"user,robot,workload"`
	Path    string      `json:"path,omitempty" readOnly:"true" doc:"Below the group; empty: all of it"`
	Role    string      `json:"role" maxLength:"128"`
	Origin  string      `json:"origin,omitempty" readOnly:"true" doc:"The sign-in provider that maps it; absent: given by people"`
}

type listGrantsInput struct {
	Group string `path:"group" maxLength:"128" doc:"Name of the group"`
	GrantFilter
}

type listInstanceGrantsInput struct{ GrantFilter }

// GrantFilter are the parameters of lists of grants.
type GrantFilter struct {
	Account string      `query:"account" maxLength:"300" doc:"Only those of accounts with this in their name"`
	Kind    access.Kind `query:"kind" enum:"user,robot,workload" doc:"Only those of such accounts"`
	Role    access.Role `query:"role" maxLength:"128" doc:"Only those that give this role"`
	Sort    string      `query:"sort" enum:"account,-account" default:"account" doc:"Order; with - backwards"`
	ListInput
}

// GrantInput names a user's grant.
type GrantInput struct {
	Group string `path:"group" maxLength:"128" doc:"Name of the group"`
	User  string `path:"user" maxLength:"128"`
	Path  string `path:"path" maxLength:"255" doc:"Below the group, with slashes as %2F; - is all of the group"`
}

type putGrantInput struct {
	GrantInput
	Conditions
	Try
	Body AccountGrant
}

type getGrantInput struct {
	GrantInput
	Conditions
}

type deleteGrantInput struct {
	GrantInput
	Conditions
	Try
}

// InstanceGrantInput names a user's grant at the instance.
type InstanceGrantInput struct {
	User string `path:"user" maxLength:"128"`
}

type getInstanceGrantInput struct {
	InstanceGrantInput
	Conditions
}

type deleteInstanceGrantInput struct {
	InstanceGrantInput
	Conditions
	Try
}

type putInstanceGrantInput struct {
	InstanceGrantInput
	Conditions
	Body AccountGrant
}

// registerGrants declares the grants of users. Those of robots and trust rules are part of these, and are listed here.
func (a *API) registerGrants() {
	tags := []string{"grants"}
	const one = "/groups/{group}/grants/{user}/{path}"
	operation(a, huma.Operation{
		OperationID: "list-grants", Method: http.MethodGet, Path: "/groups/{group}/grants", Tags: tags, Summary: "List who has which role in a group",
		Description: "Grants of the instance, which count in every group, are listed at /grants.",
	}, func(ctx context.Context, in *listGrantsInput) (*page[AccountGrant], error) {
		if err := a.do(ctx, access.Own, in.Group); err != nil {
			return nil, err
		}
		group, err := a.groupID(ctx, in.Group)
		if err != nil {
			return nil, err
		}
		return a.grantPage(ctx, group, in.GrantFilter)
	})
	operation(a, huma.Operation{
		OperationID: "get-grant", Method: http.MethodGet, Path: one, Tags: tags, Summary: "Read the role that a user was given at a path",
	}, a.getGrant)
	operation(a, changes[AccountGrant](a, huma.Operation{
		OperationID: "put-grant", Method: http.MethodPut, Path: one, Tags: tags, Summary: "Give a user a role at a path, instead of the one it was given there",
		Description: "Takes an owner of the path, who can give what he has. If-None-Match: * only creates.",
	}, true), a.putGrant)
	operation(a, removes(a, huma.Operation{
		OperationID: "delete-grant", Method: http.MethodDelete, Path: one, Tags: tags, Summary: "Take the role at a path away from a user",
	}), a.deleteGrant)
	operation(a, huma.Operation{
		OperationID: "list-instance-grants", Method: http.MethodGet, Path: "/grants", Tags: tags, Summary: "List who has which role in every group",
	}, func(ctx context.Context, in *listInstanceGrantsInput) (*page[AccountGrant], error) {
		if err := a.may(ctx, access.Administer, ""); err != nil {
			return nil, err
		}
		return a.grantPage(ctx, 0, in.GrantFilter)
	})
	operation(a, huma.Operation{
		OperationID: "get-instance-grant", Method: http.MethodGet, Path: "/grants/{user}", Tags: tags, Summary: "Read the role that a user was given in every group",
	}, a.getInstanceGrant)
	operation(a, huma.Operation{
		OperationID: "put-instance-grant", Method: http.MethodPut, Path: "/grants/{user}", Tags: tags, Summary: "Give a user a role in every group, or make it an administrator",
	}, a.putInstanceGrant)
	operation(a, removes(a, huma.Operation{
		OperationID: "delete-instance-grant", Method: http.MethodDelete, Path: "/grants/{user}", Tags: tags, Summary: "Take the role in every group away from a user",
	}), a.deleteInstanceGrant)
}

func (a *API) grantPage(ctx context.Context, group int64, in GrantFilter) (*page[AccountGrant], error) {
	if in.Role != "" {
		roles, err := a.Directory.Roles(ctx, group)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(roles, func(r access.RoleSet) bool { return r.Role == in.Role }) {
			return nil, WrongQuery("role", "there is no such role here")
		}
	}
	grants, err := a.Directory.Grants(ctx, group)
	if err != nil {
		return nil, err
	}
	items := []AccountGrant{}
	for _, g := range grants {
		if strings.Contains(g.User, in.Account) && (in.Kind == "" || g.Kind == in.Kind) && (in.Role == "" || g.Role == in.Role) {
			items = append(items, AccountGrant{Account: g.User, Kind: g.Kind, Path: g.Path, Role: string(g.Role), Origin: g.Origin})
		}
	}
	return pageOf(ctx, in.ListInput, in.Sort, items, func(g AccountGrant) string { return g.Account + "\x00" + g.Path + "\x00" + g.Origin })
}

// ownPath lets through who owns a path; who cannot even see the group gets that of a group that does not exist.
func (a *API) ownPath(ctx context.Context, in *GrantInput) error {
	if in.Path = strings.Trim(in.Path, "/"); in.Path == wholeGroup {
		in.Path = ""
	}
	if in.Path != "" && !oci.ValidRepository(in.Path) {
		const what = "is not the beginning of a repository name below the group; - is all of the group"
		wrong := huma.NewError(http.StatusUnprocessableEntity, what, &huma.ErrorDetail{Location: "path.path", Message: what})
		return cmp.Or(a.see(ctx, in.Group), error(wrong))
	}
	path := in.Group
	if in.Path != "" {
		path += "/" + in.Path
	}
	if err := a.may(ctx, access.Own, path); err != nil {
		return cmp.Or(a.see(ctx, in.Group), err)
	}
	return nil
}

// grantsOfItself is the problem of a grant for a robot or trust rule, which have theirs themselves; nil for anybody else.
func (a *API) grantsOfItself(ctx context.Context, group int64, in GrantInput) error {
	if _, err := a.Directory.Account(ctx, in.User); !errors.Is(err, access.ErrNotFound) {
		return err
	}
	name := strings.TrimPrefix(in.User, in.Group+"/")
	kind := ""
	if _, err := a.Directory.Robot(ctx, group, name); err == nil {
		kind = "robot"
	} else if _, err := a.Directory.TrustRule(ctx, group, name); err == nil {
		kind = "trust-rule"
	}
	if kind == "" {
		return nil // there is nobody of that name, which the planner says
	}
	what := fmt.Sprintf("%s is a %s, whose grants are a part of it: change its grants (`weir %s update %s --grants ROLE:PATH`, with all that it is to have)",
		name, strings.ReplaceAll(kind, "-", " "), kind, name)
	return huma.NewError(http.StatusUnprocessableEntity, what, &huma.ErrorDetail{Location: "path.user", Message: what})
}

func findGrant(g *desired.Group, in GrantInput) int {
	return slices.IndexFunc(g.Grants, func(v desired.Grant) bool { return v.User == in.User && v.Path == in.Path })
}

func describeGrant(v desired.Grant) AccountGrant {
	return AccountGrant{Account: v.User, Kind: access.User, Path: v.Path, Role: v.Role}
}

func (a *API) getGrant(ctx context.Context, in *getGrantInput) (*tagged[AccountGrant], error) {
	if err := a.ownPath(ctx, &in.GrantInput); err != nil {
		return nil, err
	}
	group, err := a.groupID(ctx, in.Group)
	if err != nil {
		return nil, err
	}
	grants, err := a.Directory.Grants(ctx, group)
	if err != nil {
		return nil, err
	}
	for _, g := range grants {
		if g.User == in.User && g.Path == in.Path && g.Origin == "" && g.Kind == access.User {
			out := describeGrant(desired.Grant{User: g.User, Path: g.Path, Role: string(g.Role)})
			if err := in.read(etag(out)); err != nil {
				return nil, err
			}
			return &tagged[AccountGrant]{etag(out), out}, nil
		}
	}
	return nil, a.noGrant(ctx, in.GrantInput)
}

// noGrant answers for a grant that is not there. Lists show those of robots and trust rules too.
func (a *API) noGrant(ctx context.Context, in GrantInput) error {
	group, err := a.groupID(ctx, in.Group)
	if err != nil {
		return err
	}
	if e, ok := errors.AsType[huma.StatusError](a.grantsOfItself(ctx, group, in)); ok && e.GetStatus() == http.StatusUnprocessableEntity {
		return huma.NewError(http.StatusNotFound, e.Error())
	}
	return notThere("grant")
}

func (a *API) putGrant(ctx context.Context, in *putGrantInput) (*changed, error) {
	if err := a.ownPath(ctx, &in.GrantInput); err != nil {
		return nil, err
	}
	group, err := a.groupID(ctx, in.Group)
	if err != nil {
		return nil, err
	}
	if err := a.grantsOfItself(ctx, group, in.GrantInput); err != nil {
		return nil, err
	}
	want := desired.Grant{User: in.User, Path: in.Path, Role: in.Body.Role}
	status := http.StatusOK
	p, err := a.editGrants(ctx, in.GrantInput, in.Try, func(s *plan.State) error {
		i := findGrant(&s.Group, in.GrantInput)
		if i < 0 {
			status = http.StatusCreated
			s.Group.Grants = append(s.Group.Grants, want)
			return in.update("")
		}
		if err := in.update(etag(describeGrant(s.Group.Grants[i]))); err != nil {
			return err
		}
		status = http.StatusOK
		s.Group.Grants[i] = want
		return nil
	})
	if err != nil {
		return nil, err
	}
	if in.DryRun {
		return planned(p), nil
	}
	out := describeGrant(want)
	return &changed{Status: status, ETag: etag(out), Body: out}, nil
}

func (a *API) deleteGrant(ctx context.Context, in *deleteGrantInput) (*changed, error) {
	if err := a.ownPath(ctx, &in.GrantInput); err != nil {
		return nil, err
	}
	missing := false
	p, err := a.editGrants(ctx, in.GrantInput, in.Try, func(s *plan.State) error {
		i := findGrant(&s.Group, in.GrantInput)
		if missing = i < 0; missing {
			return notThere("grant")
		}
		if err := in.update(etag(describeGrant(s.Group.Grants[i]))); err != nil {
			return err
		}
		s.Group.Grants = slices.Delete(slices.Clone(s.Group.Grants), i, i+1)
		return nil
	})
	switch {
	case missing:
		return nil, a.noGrant(ctx, in.GrantInput)
	case err != nil:
		return nil, err
	case in.DryRun:
		return planned(p), nil
	}
	return &changed{Status: http.StatusNoContent}, nil
}

func (a *API) editGrants(ctx context.Context, in GrantInput, try Try, change func(*plan.State) error) (*plan.Plan, error) {
	return a.edit(ctx, in.Group, false, try.DryRun, "groups["+in.Group+"].grants["+in.User+"]", "body", change)
}

func describeInstanceGrant(user string, role access.Role) AccountGrant {
	return AccountGrant{Account: user, Kind: access.User, Role: string(role)}
}

// instanceGrantTag is the ETag of the role that a user has in every group; empty when it has none.
func instanceGrantTag(user string, role *access.Role) string {
	if role == nil {
		return ""
	}
	return etag(describeInstanceGrant(user, *role))
}

func (a *API) getInstanceGrant(ctx context.Context, in *getInstanceGrantInput) (*tagged[AccountGrant], error) {
	if err := a.may(ctx, access.Administer, ""); err != nil {
		return nil, err
	}
	u, err := a.Directory.Account(ctx, in.User)
	if err != nil {
		return nil, err
	}
	grants, err := a.Directory.GrantsOf(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	for _, g := range grants {
		if g.GroupID == 0 && g.Origin == "" {
			tag := instanceGrantTag(u.Name, &g.Role)
			if err := in.read(tag); err != nil {
				return nil, err
			}
			return &tagged[AccountGrant]{tag, describeInstanceGrant(u.Name, g.Role)}, nil
		}
	}
	return nil, huma.NewError(http.StatusNotFound, "the user has no role in every group")
}

func (a *API) putInstanceGrant(ctx context.Context, in *putInstanceGrantInput) (*tagged[AccountGrant], error) {
	if err := a.may(ctx, access.Administer, ""); err != nil {
		return nil, err
	}
	u, err := a.Directory.Account(ctx, in.User)
	if err != nil {
		return nil, err
	}
	want := access.Grant{AccountID: u.ID, Role: access.Role(in.Body.Role)}
	err = a.Directory.PutGrant(ctx, a.actor(ctx), want, func(now *access.Role) error { return in.update(instanceGrantTag(u.Name, now)) })
	if err != nil {
		return nil, err
	}
	return &tagged[AccountGrant]{instanceGrantTag(u.Name, &want.Role), describeInstanceGrant(u.Name, want.Role)}, nil
}

func (a *API) deleteInstanceGrant(ctx context.Context, in *deleteInstanceGrantInput) (*changed, error) {
	if err := a.may(ctx, access.Administer, ""); err != nil {
		return nil, err
	}
	u, err := a.Directory.Account(ctx, in.User)
	if err != nil {
		return nil, err
	}
	lost := plan.Change{Action: plan.Remove, Kind: plan.KindGrant, Name: u.Name, Note: "in every group"}
	err = a.Directory.DeleteGrant(ctx, a.tried(ctx, in.Try), access.Grant{AccountID: u.ID}, func(now *access.Role) error {
		if now != nil {
			lost.Fields = []plan.Field{{Name: "role", Old: string(*now)}}
		}
		return in.update(instanceGrantTag(u.Name, now))
	})
	if errors.Is(err, access.ErrDryRun) {
		return planned(&plan.Plan{Changes: []plan.Change{lost}}), nil
	}
	return &changed{Status: http.StatusNoContent}, err
}
