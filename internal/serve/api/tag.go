package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/oci"
)

// Tag is a tag with what it points to.
type Tag struct {
	Name         string        `json:"name"`
	Digest       string        `json:"digest"`
	MediaType    string        `json:"media_type"`
	ArtifactType string        `json:"artifact_type,omitempty"`
	Platform     string        `json:"platform,omitempty" doc:"os/architecture[/variant]; of an index, and where the config is not here, missing"`
	Size         int64         `json:"size" doc:"Bytes of the manifest with config and layers; of an index, with the images in it that are here"`
	ImageCreated *time.Time    `json:"image_created_at,omitempty" doc:"When the image says it was made"`
	CreatedAt    time.Time     `json:"created_at" doc:"When there first was such a tag"`
	UpdatedAt    time.Time     `json:"updated_at" doc:"When it last moved"`
	LastPulledAt *time.Time    `json:"last_pulled_at,omitempty" doc:"Of the manifest; missing when it never was"`
	Pulls        int64         `json:"pulls" doc:"Of the manifest"`
	Cached       *TagFreshness `json:"cached,omitempty" doc:"Of a cached tag"`
}

// TagFreshness is what is known of a cached tag.
type TagFreshness struct {
	Upstream  string     `json:"upstream"`
	FetchedAt time.Time  `json:"fetched_at" doc:"When the manifest came"`
	CheckedAt time.Time  `json:"checked_at" doc:"When the upstream last confirmed the tag"`
	Age       int64      `json:"age_seconds" doc:"Since then"`
	Class     string     `json:"freshness_class" doc:"Pattern of the freshness class that applies; default when none does"`
	FreshFor  string     `json:"fresh_for" doc:"A duration, forever or always"`
	ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"From then on a pull asks the upstream; missing when that never comes"`
	Stale     bool       `json:"stale" doc:"The next pull asks the upstream"`
}

// TagDetail is a tag with its last moves.
type TagDetail struct {
	Tag
	History     []TagMove `json:"history" doc:"Its last changes, the latest first, at most ten"`
	MoreHistory bool      `json:"more_history,omitempty"`
}

// TagMove is a change of a tag.
type TagMove struct {
	ID     string    `json:"id"`
	Digest string    `json:"digest,omitempty" doc:"Where it pointed from then on; missing when it was deleted"`
	At     time.Time `json:"at"`
	Actor  *TagMover `json:"actor,omitempty" doc:"Who moved it, in a cache by a pull; missing when the server did by itself, and for callers who may not view the group"`
}

// TagMover is who moved a tag.
type TagMover struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty" doc:"Missing once it was erased"`
}

// TagQuery is what a list of tags asks.
type TagQuery struct {
	RepositoryInput
	Prefix string `query:"prefix" maxLength:"128" doc:"Only tags that begin so"`
	Sort   string `query:"sort" enum:"name,-updated_at" default:"name" doc:"-updated_at begins with the tag that moved last"`
	ListInput

	At     Place    `json:"-"` // filled in by the API
	Behind TagPlace `json:"-"` // the last tag of the page before
}

// TagPlace is where a page of tags ends.
type TagPlace struct {
	Name      string
	UpdatedAt time.Time
}

type tagInput struct {
	RepositoryInput
	Tag string `path:"tag" maxLength:"128" doc:"Name of the tag"`
	Expected
}

type deleteTagInput struct {
	RepositoryInput
	Tag    string `path:"tag" maxLength:"128" doc:"Name of the tag"`
	DryRun bool   `query:"dry_run" doc:"Only tell what would go"`
	Conditions
}

