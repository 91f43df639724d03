package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/plan"
)

// Robot is an account of a group that logs in with tokens alone.
type Robot struct {
	ID        string     `json:"id,omitempty" readOnly:"true"`
	Name      string     `json:"name,omitempty" doc:"Lower-case letters and digits with single separators; robots and trust rules of a group share names"`
	Enabled   *bool      `json:"enabled,omitempty" doc:"Default true. Off, its tokens are refused"`
	Grants    []Given    `json:"grants,omitzero" nullable:"false" doc:"What it may"`
	CreatedAt *time.Time `json:"created_at,omitempty" readOnly:"true"`
	UpdatedAt *time.Time `json:"updated_at,omitempty" readOnly:"true"`
}

// Given is a role at a path of the group.
type Given struct {
	Path string `json:"path,omitempty" maxLength:"255" doc:"Below the group; empty: all of it"`
	Role string `json:"role" maxLength:"128" doc:"reader, developer, maintainer, owner, or a role that the group or the instance has made"`
}

func describeRobot(m access.Machine) Robot {
	enabled := !m.Disabled
	return Robot{
		ID: id(m.ID), Name: m.Name, Enabled: &enabled, Grants: describeGiven(m.Grants), CreatedAt: optional(m.CreatedAt), UpdatedAt: optional(m.UpdatedAt),
	}
}

func describeGiven(grants []access.Given) []Given {
	out := make([]Given, len(grants))
	for i, g := range grants {
		out[i] = Given{g.Path, string(g.Role)}
	}
	return out
}

func machine(group int64, name string, enabled *bool, grants []Given) access.Machine {
	m := access.Machine{GroupID: group, Name: name, Disabled: enabled != nil && !*enabled}
	for _, g := range grants {
		m.Grants = append(m.Grants, access.Given{Path: g.Path, Role: access.Role(g.Role)})
	}
	return m
}

func (a *API) robots() *owned[Robot] {
	return &owned[Robot]{
		one: "robot", many: "robots", segment: "robots", kind: plan.KindRobot, see: access.Own, key: func(v Robot) string { return v.Name },
		named: func(v *Robot, name string) string { return fixed(&v.Name, name, "name") },
		strip: func(v *Robot) { v.ID, v.CreatedAt, v.UpdatedAt = "", nil, nil },
		list: func(ctx context.Context, group int64) ([]Robot, error) {
			robots, err := a.Directory.Robots(ctx, group)
			out := make([]Robot, len(robots))
			for i, m := range robots {
				out[i] = describeRobot(m)
			}
			return out, err
		},
		get: func(ctx context.Context, group int64, name string) (Robot, error) {
			m, err := a.Directory.Robot(ctx, group, name)
			return describeRobot(m), err
		},
		put: func(ctx context.Context, by access.Actor, group int64, v Robot, check func(*Robot) error) (Robot, error) {
			m, err := a.Directory.PutRobot(ctx, by, machine(group, v.Name, v.Enabled, v.Grants), adapt(check, describeRobot))
			return describeRobot(m), err
		},
		remove: func(ctx context.Context, by access.Actor, group int64, name string, check func(*Robot) error) error {
			return a.Directory.DeleteRobot(ctx, by, group, name, adapt(check, describeRobot))
		},
		loses: func(v Robot) ([]plan.Field, string) { return losesGrants(v.Grants) },
		gives: func(ctx context.Context, group string, v Robot) error { return a.gives(ctx, group, v.Grants) },
	}
}

// RobotInput names a robot.
type RobotInput struct {
	Group string `path:"group" maxLength:"128" doc:"Name of the group"`
	Name  string `path:"name" maxLength:"128" doc:"Name of the robot"`
}

// RobotTokenInput names a token of a robot.
type RobotTokenInput struct {
	RobotInput
	ID string `path:"id" maxLength:"20"`
}

type robotTokensInput struct {
	RobotInput
	TokenState
	ListInput
}

type newRobotTokenInput struct {
	RobotInput
	Body RobotTokenRequest
}

// RobotTokenRequest is a token to make for a robot.
type RobotTokenRequest struct {
	Name      string          `json:"name" minLength:"1" maxLength:"128"`
	ExpiresAt *time.Time      `json:"expires_at,omitempty" doc:"Default: never"`
	Limit     *access.Ceiling `json:"limit,omitempty" doc:"What the token is limited to: a part of the robot's grants; default: all of them"`
}

type rotateRobotTokenInput struct {
	RobotTokenInput
	Body Rotation
}

// registerRobots declares robots and their tokens.
func (a *API) registerRobots() {
	k := a.robots()
	listedOwned[Robot, robotFilters](a, k)
	k.register(a)
	all, tags := "/groups/{group}/robots/{name}/tokens", []string{"robots"}
	operation(a, huma.Operation{
		OperationID: "list-robot-tokens", Method: http.MethodGet, Path: all, Tags: tags, Summary: "List the tokens of a robot, revoked and expired ones included",
	}, func(ctx context.Context, in *robotTokensInput) (*page[Token], error) {
		owner, err := a.robot(ctx, in.RobotInput)
		if err != nil {
			return nil, err
		}
		return a.tokenPage(ctx, owner, in.State, in.ListInput)
	})
	operation(a, huma.Operation{
		OperationID: "create-robot-token", Method: http.MethodPost, Path: all, Tags: tags, DefaultStatus: http.StatusCreated, Summary: "Make a token for a robot",
	}, func(ctx context.Context, in *newRobotTokenInput) (*body[NewToken], error) {
		owner, err := a.robot(ctx, in.RobotInput)
		if err != nil {
			return nil, err
		}
		return a.makeToken(ctx, owner, in.Body.Name, in.Body.ExpiresAt, in.Body.Limit)
	})
	operation(a, huma.Operation{
		OperationID: "revoke-robot-token", Method: http.MethodDelete, Path: all + "/{id}", Tags: tags, Summary: "Revoke a token of a robot",
	}, func(ctx context.Context, in *RobotTokenInput) (*struct{}, error) {
		owner, err := a.robot(ctx, in.RobotInput)
		if err != nil {
			return nil, err
		}
		return nil, a.endToken(ctx, owner, in.ID)
	})
	operation(a, huma.Operation{
		OperationID: "rotate-robot-token", Method: http.MethodPost, Path: all + "/{id}/rotate", Tags: tags, DefaultStatus: http.StatusCreated,
		Summary: "Make the token that follows one of a robot", Description: rotationText,
	}, func(ctx context.Context, in *rotateRobotTokenInput) (*body[NewToken], error) {
		owner, err := a.robot(ctx, in.RobotInput)
		if err != nil {
			return nil, err
		}
		return a.rotateToken(ctx, owner, in.ID, in.Body)
	})
}

// robot finds a robot for a caller who owns its group, as the owner of tokens. Whoever makes a token can use it, and so must have all
// that the robot has.
func (a *API) robot(ctx context.Context, in RobotInput) (access.Account, error) {
	k := a.robots()
	group, err := k.owner(ctx, a, in.Group)
	if err != nil {
		return access.Account{}, err
	}
	m, err := a.Directory.Robot(ctx, group, in.Name)
	if err != nil {
		return access.Account{}, k.problem(err)
	}
	if err := a.gives(ctx, in.Group, describeGiven(m.Grants)); err != nil {
		return access.Account{}, err
	}
	return access.Account{ID: m.ID, Name: in.Group + "/" + m.Name}, nil
}
