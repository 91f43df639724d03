package growth

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob/mem"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

const small = 660 // artifacts: enough for every shape, and for a large repository beside small ones

func generate(t *testing.T, db *meta.DB, artifacts int) *Store {
	t.Helper()
	made, err := Generate(t.Context(), db, Options{Artifacts: artifacts, Seed: 1, Now: time.Now(), Progress: func(int, int) {}})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func open(t *testing.T, db *meta.DB) *store.Store {
	t.Helper()
	s := store.New(db, mem.New(mem.Options{}), store.Options{})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

func TestGeneratedStoreIsSound(t *testing.T) {
	var names [2][]string
	for i, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			db := metatest.Open(t, engine)
			made := generate(t, db, small)
			s := open(t, db)
			if err := s.CheckRows(t.Context(), func(p store.Problem) { t.Errorf("%s %s: %s", p.Kind, p.Subject, p.Detail) }); err != nil {
				t.Fatal(err)
			}
			if made.Links < 13*small || made.Links > 15*small {
				t.Errorf("%d links of %d artifacts", made.Links, small)
			}
			for _, r := range made.Repositories {
				names[i] = append(names[i], r.Name)
				tags, err := s.Tags(t.Context(), r.ID, "", len(r.Tags)+1)
				if err != nil || len(tags) != len(r.Tags) {
					t.Errorf("%s has %d tags, want %d, %v", r.Name, len(tags), len(r.Tags), err)
				}
				for n, tag := range r.Tags {
					got, err := s.Tag(t.Context(), r.ID, tag)
					if err == nil {
						_, err = s.Manifest(t.Context(), r.ID, got.Digest)
					}
					if err != nil || got.Digest != r.Digest[n] {
						t.Errorf("%s:%s is %s, want %s, %v", r.Name, tag, got.Digest, r.Digest[n], err)
					}
				}
			}
		})
	}
	if diff := cmp.Diff(names[0], names[1]); diff != "" && len(names[1]) > 0 {
		t.Errorf("the same seed made other content:\n%s", diff)
	}
}

// TestQueryPlansWithRows asks again with rows and statistics, which lead planners to other plans than without.
func TestQueryPlansWithRows(t *testing.T) {
	// What a request of the distribution API, of a search or of those who look at content may ask.
	requests := []string{
		"FindRepository", "GetTag", "GetManifest", "GetLinkedBlob", "GetBlob", "GetReference", "IsReferenced", "FindCachedBlob", "IsCached",
		"ListTags", "ListReferrers", "ListReferrersOfType", "ListTagsOf", "IsTagged", "GetList", "GetAdmission", "NewestTagAdmission",
		"ListMissingBlobs", "ListMissingManifests", "ListChildren", "ConfigIsNamed", "ListAwaitingTags", "StatManifest", "GetUpload",
		"UpsertTag", "ConfirmTag", "LinkBlob", "InsertManifest", "SetImageInfo", "DeleteLinkCandidates", "PutCandidate", "ListDueCandidates",
		"BrowseTags", "BrowseNewTags", "BrowseLinks", "BrowseRepository", "ListGroupLinks", "ListParents", "ListSizedReferences", "ListRepositoriesOf",
		"ListTagHistory", "GetPulls", "ListSomeTagsOf", "ListImages", "GetSize",
	}
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			o := metatest.Options(t, engine)
			db, err := meta.Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Generate(t.Context(), db, Options{Artifacts: small, Seed: 1, Now: time.Now(), Progress: func(int, int) {}})
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
			conn := metatest.Conn(t, o)
			asked := 0
			for _, s := range metatest.Statements(t) {
				if !slices.Contains(requests, s.Name) {
					continue
				}
				asked++
				plan, scans, err := metatest.Plan(t.Context(), conn, engine, s)
				if err != nil || len(scans) > 0 {
					t.Errorf("%s: %v\n%v\nplan: %v", s.Name, err, scans, plan)
				}
			}
			if asked != len(requests) {
				t.Errorf("%d of %d queries exist", asked, len(requests))
			}
		})
	}
}
