package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Repository is a hosted or cached repository in a list.
type Repository struct {
	ID           string     `json:"id"`
	Name         string     `json:"name" doc:"Hosted: below the group. Cached: as its upstream names it"`
	Kind         string     `json:"kind" enum:"hosted,cached"`
	Upstream     string     `json:"upstream,omitempty" doc:"Of a cached one"`
	Paths        []string   `json:"paths" doc:"The names by which the caller may pull from it, as in docker pull, without the server's host; a cached one has one in each registry"`
	Format       string     `json:"format"`
	CreatedAt    time.Time  `json:"created_at"`
	LastPulledAt *time.Time `json:"last_pulled_at,omitempty" doc:"Missing when it never was; some seconds late"`
	Pulls        int64      `json:"pulls"`
}

// RepositoryDetail is a repository with what it holds.
type RepositoryDetail struct {
	Repository
	Tags        int64 `json:"tags"`
	Manifests   int64 `json:"manifests"`
	Bytes       int64 `json:"bytes" doc:"Of its configs and layers, each counted once"`
	UniqueBytes int64 `json:"unique_bytes" doc:"Of those, the bytes that no other repository of the group holds"`
	AtLeast     bool  `json:"at_least,omitempty" doc:"There is more than was counted: the four numbers are lower bounds"`
}

// RepositoryQuery is what GET /groups/{group}/repositories asks.
type RepositoryQuery struct {
	Group    string `path:"group" maxLength:"128" doc:"Name of the group"`
	Kind     string `query:"kind" enum:"hosted,cached" doc:"Only these"`
	Upstream string `query:"upstream" maxLength:"128" doc:"Only what is cached from this upstream"`
	Registry string `query:"registry" maxLength:"128" doc:"Only what is cached from the upstreams of this virtual registry, and not kept back by its rules"`
	Prefix   string `query:"prefix" maxLength:"255" doc:"Only names that begin so"`
	Sort     string `query:"sort" enum:"name,last_pulled_at,-last_pulled_at" default:"name" doc:"last_pulled_at begins with what nobody has pulled, or not for longest. By pulls, at most 10,000 repositories are sorted: prefix makes them fewer"`
	ListInput

	Caller Caller `json:"-"` // filled in by the API
	Behind int64  `json:"-"` // id of the last repository of the page before
}

// RepositoryPage is a page of repositories. Next, if not 0, is the last one looked at.
type RepositoryPage struct {
	Repositories []Repository
	Next         int64
}

// RepositoryRemoval is how a repository is deleted.
type RepositoryRemoval struct {
	DryRun bool   `query:"dry_run" doc:"Only tell what would go"`
	After  string `query:"after" maxLength:"512" doc:"next of the answer before: a large repository is deleted in parts"`
}

type deleteRepositoryInput struct {
	RepositoryInput
	Conditions
	RepositoryRemoval
}

type one[T any] struct {
	ETag string `header:"ETag"`
	Body T
}

func (a *API) registerRepositories() {
	operation(a, huma.Operation{
		OperationID: "list-repositories", Method: http.MethodGet, Path: "/groups/{group}/repositories", Tags: []string{"content"},
		Summary: "List the repositories of a group, hosted and cached",
		Description: "Lists those that the caller may pull from; who may configure the group sees all that is cached. " +
			"A page may hold fewer than asked for, even none, although a Link says that there are more.",
	}, a.listRepositories)
	operation(a, huma.Operation{
		OperationID: "get-repository", Method: http.MethodGet, Path: repositoryPath, Tags: []string{"content"},
		Summary: "Read what a repository holds", Description: repositoryNaming,
	}, a.getRepository)
	operation(a, huma.Operation{
		OperationID: "delete-repository", Method: http.MethodDelete, Path: repositoryPath, Tags: []string{"content"},
		Summary: "Delete a repository with everything in it",
		Description: repositoryNaming + " A hosted one loses its manifests with their tags, its blobs, its unfinished uploads and its name; who pushes meanwhile begins a new one, or is " +
			"refused. From then on a virtual registry may find the name at an upstream. A cached one is purged, and the next pull fetches it anew. A large one is " +
			"deleted in parts, one for each request. Conditions are about the ETag of a read of it, and count for the first part.",
	}, a.deleteRepository)
}

func (a *API) listRepositories(ctx context.Context, in *RepositoryQuery) (*page[Repository], error) {
	order := in.Sort + " " + in.Prefix
	key, err := in.start(order, 1)
	if err != nil {
		return nil, err
	}
	if key != nil {
		if in.Behind, err = strconv.ParseInt(key[0], 10, 64); err != nil {
			return nil, WrongQuery("after", "not from a page of this list: begin again without after")
		}
	}
	in.Caller = callerFrom(ctx)
	found, err := a.Content.Repositories(ctx, *in)
	if err != nil {
		return nil, err
	}
	return newPage(ctx, found.Repositories, found.Next != 0, order, id(found.Next)), nil
}

func (a *API) getRepository(ctx context.Context, in *struct {
	RepositoryInput
	Conditions
}) (*one[RepositoryDetail], error) {
	out, err := a.Content.Repository(ctx, in.place(ctx))
	if err != nil {
		return nil, err
	}
	tag := etag(out)
	if err := in.read(tag); err != nil {
		return nil, err
	}
	return &one[RepositoryDetail]{tag, out}, nil
}

func (a *API) deleteRepository(ctx context.Context, in *deleteRepositoryInput) (*body[Purged], error) {
	at := in.place(ctx)
	if in.After == "" && (in.IfMatch != "" || in.IfNoneMatch != "") {
		now, err := a.Content.Repository(ctx, at)
		if err != nil {
			return nil, err
		}
		if err := in.update(etag(now)); err != nil {
			return nil, err
		}
	}
	out, err := a.Content.DeleteRepository(ctx, at, in.RepositoryRemoval)
	if err != nil {
		return nil, err
	}
	out.DryRun = in.DryRun
	return &body[Purged]{out}, nil
}
