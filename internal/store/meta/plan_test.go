package meta_test

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

var update = flag.Bool("update", false, "write testdata/plans.txt anew")

// scanning are the queries that may read a table from end to end, with the reason. No request asks any of the others, or one
// that reads "definitions", more often than it changes.
func scanning() map[string]string {
	out := map[string]string{}
	for reason, names := range map[string]string{
		"definitions are few, are held in memory, and are read when they change": `ListGroups ListCredentials ListUpstreams ListRegistries
			ListMembers ListRules ListHostedPrefixes ListHostBindings CountUpstreamUse CountRegistryUse AccessAccounts AccessUsers AccessGrants
			AccessRoles AccessTrustRules AccessGroups AccessSigningKeys CountAdmins RetireSigningKeys DeleteSigningKeys ListReplicas DeleteGroupGrants`,
		"sixteen rows": "SumCachedBytes",
		"the index has nothing but what is to be sealed":    "UnsealedEvents UnsealedPullBatches",
		"the index has nothing but what is to be handed on": "UnsentEvents UnsentPullBatches",
		"there is one, or a few after rotations":            "AuditKeys",
		"a check reads everything, in the background":       `CheckTags CheckLinks CheckReferences CheckDoomed CheckUnlinked CheckCachedBytes`,
		"the page begins with the first row in the index":   "ListColdManifests ListDoomedKeys",
		"a page, or the question whether there is anything": `HasContent IsAwaited ListGroupContent BrowseRepositories CountManifests CountTags ListHostedRepositories ListManifestDigests ListLinkDigests
			ListPulledSince ListRepositoryUploads DeleteRepositoryAdmissions DeleteRepositoryHistory`,
		"all of an empty repository": `DeleteRepositoryLists DeleteRepositoryCandidates DeleteGroupAdmissions DeleteGroupCandidates
			DeleteGroupHistory DeleteGroupRepositories`,
		"once in hours, in the background":                  "TrimTokens DeletePullsOfNoRepository",
		"the repositories of one group, by their last pull": "BrowseColdRepositories BrowseHotRepositories",
		"one row for each kind of job":                      "ListDueJobs ListJobs",
		"sorts what one manifest, tag or digest has":        "ListAdmissions SampleAdmissions",
	} {
		for name := range strings.FieldsSeq(names) {
			out[name] = reason
		}
	}
	return out
}

// TestQueryPlans is what keeps requests from slowing down as rows come: no query but those above reads a table from end to end,
// nor sorts what it then cuts off. The steps of every query on SQLite are in testdata/plans.txt, so that a review sees a
// plan that changes.
func TestQueryPlans(t *testing.T) {
	allowed := scanning()
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			o := metatest.Options(t, engine)
			conn := metatest.Conn(t, o)
			var all strings.Builder
			used := map[string]bool{}
			for _, s := range metatest.Statements(t) {
				plan, scans, err := metatest.Plan(t.Context(), conn, engine, s)
				if err != nil {
					t.Fatalf("%s: %v", s.Name, err)
				}
				if _, may := allowed[s.Name]; len(scans) > 0 && !may {
					t.Errorf("%s grows with the rows:\n  %s\nplan:\n  %s", s.Name, strings.Join(scans, "\n  "), strings.Join(plan, "\n  "))
				}
				used[s.Name] = true
				all.WriteString(s.Name + "\n    " + strings.Join(plan, "\n    ") + "\n")
			}
			for name := range allowed {
				if !used[name] {
					t.Errorf("%s is allowed to scan, but there is no such query", name)
				}
			}
			if engine == meta.SQLite {
				golden(t, "testdata/plans.txt", sorted(all.String()))
			}
		})
	}
}

// TestOthersDoNotShow holds the queries by which a repository is asked for a digest to beginning in that repository: what is not in it takes
// the same steps, whether or not another tenant holds it.
func TestOthersDoNotShow(t *testing.T) {
	doors := strings.Fields("GetLinkedBlob GetManifest StatManifest GetReference GetTag GetAdmission ListReferrers ListReferrersOfType")
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		conn := metatest.Conn(t, metatest.Options(t, engine))
		asked := 0
		for _, s := range metatest.Statements(t) {
			if !slices.Contains(doors, s.Name) {
				continue
			}
			asked++
			plan, _, err := metatest.Plan(t.Context(), conn, engine, s)
			if err != nil {
				t.Fatalf("%s: %v", s.Name, err)
			}
			first := slices.IndexFunc(plan, func(step string) bool { return strings.Contains(step, "=?") || strings.Contains(step, "= $") })
			if first < 0 || !strings.Contains(plan[first], "repository_id") {
				t.Errorf("%s on %s does not begin in the repository:\n  %s", s.Name, engine, strings.Join(plan, "\n  "))
			}
		}
		if asked != len(doors) {
			t.Errorf("%d of %d queries are there", asked, len(doors))
		}
	}
}

func sorted(plans string) string {
	blocks := strings.SplitAfter(strings.ReplaceAll(plans, "\n    ", "\x00    "), "\n")
	slices.Sort(blocks)
	return strings.ReplaceAll(strings.Join(blocks, ""), "\x00", "\n")
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (run with -update after a look):\n%s", path, diff)
	}
}
