package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/plan"
)

// User is an account.
type User struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	Enabled     bool       `json:"enabled" doc:"false: locked out, tokens included"`
	HasPassword bool       `json:"has_password" doc:"false: it logs in with personal tokens, or by a sign-in provider"`
	CreatedAt   *time.Time `json:"created_at,omitempty"`
}

// NewUser is the body of POST /users.
type NewUser struct {
	Name     string `json:"name,omitempty"`
	Password string `json:"password,omitempty" doc:"At least 8 bytes; default: none, so that only personal tokens log in"`
}

// NewPassword is the body of PUT /users/{name}/password.
type NewPassword struct {
	Password string `json:"password,omitempty" doc:"At least 8 bytes"`
	Old      string `json:"old_password,omitempty" doc:"Needed by who is no administrator, for the own password"`
}

// UserChange is the body of PATCH /users/{name}.
type UserChange struct {
	Enabled *bool `json:"enabled,omitempty" doc:"false locks the user out, tokens included; true lets it in again"`
}

type passwordInput struct {
	Name string `path:"name"`
	Body NewPassword
}

type userChangeInput struct {
	Name string `path:"name"`
	Conditions
	Body UserChange
}

// GetUserInput names a user.
type GetUserInput struct {
	Name string `path:"name"`
	Conditions
}

type deleteUserInput struct {
	GetUserInput
	Try
}

type listUsersInput struct {
	Name    string `query:"name" maxLength:"128" doc:"Only those with this in their name"`
	Enabled string `query:"enabled" enum:"true,false" doc:"Only those that may log in, or that are locked out"`
	Sort    string `query:"sort" enum:"name,-name" default:"name" doc:"Order; with - backwards"`
	ListInput
}

func (a *API) registerUsers() {
	operation(a, huma.Operation{
		OperationID: "list-users", Method: http.MethodGet, Path: "/users", Tags: []string{"users"}, Summary: "List the users",
	}, a.listUsers)
	operation(a, huma.Operation{
		OperationID: "create-user", Method: http.MethodPost, Path: "/users", DefaultStatus: http.StatusCreated, Tags: []string{"users"},
		Summary: "Create a user; grants are declared with groups",
	}, a.createUser)
	operation(a, huma.Operation{
		OperationID: "set-password", Method: http.MethodPut, Path: "/users/{name}/password", Tags: []string{"users"},
		Summary: "Set a user's password, or the own one",
	}, a.setPassword)
	operation(a, huma.Operation{
		OperationID: "change-user", Method: http.MethodPatch, Path: "/users/{name}", Tags: []string{"users"},
		Summary: "Disable or enable a user",
	}, a.changeUser)
	operation(a, huma.Operation{
		OperationID: "get-user", Method: http.MethodGet, Path: "/users/{name}", Tags: []string{"users"},
		Summary: "Read a user; others than oneself take an administrator",
	}, a.getUser)
	operation(a, removes(a, huma.Operation{
		OperationID: "delete-user", Method: http.MethodDelete, Path: "/users/{name}", Tags: []string{"users"},
		Summary: "Delete a user with its grants, tokens and sessions", Description: "Events keep the id, which no other account ever gets.",
	}), a.deleteUser)
}

func (a *API) listUsers(ctx context.Context, in *listUsersInput) (*page[User], error) {
	if err := a.may(ctx, access.Administer, ""); err != nil {
		return nil, err
	}
	accounts, err := a.Directory.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	items := []User{}
	for _, u := range accounts {
		if strings.Contains(u.Name, in.Name) && (in.Enabled == "" || in.Enabled == strconv.FormatBool(!u.Disabled)) {
			items = append(items, user(u))
		}
	}
	return pageOf(ctx, in.ListInput, in.Sort, items, func(u User) string { return u.Name })
}

// named finds a user for an administrator, or for the user itself; others do not learn whether it exists.
func (a *API) named(ctx context.Context, name string) (access.Account, error) {
	caller := callerFrom(ctx)
	if err := a.mayAbout(ctx, caller.Kind == access.User && caller.Name == name); err != nil {
		return access.Account{}, err
	}
	return a.Directory.Account(ctx, name)
}

