package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/plan/desired"
)

// TrustRule lets workloads in by tokens of another issuer: CI jobs, services of a cluster.
type TrustRule struct {
	ID              string             `json:"id,omitempty" readOnly:"true"`
	Name            string             `json:"name,omitempty" doc:"Lower-case letters and digits with single separators; robots and trust rules of a group share names"`
	Enabled         *bool              `json:"enabled,omitempty" doc:"Default true"`
	Issuer          string             `json:"issuer,omitempty" maxLength:"1024" doc:"URL, exactly as the tokens have it as iss; its keys are found below it"`
	Audience        string             `json:"audience,omitempty" maxLength:"1024" doc:"What the tokens must have as aud: a name that stands for this server alone"`
	Conditions      []access.Condition `json:"conditions,omitempty" maxItems:"20" doc:"What the claims must be, all of it. A claim within another is written kubernetes.io/namespace; of a list one element must do"`
	Keys            desired.PEM        `json:"keys,omitempty" maxLength:"65536" doc:"The issuer's public keys as a JWKS; then it is never asked for them"`
	Grants          []Given            `json:"grants,omitzero" nullable:"false" doc:"What workloads may"`
	LifetimeSeconds int64              `json:"lifetime_seconds,omitempty" doc:"Of the tokens that an exchange gives: 60 to 86400; default 3600"`
	SingleUse       bool               `json:"single_use,omitempty" doc:"A token can be exchanged once, and is no password"`
	CreatedAt       *time.Time         `json:"created_at,omitempty" readOnly:"true"`
	UpdatedAt       *time.Time         `json:"updated_at,omitempty" readOnly:"true"`
}

func describeTrustRule(r access.TrustRule) TrustRule {
	enabled := !r.Disabled
	return TrustRule{
		ID: id(r.ID), Name: r.Name, Enabled: &enabled, Issuer: r.Issuer, Audience: r.Audience, Conditions: r.Conditions, Keys: desired.PEM(r.Keys),
		Grants: describeGiven(r.Grants), LifetimeSeconds: int64(r.Lifetime / time.Second), SingleUse: r.SingleUse,
		CreatedAt: optional(r.CreatedAt), UpdatedAt: optional(r.UpdatedAt),
	}
}

func (a *API) trustRules() *owned[TrustRule] {
	return &owned[TrustRule]{
		one: "trust rule", many: "trust rules", segment: "trust-rules", kind: plan.KindTrustRule, see: access.Own, key: func(v TrustRule) string { return v.Name },
		named: func(v *TrustRule, name string) string { return fixed(&v.Name, name, "name") },
		strip: func(v *TrustRule) { v.ID, v.CreatedAt, v.UpdatedAt = "", nil, nil },
		list: func(ctx context.Context, group int64) ([]TrustRule, error) {
			rules, err := a.Directory.TrustRules(ctx, group)
			out := make([]TrustRule, len(rules))
			for i, r := range rules {
				out[i] = describeTrustRule(r)
			}
			return out, err
		},
		get: func(ctx context.Context, group int64, name string) (TrustRule, error) {
			r, err := a.Directory.TrustRule(ctx, group, name)
			return describeTrustRule(r), err
		},
		put: func(ctx context.Context, by access.Actor, group int64, v TrustRule, check func(*TrustRule) error) (TrustRule, error) {
			r, err := a.Directory.PutTrustRule(ctx, by, trustRule(group, v), adapt(check, describeTrustRule))
			return describeTrustRule(r), err
		},
		remove: func(ctx context.Context, by access.Actor, group int64, name string, check func(*TrustRule) error) error {
			return a.Directory.DeleteTrustRule(ctx, by, group, name, adapt(check, describeTrustRule))
		},
		loses: func(v TrustRule) ([]plan.Field, string) { return losesGrants(v.Grants) },
		gives: func(ctx context.Context, group string, v TrustRule) error { return a.gives(ctx, group, v.Grants) },
	}
}

func trustRule(group int64, v TrustRule) access.TrustRule {
	life := min(max(v.LifetimeSeconds, -1), int64(access.MaxLifetime/time.Second)+1) // beyond is refused, and must not overflow
	return access.TrustRule{
		Machine: machine(group, v.Name, v.Enabled, v.Grants), Issuer: v.Issuer, Audience: v.Audience, Conditions: v.Conditions, Keys: string(v.Keys),
		Lifetime: time.Duration(life) * time.Second, SingleUse: v.SingleUse,
	}
}

type testTrustRuleInput struct {
	OneInput
	Body TrustTest
}

// TrustTest is the claims of a token to try on a trust rule.
type TrustTest struct {
	Claims map[string]any `json:"claims" doc:"What the token has, decoded: never send a token itself"`
}

// TrustVerdict is whether claims fulfil a trust rule.
type TrustVerdict struct {
	Matches bool     `json:"matches"`
	Enabled bool     `json:"enabled" doc:"False: the rule lets nobody in, whatever the claims"`
	Lacks   []string `json:"lacks" doc:"What the claims lack: each condition that fails, and what is wrong with their times"`
}

func (a *API) registerTrustRules() {
	k := a.trustRules()
	listedOwned[TrustRule, trustFilters](a, k)
	k.register(a)
	operation(a, huma.Operation{
		OperationID: "test-trust-rule", Method: http.MethodPost, Path: "/groups/{group}/trust-rules/{name}/test", Tags: []string{"trust-rules"},
		Summary: "Try claims on a trust rule", Description: "Changes nothing. Decides as an exchange does, but for the token's signature: its times are part of it.",
	}, func(ctx context.Context, in *testTrustRuleInput) (*body[TrustVerdict], error) {
		group, err := k.group(ctx, a, in.Group)
		if err != nil {
			return nil, err
		}
		r, err := a.Directory.TrustRule(ctx, group, in.Name)
		if err != nil {
			return nil, k.problem(err)
		}
		lacks := r.Test(in.Body.Claims, time.Now())
		if lacks == nil {
			lacks = []string{}
		}
		return &body[TrustVerdict]{TrustVerdict{Matches: len(lacks) == 0, Enabled: !r.Disabled, Lacks: lacks}}, nil
	})
}
