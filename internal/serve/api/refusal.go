package api

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/serve"
)

// noSuchGroup is what everybody is told of a group that is not there, or that he may not see.
const noSuchGroup = "there is no such group, or you may not see it"

// identified tells the access line and the trail who asks, and about which group.
func identified(ctx huma.Context, caller Caller) {
	info := serve.FromContext(ctx.Context())
	info.SetGroup(ctx.Param("group"))
	info.SetPrincipal(caller.Name)
	info.SetAccount(caller.ID, string(caller.Kind), caller.TokenID)
}

// turnedAway tells the trail why a request did not get to its operation. caller is known if a session or token was good, and there were too
// many requests with it.
func turnedAway(ctx huma.Context, caller Caller, err error, problem huma.StatusError) {
	if caller.ID != 0 {
		identified(ctx, caller)
	}
	told, _ := event.RefusalOf(err)
	told.Operation, told.Reason = ctx.Operation().OperationID, cmp.Or(told.Reason, problem.Error())
	serve.FromContext(ctx.Context()).Refuse(told)
}

// refused tells the trail of an operation that the caller may not use: what he tried, as far as it may be kept, and why not. A group that
// he may not see is refused like one that is not there, and told like it: by the name that he has given, and to nobody in the group.
func (a *API) refused(ctx context.Context, o *huma.Operation, err error, problem huma.StatusError) {
	told, _ := event.RefusalOf(err)
	switch status := problem.GetStatus(); {
	case status == http.StatusUnauthorized:
		told.Kind = cmp.Or(told.Kind, event.LoginRefused)
	case status == http.StatusForbidden, status == http.StatusNotFound && strings.HasPrefix(problem.Error(), noSuchGroup):
		told.Kind = event.APIDenied
		told.Path = a.about(ctx, o, told.Path)
	case told.Kind == "":
		return
	}
	told.Operation, told.Reason = o.OperationID, cmp.Or(told.Reason, problem.Error())
	serve.FromContext(ctx).Refuse(told)
}

// about is the subject of an operation that was refused: "<group>/<…>" if the caller may know the group, else a path of the API, which is no
// group's. asked is what access was asked for, which tells the group where the path does not.
func (a *API) about(ctx context.Context, o *huma.Operation, asked string) string {
	parts := a.opaque(ctx, o)
	if strings.HasPrefix(o.Path, "/groups/{group}") {
		if asked = strings.Join(parts[2:], "/"); a.knows(ctx, parts[2]) == nil {
			return asked
		}
		if !oci.ValidComponent(parts[2]) {
			return "/groups"
		}
		return "/groups/" + parts[2]
	}
	if group, _, _ := strings.Cut(asked, "/"); group != "" && a.knows(ctx, group) == nil {
		return asked
	}
	return strings.Join(parts, "/")
}

// longestPart bounds what is kept of a part of a path.
const longestPart = 255

// opaque are the parts of the request's path with people as their ids: what is kept in the trail must not name them.
func (a *API) opaque(ctx context.Context, o *huma.Operation) []string {
	template := strings.Split(o.Path, "/")
	out := make([]string, len(template))
	var sent []string
	if here, _ := ctx.Value(urlKey{}).(*url.URL); here != nil {
		sent = strings.Split(strings.TrimPrefix(here.EscapedPath(), Prefix), "/")
	}
	for i, part := range template {
		out[i] = part
		if !strings.HasPrefix(part, "{") || i >= len(sent) {
			continue
		}
		text, err := url.PathUnescape(sent[i])
		if err != nil {
			continue
		}
		if part == "{user}" || template[i-1] == "users" {
			text = a.accountID(ctx, text)
		}
		out[i] = strings.ToValidUTF8(text[:min(len(text), longestPart)], "")
	}
	return out
}

// accountID is the id of a user, "-" if nobody has the name.
func (a *API) accountID(ctx context.Context, name string) string {
	u, err := a.Directory.Account(ctx, name)
	if err != nil {
		return "-"
	}
	return strconv.FormatInt(u.ID, 10)
}