func (a *API) getUser(ctx context.Context, in *GetUserInput) (*tagged[User], error) {
	u, err := a.named(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	out := user(u)
	if err := in.read(etag(out)); err != nil {
		return nil, err
	}
	return &tagged[User]{etag(out), out}, nil
}

func (a *API) deleteUser(ctx context.Context, in *deleteUserInput) (*changed, error) {
	if err := a.may(ctx, access.Administer, ""); err != nil {
		return nil, err
	}
	u, err := a.Directory.Account(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	lost, err := a.losesUser(ctx, u)
	if err != nil {
		return nil, err
	}
	err = a.Directory.DeleteUser(ctx, a.tried(ctx, in.Try), u.ID, func(now *access.Account) error { return in.update(etag(user(*now))) })
	if errors.Is(err, access.ErrDryRun) {
		return planned(&plan.Plan{Changes: lost}), nil
	}
	return &changed{Status: http.StatusNoContent}, err
}

// losesUser is what goes with a user.
func (a *API) losesUser(ctx context.Context, u access.Account) ([]plan.Change, error) {
	grants, err := a.Directory.GrantsOf(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	out := []plan.Change{{Action: plan.Remove, Kind: "user", Name: u.Name, Note: "its grants go with it, and its tokens and sessions end"}}
	for _, g := range grants {
		out = append(out, plan.Change{
			Action: plan.Remove, Group: g.Group, Kind: plan.KindGrant, Name: strings.TrimSpace(g.User + " " + g.Path), Fields: []plan.Field{{Name: "role", Old: string(g.Role)}},
		})
	}
	return out, nil
}

func (a *API) createUser(ctx context.Context, in *body[NewUser]) (*body[User], error) {
	if err := a.may(ctx, access.Administer, ""); err != nil {
		return nil, err
	}
	u, err := a.Directory.CreateUser(ctx, a.actor(ctx), in.Body.Name, in.Body.Password)
	if err != nil {
		return nil, err
	}
	return &body[User]{user(u)}, nil
}

// setPassword lets administrators set any password. Everybody else proves to know the own one: whoever finds a token, or an
// open session, must not turn it into the account.
func (a *API) setPassword(ctx context.Context, in *passwordInput) (*struct{}, error) {
	caller := callerFrom(ctx)
	if a.may(ctx, access.Administer, "") != nil {
		if err := a.mayAbout(ctx, caller.ID != 0 && in.Name == caller.Name); err != nil {
			return nil, err
		}
		err := a.Directory.CheckPassword(ctx, caller.ID, in.Body.Old, caller.Address)
		if oci.ErrorCode(err) == oci.CodeUnauthorized {
			return nil, missing("old_password", "the old password is wrong")
		}
		if err != nil {
			return nil, err
		}
	}
	u, err := a.Directory.Account(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	return nil, a.Directory.SetPassword(ctx, a.actor(ctx), u.ID, in.Body.Password)
}

func (a *API) changeUser(ctx context.Context, in *userChangeInput) (*tagged[User], error) {
	if err := a.may(ctx, access.Administer, ""); err != nil {
		return nil, err
	}
	if in.Body.Enabled == nil {
		return nil, missing("enabled", "say true or false")
	}
	u, err := a.Directory.Account(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	err = a.Directory.SetDisabled(ctx, a.actor(ctx), u.ID, !*in.Body.Enabled, func(now *access.Account) error {
		u = *now
		return in.update(etag(user(u)))
	})
	if err != nil {
		return nil, err
	}
	u.Disabled = !*in.Body.Enabled
	return &tagged[User]{etag(user(u)), user(u)}, nil
}

func user(u access.Account) User {
	return User{ID: strconv.FormatInt(u.ID, 10), Name: u.Name, Enabled: !u.Disabled, HasPassword: u.HasPassword, CreatedAt: optional(u.CreatedAt)}
}
