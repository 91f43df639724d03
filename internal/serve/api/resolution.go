package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

// Question is the body of POST /explain.
type Question struct {
	Image string `json:"image,omitempty" doc:"<group>/<registry>/<name>[:tag][@digest], as in docker pull, with or without this server's host"`
	As    string `json:"as,omitempty" doc:"Name of a user, or anonymous; default: the caller. Others are for who may configure the group"`
	Probe bool   `json:"probe,omitempty" doc:"Ask the upstreams (HEAD) instead of telling whom a pull would ask"`

	Caller Caller `json:"-"` // filled in by the API
}

// Explanation is the answer: what access says, and what the resolver says.
type Explanation struct {
	Image    string            `json:"image"`
	As       string            `json:"as" doc:"Whose pull it would be"`
	Allowed  bool              `json:"allowed"`
	Access   string            `json:"access" doc:"Why, or why not"`
	Kind     string            `json:"kind,omitempty" doc:"virtual, hosted or none: what the name leads to; missing where the caller may not know"`
	Status   int               `json:"status" doc:"HTTP status that the pull would get; 0 if that depends on upstreams not asked"`
	Message  string            `json:"message,omitempty"`
	Advice   string            `json:"advice,omitempty" doc:"What to do about a no"`
	Decision *virtual.Decision `json:"decision,omitempty" doc:"The members of a virtual registry and what becomes of each; without members for who may not configure the group"`
}

// RefreshTarget is the body of POST /refresh. Exactly one of the three is set.
type RefreshTarget struct {
	Image      string `json:"image,omitempty" doc:"One reference, as in explain"`
	Repository string `json:"repository,omitempty" doc:"<group>/<registry>/<name>: every cached tag of it"`
	Upstream   string `json:"upstream,omitempty" doc:"<group>/<upstream>: everything cached from it"`
	Progress   bool   `json:"progress,omitempty" doc:"Answer JSON lines that tell about once a second how far it is, and at the end what was refreshed"`

	Caller Caller `json:"-"` // filled in by the API
}

// Refreshed is what a refresh did.
type Refreshed struct {
	References int               `json:"references" doc:"How many were confirmed or fetched anew; for an upstream, where they are not counted, 0"`
	Kept       []Kept            `json:"kept,omitempty" doc:"Those that stay as they were because no upstream confirmed them"`
	Deferred   bool              `json:"deferred,omitempty" doc:"They are confirmed when they are next asked for"`
	Decision   *virtual.Decision `json:"decision,omitempty" doc:"For an image"`
}

// RefreshLine is one line of the answer to a refresh whose progress is wanted: how far it is, or at the end what was refreshed, or the problem.
type RefreshLine struct {
	Progress  *RefreshProgress `json:"progress,omitempty"`
	Refreshed *Refreshed       `json:"refreshed,omitempty"`
	Problem   *huma.ErrorModel `json:"problem,omitempty"`
}

// RefreshProgress is how far the refresh of a repository is.
type RefreshProgress struct {
	References      int `json:"references"`
	TotalReferences int `json:"total_references"`
}

// Kept is a reference that a refresh left as it was.
type Kept struct {
	Image  string `json:"image"`
	Reason string `json:"reason"`
}

func (a *API) registerResolution() {
	operation(a, huma.Operation{
		OperationID: "explain", Method: http.MethodPost, Path: "/explain", Tags: []string{"resolution"},
		Summary:     "Explain how a pull would be answered, and why",
		Description: "Who may configure the group sees all of the decision, for anybody's pull. Everybody may ask about a pull of his own, and is told what that pull would tell him.",
	}, a.explain)
	operation(a, streams[Refreshed, RefreshLine](a, huma.Operation{
		OperationID: "refresh", Method: http.MethodPost, Path: "/refresh", Tags: []string{"resolution"},
		Summary: "Confirm cached references with their upstreams although they are fresh",
	}), a.refresh)
}

func (a *API) explain(ctx context.Context, in *body[Question]) (*body[Explanation], error) {
	if in.Body.Image == "" {
		return nil, missing("image", "name the image, such as main/all/library/alpine:3.20")
	}
	in.Body.Caller = callerFrom(ctx)
	out, err := a.Explainer.Explain(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	return &body[Explanation]{out}, nil
}

func (a *API) refresh(ctx context.Context, in *body[RefreshTarget]) (*huma.StreamResponse, error) {
	t := in.Body
	var named []string
	for _, name := range []string{t.Image, t.Repository, t.Upstream} {
		if name != "" {
			named = append(named, name)
		}
	}
	if len(named) != 1 {
		return nil, missing("image", "name exactly one of image, repository and upstream")
	}
	if err := a.mayConfigureGroupOf(ctx, named[0]); err != nil {
		return nil, err
	}
	t.Caller = callerFrom(ctx)
	if !t.Progress {
		out, err := a.Refresher.Refresh(ctx, t, nil)
		return whole(a, out), err
	}
	var out Refreshed
	return stream(ctx, a, func(tell func(RefreshLine)) (err error) {
		out, err = a.Refresher.Refresh(ctx, t, func(p RefreshProgress) { tell(RefreshLine{Progress: &p}) })
		return err
	}, func(p *huma.ErrorModel) RefreshLine {
		if p != nil {
			return RefreshLine{Problem: p}
		}
		return RefreshLine{Refreshed: &out}
	})
}

// mayConfigureGroupOf lets through who may configure the group that name begins with. Where a host stands before the group, or instead of it, only an
// administrator may ask.
func (a *API) mayConfigureGroupOf(ctx context.Context, name string) error {
	group, _, _ := strings.Cut(name, "/")
	if !oci.ValidComponent(group) || strings.Contains(group, ".") {
		return a.may(ctx, access.Administer, "")
	}
	return a.may(ctx, access.Configure, group)
}
