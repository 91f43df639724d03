package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
)

// PurgeTarget is what a purge takes out of a cache.
type PurgeTarget struct {
	Repository string `json:"repository,omitempty" maxLength:"255" doc:"One repository, as the upstream names it; without it everything from the upstream"`
	Reference  string `json:"reference,omitempty" maxLength:"135" doc:"One tag or digest of the repository"`
	After      string `json:"after,omitempty" maxLength:"512" doc:"next of the answer before: a large cache is purged in parts"`

	Group, Upstream string `json:"-"` // filled in by the API
	DryRun          bool   `json:"-"`
	Caller          Caller `json:"-"`
}

// Purged is what a purge took, or would take.
type Purged struct {
	DryRun       bool   `json:"dry_run,omitempty"`
	Repositories int64  `json:"repositories" doc:"That were looked at"`
	Tags         int64  `json:"tags"`
	Manifests    int64  `json:"manifests"`
	Bytes        int64  `json:"bytes" doc:"That nothing of the group holds any more. The collector takes them off the disk, unless another group holds them too"`
	InUse        int64  `json:"in_use" doc:"Manifests pulled in the last ten minutes: their tags went, and they go ten minutes later, whoever pulls them until then"`
	AtLeast      bool   `json:"at_least,omitempty" doc:"A dry run stopped counting: the numbers are lower bounds"`
	Next         string `json:"next,omitempty" doc:"This was a part: repeat the request with this as after until it is missing, and add up. What was purged is purged"`
}

// deleted answers the deletion of a tag or a manifest: 204, or 202 for what is cached and in use, which goes later; 200 if it was only tried.
type deleted struct {
	Status int
	Body   *Purged
}

func deletion(p Purged, err error, dryRun bool) (*deleted, error) {
	switch {
	case err != nil:
		return nil, err
	case dryRun:
		p.DryRun = true
		return &deleted{http.StatusOK, &p}, nil
	case p.InUse > 0:
		return &deleted{http.StatusAccepted, &p}, nil
	}
	return &deleted{Status: http.StatusNoContent}, nil
}

// deletes declares the answers of deletion.
func deletes(a *API, op huma.Operation) huma.Operation {
	op.DefaultStatus = http.StatusAccepted
	op.Responses = map[string]*huma.Response{
		"200": answer("With dry_run: what would go", schemaOf[Purged](a)),
		"202": {Description: "Of a cached one: its tags are gone. What was pulled in the last ten minutes is served by its digest for ten more, and then goes too"},
		"204": {Description: "Gone"},
	}
	op.Description += " What was pulled in the last ten minutes may belong to a pull under way: it goes ten minutes later, and the answer is 202 with `in_use`."
	return op
}

// CopyRequest is the body of a copy. Both images are named as in docker pull, with or without this server's host.
type CopyRequest struct {
	Source    string   `json:"source" maxLength:"512" doc:"Image to copy, hosted or of a virtual registry: acme/hub/library/alpine:3.20" example:"acme/hub/library/alpine:3.20"`
	Target    string   `json:"target" maxLength:"512" doc:"Where to: a hosted repository of the group and a tag. Without a tag, that of the source; with none there either, the copy has no tag" example:"acme/base/alpine:3.20"`
	Referrers *bool    `json:"referrers,omitempty" default:"true" doc:"Copy signatures, attestations and what else refers to it, too"`
	Progress  bool     `json:"progress,omitempty" doc:"Answer JSON lines that tell about once a second how far it is, and at the end what was copied"`
	Platforms []string `json:"platforms,omitempty" maxItems:"50" doc:"Of an index, only these manifests: os/architecture or os/architecture/variant. What the image does not have is refused. The index stays as it is, so the target must allow sparse indexes, or have the others"`

	Group  string `json:"-"` // filled in by the API
	DryRun bool   `json:"-"`
	Caller Caller `json:"-"`
}

// Copied is what a copy did, or would do.
type Copied struct {
	DryRun    bool     `json:"dry_run,omitempty" doc:"Nothing was copied: manifests, blobs and referrers are what would be; what would have to be fetched for that is not known"`
	Source    string   `json:"source"`
	Target    string   `json:"target"`
	Digest    string   `json:"digest" doc:"Of the image, the same at both ends"`
	Manifests int      `json:"manifests" doc:"That the target now holds of it, with referrers; those that were there already are counted too"`
	Blobs     int      `json:"blobs" doc:"That are linked in the target"`
	Bytes     int64    `json:"bytes" doc:"Of these blobs"`
	Fetched   int      `json:"fetched,omitempty" doc:"Of these, how many had to be fetched from the upstream first"`
	Referrers []string `json:"referrers,omitempty" doc:"Digests of the referrers that were copied"`
}

// CopyLine is one line of the answer to a copy whose progress is wanted: how far it is, or at the end what was copied, or the problem.
type CopyLine struct {
	Progress *CopyProgress    `json:"progress,omitempty"`
	Copied   *Copied          `json:"copied,omitempty"`
	Problem  *huma.ErrorModel `json:"problem,omitempty"`
}

// CopyProgress is how far a copy is. What refers to the image adds to the totals when it is found.
type CopyProgress struct {
	Manifests      int   `json:"manifests"`
	TotalManifests int   `json:"total_manifests"`
	Blobs          int   `json:"blobs"`
	TotalBlobs     int   `json:"total_blobs"`
	Bytes          int64 `json:"bytes"`
	TotalBytes     int64 `json:"total_bytes"`
}

