package store

import (
	"context"
	"fmt"
	"strconv"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Problem is something that must not be.
type Problem struct {
	Kind    string // one of the Problem… constants, or a kind of the caller that compares rows with bytes
	Subject string // what it is about: <repository>@<digest>, <repository>:<tag>, a digest or a key
	Detail  string
	Warning bool // can be the result of a request: an index whose child somebody deleted by digest, or pushed without
}

// Kinds of problem that CheckRows reports.
const (
	ProblemTag      = "tag-without-manifest"
	ProblemLink     = "link-without-blob"
	ProblemPayload  = "manifest-payload"      // its digest or size is not that of its row
	ProblemBlob     = "reference-to-no-blob"  // hosted manifest, config or layer not linked
	ProblemManifest = "reference-to-no-child" // hosted index, child not in the repository
	ProblemDoomed   = "doomed-key-in-use"     // a key to be deleted is a blob's key
	ProblemCached   = "cached-bytes"          // the sum kept of the cache's size is not that of its blobs
	ProblemUnlinked = "blob-without-link"     // no repository links it and no review is due: its bytes would stay for ever
)

// maxProblems bounds how many problems of one kind are reported: a broken database would otherwise fill the memory.
const maxProblems = 1000

// CheckRows reads every row of the store and reports what breaks its promises, at most 1000 problems of each kind. It changes
// nothing and may run while the server serves: each finding comes from one query, so from one state of the rows.
func (s *Store) CheckRows(ctx context.Context, report func(Problem)) error {
	for _, check := range []func(context.Context, func(Problem)) error{
		s.checkTags, s.checkLinks, s.checkReferences, s.checkKeys, s.checkPayloads,
	} {
		if err := check(ctx, report); err != nil {
			return fmt.Errorf("check rows: %w", err)
		}
	}
	return nil
}

func (s *Store) checkTags(ctx context.Context, report func(Problem)) error {
	rows, err := s.db.Read().CheckTags(ctx, maxProblems)
	for _, row := range rows {
		report(Problem{
			Kind: ProblemTag, Subject: s.nameOf(ctx, row.RepositoryID, ":"+row.Name),
			Detail: "there is no manifest " + digestText(row.Digest),
		})
	}
	return err
}

func (s *Store) checkLinks(ctx context.Context, report func(Problem)) error {
	links, err := s.db.Read().CheckLinks(ctx, maxProblems)
	if err != nil {
		return err
	}
	for _, row := range links {
		report(Problem{Kind: ProblemLink, Subject: s.nameOf(ctx, row.RepositoryID, "@"+digestText(row.Digest)), Detail: "there is no such blob"})
	}
	unlinked, err := s.db.Read().CheckUnlinked(ctx, maxProblems)
	for _, digest := range unlinked {
		report(Problem{Kind: ProblemUnlinked, Subject: digestText(digest), Detail: "no repository links it and no review is due"})
	}
	if err != nil {
		return err
	}
	cached, err := s.db.Read().CheckCachedBytes(ctx)
	if err == nil && cached.Kept != cached.Counted {
		report(Problem{Kind: ProblemCached, Subject: "cache", Detail: fmt.Sprintf("%d bytes are kept as the sum of %d", cached.Kept, cached.Counted)})
	}
	return err
}

func (s *Store) checkReferences(ctx context.Context, report func(Problem)) error {
	rows, err := s.db.Read().CheckReferences(ctx, maxProblems)
	for _, row := range rows {
		p := Problem{Kind: ProblemBlob, Subject: s.nameOf(ctx, row.RepositoryID, "@"+digestText(row.Parent)), Detail: row.Kind + " " + digestText(row.Child)}
		if row.Kind == refManifest {
			p.Kind, p.Warning = ProblemManifest, true
		}
		report(p)
	}
	return err
}

func (s *Store) checkKeys(ctx context.Context, report func(Problem)) error {
	keys, err := s.db.Read().CheckDoomed(ctx, maxProblems)
	for _, key := range keys {
		report(Problem{Kind: ProblemDoomed, Subject: key, Detail: "it would be deleted although a blob's row names it"})
	}
	return err
}

func (s *Store) checkPayloads(ctx context.Context, report func(Problem)) error {
	for after := int64(0); ; {
		ids, err := s.db.Read().CheckRepositoryPage(ctx, query.CheckRepositoryPageParams{After: after, N: 1000})
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			if err := s.checkPayloadsOf(ctx, id, report); err != nil {
				return err
			}
		}
		after = ids[len(ids)-1]
	}
}

func (s *Store) checkPayloadsOf(ctx context.Context, repository int64, report func(Problem)) error {
	after := query.CheckManifestPageParams{RepositoryID: repository, After: []byte{}, N: 16} // a payload may have 4 MiB
	for {
		rows, err := s.db.Read().CheckManifestPage(ctx, after)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, row := range rows {
			if detail := payloadFault(row); detail != "" {
				report(Problem{Kind: ProblemPayload, Subject: s.nameOf(ctx, repository, "@"+digestText(row.Digest)), Detail: detail})
			}
		}
		after.After = rows[len(rows)-1].Digest
	}
}

func payloadFault(row query.CheckManifestPageRow) string {
	want, err := oci.DigestFromBytes(row.Digest)
	switch {
	case err != nil:
		return "the row's digest is malformed"
	case oci.DigestOf(want.Algorithm(), row.Payload) != want:
		return "the payload has digest " + string(oci.DigestOf(want.Algorithm(), row.Payload))
	case int64(len(row.Payload)) != row.Size:
		return fmt.Sprintf("the payload has %d bytes, the row says %d", len(row.Payload), row.Size)
	}
	return ""
}

// nameOf names something in a repository as people do: acme/team/app:1.0, or library/app:1.0 of upstream acme/hub. A repository that is
// gone, or cannot be read, is a number: the problem is told all the same.
func (s *Store) nameOf(ctx context.Context, repository int64, reference string) string {
	number := "repository " + strconv.FormatInt(repository, 10) + reference
	r, err := s.db.Read().GetRepository(ctx, repository)
	if err != nil {
		return number
	}
	group, err := s.db.Read().GetGroup(ctx, r.GroupID)
	if err != nil {
		return number
	}
	if r.UpstreamID == 0 {
		return group.Name + "/" + r.Name + reference
	}
	upstreams, err := s.db.Read().ListUpstreams(ctx, query.ListUpstreamsParams{GroupID: r.GroupID, GroupID_2: r.GroupID})
	for _, u := range upstreams {
		if err == nil && u.ID == r.UpstreamID {
			return r.Name + reference + " of upstream " + group.Name + "/" + u.Name
		}
	}
	return r.Name + reference + " of an upstream of " + group.Name + " that is gone"
}