func (a *API) registerTags() {
	operation(a, huma.Operation{
		OperationID: "list-tags", Method: http.MethodGet, Path: repositoryPath + "/tags", Tags: []string{"content"},
		Summary: "List the tags of a repository", Description: repositoryNaming + " Of a cached one, those that are here and that no rule keeps back.",
	}, a.listTags)
	operation(a, huma.Operation{
		OperationID: "get-tag", Method: http.MethodGet, Path: repositoryPath + "/tags/{tag}", Tags: []string{"content"},
		Summary: "Read a tag: what it points to, how fresh that is, and where it pointed before", Description: repositoryNaming + " The ETag is that of what it points to.",
	}, a.getTag)
	operation(a, huma.Operation{
		OperationID: "list-tag-history", Method: http.MethodGet, Path: repositoryPath + "/tags/{tag}/history", Tags: []string{"content"},
		Summary: "List the changes of a tag, the latest first", Description: repositoryNaming + " A tag that is gone has a history too.",
	}, a.listTagHistory)
	operation(a, deletes(a, huma.Operation{
		OperationID: "delete-tag", Method: http.MethodDelete, Path: repositoryPath + "/tags/{tag}", Tags: []string{"content"},
		Summary:     "Delete a tag",
		Description: repositoryNaming + " Of a hosted repository the manifest stays. Of a cached one what the tag points to goes too, as with purge, and the next pull fetches it anew.",
	}), a.deleteTag)
}

func (a *API) listTags(ctx context.Context, in *TagQuery) (*page[Tag], error) {
	order := in.Sort + " " + in.Prefix
	key, err := in.start(order, 2)
	if err != nil {
		return nil, err
	}
	if key != nil {
		us, err := strconv.ParseInt(key[1], 10, 64)
		if err != nil || !oci.ValidTag(key[0]) {
			return nil, WrongQuery("after", "not from a page of this list: begin again without after")
		}
		in.Behind = TagPlace{key[0], time.UnixMicro(us)}
	}
	in.At = in.place(ctx)
	tags, more, last, err := a.Content.Tags(ctx, *in)
	if err != nil {
		return nil, err
	}
	return newPage(ctx, tags, more, order, last.Name, id(last.UpdatedAt.UnixMicro())), nil
}

func (a *API) getTag(ctx context.Context, in *tagInput) (*one[TagDetail], error) {
	out, err := a.Content.Tag(ctx, in.place(ctx), in.Tag)
	if err != nil {
		return nil, err
	}
	tag, err := in.digestTag(out.Digest)
	if err != nil {
		return nil, err
	}
	return &one[TagDetail]{tag, out}, nil
}

func digestETag(digest string) string { return `"` + digest + `"` }

// Expected is the condition of a read of what is named by a digest. It is never answered by 304: what changes beside the digest, such as
// pulls and freshness, is what people read it for.
type Expected struct {
	IfMatch string `header:"If-Match" maxLength:"1024" doc:"Only if the present ETag is one of these; * means: only if it exists"`
}

// digestTag is the ETag of such a read.
func (c Expected) digestTag(digest string) (string, error) {
	return digestETag(digest), Conditions{IfMatch: c.IfMatch}.update(digestETag(digest))
}

func (a *API) listTagHistory(ctx context.Context, in *struct {
	RepositoryInput
	Tag string `path:"tag" maxLength:"128" doc:"Name of the tag"`
	ListInput
}) (*page[TagMove], error) {
	key, err := in.start("history", 1)
	if err != nil {
		return nil, err
	}
	var before int64
	if key != nil {
		if before, err = strconv.ParseInt(key[0], 10, 64); err != nil || before <= 0 {
			return nil, WrongQuery("after", "not from a page of this list: begin again without after")
		}
	}
	moves, err := a.Content.TagHistory(ctx, in.place(ctx), in.Tag, before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	if len(moves) <= in.Limit {
		return newPage(ctx, moves, false, "history"), nil
	}
	moves = moves[:in.Limit]
	return newPage(ctx, moves, true, "history", moves[in.Limit-1].ID), nil
}

func (a *API) deleteTag(ctx context.Context, in *deleteTagInput) (*deleted, error) {
	at := in.place(ctx)
	if in.IfMatch == "" && in.IfNoneMatch == "" {
		out, err := a.Content.DeleteTag(ctx, at, in.Tag, Removal{DryRun: in.DryRun})
		return deletion(out, err, in.DryRun)
	}
	now, err := a.Content.Tag(ctx, at, in.Tag)
	if err != nil {
		return nil, err
	}
	if err := in.update(digestETag(now.Digest)); err != nil {
		return nil, err
	}
	out, err := a.Content.DeleteTag(ctx, at, in.Tag, Removal{oci.Digest(now.Digest), in.DryRun})
	return deletion(out, err, in.DryRun)
}

// TagMoved is the error of a change to a tag that is not what the caller takes it for.
func TagMoved() error { return Conditions{IfMatch: "-"}.update("") }