// EvaluateQuery asks which members of a virtual registry may answer for a reference.
type EvaluateQuery struct {
	Reference string `json:"reference" maxLength:"512" doc:"<repository>, <repository>:<tag> or <repository>@<digest>, as behind the registry's name" example:"library/alpine:3.20"`

	Group, Registry string `json:"-"` // filled in by the API
	Caller          Caller `json:"-"`
}

// Evaluation is the answer.
type Evaluation struct {
	Reference string    `json:"reference"`
	Allowed   bool      `json:"allowed" doc:"The registry is on, and some member may answer. Whether one has it, explain tells"`
	Why       string    `json:"why,omitempty" doc:"What keeps every member from answering"`
	Members   []Verdict `json:"members"`
}

// Verdict is what rules and claims say of one member.
type Verdict struct {
	Member     string `json:"member"`
	Local      bool   `json:"local,omitempty"`
	Repository string `json:"repository" doc:"The member's own name of it"`
	Allowed    bool   `json:"allowed"`
	Verdict    string `json:"verdict" enum:"may_answer,off,other_host,claimed,rule"`
	Why        string `json:"why,omitempty" doc:"The rule that keeps it from answering"`
	ClaimedBy  string `json:"claimed_by,omitempty" doc:"The member that owns the name"`
}

func (a *API) registerContentActions() {
	operation(a, huma.Operation{
		OperationID: "purge", Method: http.MethodPost, Path: "/groups/{group}/upstreams/{upstream}/purge", Tags: []string{"content"},
		Summary: "Take content out of an upstream's cache: all of it, one repository, or one tag or digest",
		Description: "The next pull fetches it anew. Pulls under way are not disturbed. A large cache is purged in parts, one for each request. " +
			"It takes the right to configure the group.",
	}, a.purge)
	operation(a, streams[Copied, CopyLine](a, huma.Operation{
		OperationID: "copy", Method: http.MethodPost, Path: "/groups/{group}/copy", Tags: []string{"content"},
		Summary: "Copy an image into a hosted repository, without moving bytes",
		Description: "Digests stay what they are; an index is copied with its images, and by default with what refers to them. What of a cached " +
			"image is not here is fetched through its cache first. The tag moves last, so that it never names half an image; repeating a copy does " +
			"no harm. It takes the right to pull the source and to push to the target.",
	}), a.copy)
	operation(a, huma.Operation{
		OperationID: "evaluate", Method: http.MethodPost, Path: "/groups/{group}/registries/{registry}/evaluate", Tags: []string{"resolution"},
		Summary: "Tell by which rules and claims a reference is allowed or denied, for each member of a virtual registry", Description: "No upstream is asked.",
	}, a.evaluate)
}

func (a *API) purge(ctx context.Context, in *struct {
	Group    string `path:"group" maxLength:"128" doc:"Name of the group"`
	Upstream string `path:"upstream" maxLength:"128" doc:"Name of the upstream"`
	DryRun   bool   `query:"dry_run" doc:"Only tell what would go"`
	Body     PurgeTarget
}) (*body[Purged], error) {
	if err := a.do(ctx, access.Configure, in.Group); err != nil {
		return nil, err
	}
	t := in.Body
	t.Group, t.Upstream, t.DryRun, t.Caller = in.Group, in.Upstream, in.DryRun, callerFrom(ctx)
	if t.Reference != "" && t.Repository == "" {
		return nil, WrongBody("repository", "name the repository that the reference is of")
	}
	out, err := a.Content.Purge(ctx, t)
	if err != nil {
		return nil, err
	}
	out.DryRun = t.DryRun
	return &body[Purged]{out}, nil
}

func (a *API) copy(ctx context.Context, in *struct {
	Group  string `path:"group" maxLength:"128" doc:"Name of the group of the target"`
	DryRun bool   `query:"dry_run" doc:"Only check, and tell what would be copied. Manifests of a cached image are fetched for that"`
	Body   CopyRequest
}) (*huma.StreamResponse, error) {
	r := in.Body
	r.Group, r.DryRun, r.Caller = in.Group, in.DryRun, callerFrom(ctx)
	if !r.Progress {
		out, err := a.Content.Copy(ctx, r, nil)
		return whole(a, out), err
	}
	var out Copied
	return stream(ctx, a, func(tell func(CopyLine)) (err error) {
		out, err = a.Content.Copy(ctx, r, func(p CopyProgress) { tell(CopyLine{Progress: &p}) })
		return err
	}, func(p *huma.ErrorModel) CopyLine {
		if p != nil {
			return CopyLine{Problem: p}
		}
		return CopyLine{Copied: &out}
	})
}

func (a *API) evaluate(ctx context.Context, in *struct {
	Group    string `path:"group" maxLength:"128" doc:"Name of the group"`
	Registry string `path:"registry" maxLength:"128" doc:"Name of the virtual registry"`
	Body     EvaluateQuery
}) (*body[Evaluation], error) {
	if err := a.see(ctx, in.Group); err != nil {
		return nil, err
	}
	q := in.Body
	q.Group, q.Registry, q.Caller = in.Group, in.Registry, callerFrom(ctx)
	out, err := a.Content.Evaluate(ctx, q)
	if err != nil {
		return nil, err
	}
	return &body[Evaluation]{out}, nil
}
