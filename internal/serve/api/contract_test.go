package api_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// connections stands for the connections of upstreams; three has none.
type connections struct{}

func (connections) TestUpstream(_ context.Context, _, name, _ string) ([]api.TestStep, error) {
	if name == "three" {
		return nil, meta.ErrNotFound
	}
	return []api.TestStep{{Step: "name", OK: true, Detail: "found"}}, nil
}

func (connections) UpstreamHealth(_ context.Context, _, name string) (api.UpstreamHealth, error) {
	if name == "three" {
		return api.UpstreamHealth{}, meta.ErrNotFound
	}
	return api.UpstreamHealth{Host: "one.test", Status: "ok"}, nil
}

// row says for a request of an operation what each role gets, in the order of roles.
type row struct {
	operation, request, in string
	outcomes               string
}

// contract has a row for every operation on definitions.
//
//	nobody, stranger, reader, developer, maintainer, owner, admin
var contract = []row{
	{"get-version", "GET /version", "", "401 200 200 200 200 200 200"},
	{"get-capabilities", "GET /capabilities", "", "401 200 200 200 200 200 200"},
	{"apply", "POST /apply", `{"groups": [{"name": "acme", "enabled": false}]}`, "401 404 403 403 403 200 200"},
	{"list-jobs", "GET /jobs", "", "401 403 403 403 403 403 200"},
	{"run-job", "POST /jobs/toil/run?key=coal", "", "401 403 403 403 403 403 202"},
	{"run-job", "POST /jobs/toil/run", "", "401 403 403 403 403 403 404"},
	{"list-groups", "GET /groups", "", "401 200 200 200 200 200 200"},
	{"get-group", "GET /groups/acme", "", "401 404 200 200 200 200 200"},
	{"put-group", "PUT /groups/acme", `{"enabled": false}`, "401 404 403 403 403 200 200"},
	{"put-group", "PUT /groups/new", `{}`, "401 404 404 404 404 404 201"},
	{"patch-group", "PATCH /groups/acme", `{"enabled": false}`, "401 404 403 403 403 200 200"},
	{"delete-group", "DELETE /groups/acme", "", "401 404 403 403 403 204 204"},
	{"get-declaration", "GET /groups/acme/declaration", "", "401 404 403 403 403 200 200"},

	{"list-upstreams", "GET /groups/acme/upstreams", "", "401 404 200 200 200 200 200"},
	{"get-upstream", "GET /groups/acme/upstreams/one", "", "401 404 200 200 200 200 200"},
	{"get-upstream", "GET /groups/acme/upstreams/none", "", "401 404 404 404 404 404 404"},
	{"put-upstream", "PUT /groups/acme/upstreams/new", `{"url": "https://new.test"}`, "401 404 403 403 201 201 201"},
	{"patch-upstream", "PATCH /groups/acme/upstreams/two", `{"enabled": false}`, "401 404 403 403 200 200 200"},
	{"delete-upstream", "DELETE /groups/acme/upstreams/two", "", "401 404 403 403 204 204 204"},
	{"get-upstream-rules", "GET /groups/acme/upstreams/two/rules", "", "401 404 200 200 200 200 200"},
	{"put-upstream-rules", "PUT /groups/acme/upstreams/two/rules", `{"items": [{"deny": "x"}]}`, "401 404 403 403 200 200 200"},
	{"get-upstream-freshness", "GET /groups/acme/upstreams/two/freshness", "", "401 404 200 200 200 200 200"},
	{"put-upstream-freshness", "PUT /groups/acme/upstreams/two/freshness", `{"default": "forever"}`, "401 404 403 403 200 200 200"},
	{"test-upstream", "POST /groups/acme/upstreams/one/test", `{"repository": "app"}`, "401 404 403 403 200 200 200"},
	{"test-upstream", "POST /groups/acme/upstreams/own/test", "", "401 404 403 403 409 409 409"},
	{"test-upstream", "POST /groups/acme/upstreams/three/test", "", "401 404 403 403 409 409 409"},
	{"get-upstream-health", "GET /groups/acme/upstreams/one/health", "", "401 404 200 200 200 200 200"},

	{"list-registries", "GET /groups/acme/registries", "", "401 404 200 200 200 200 200"},
	{"get-registry", "GET /groups/acme/registries/all", "", "401 404 200 200 200 200 200"},
	{"put-registry", "PUT /groups/acme/registries/new", `{"members": [{"upstream": "one"}]}`, "401 404 403 403 201 201 201"},
	{"patch-registry", "PATCH /groups/acme/registries/all", `{"digest_first": "allow"}`, "401 404 403 403 200 200 200"},
	{"delete-registry", "DELETE /groups/acme/registries/all", "", "401 404 403 403 204 204 204"},
	{"get-registry-members", "GET /groups/acme/registries/all/members", "", "401 404 200 200 200 200 200"},
	{"put-registry-members", "PUT /groups/acme/registries/some/members", `{"items": [{"upstream": "three"}, {"upstream": "two"}]}`, "401 404 403 403 200 200 200"},
	{"get-member", "GET /groups/acme/registries/all/members/one", "", "401 404 200 200 200 200 200"},
	{"put-member", "PUT /groups/acme/registries/all/members/three", `{}`, "401 404 403 403 201 201 201"},
	{"patch-member", "PATCH /groups/acme/registries/all/members/one", `{"position": 1}`, "401 404 403 403 200 200 200"},
	{"delete-member", "DELETE /groups/acme/registries/all/members/one", "", "401 404 403 403 204 204 204"},
	{"get-registry-rules", "GET /groups/acme/registries/all/rules", "", "401 404 200 200 200 200 200"},
	{"put-registry-rules", "PUT /groups/acme/registries/all/rules", `{"items": []}`, "401 404 403 403 200 200 200"},

	{"list-credentials", "GET /groups/acme/credentials", "", "401 404 200 200 200 200 200"},
	{"get-credential", "GET /groups/acme/credentials/ci", "", "401 404 200 200 200 200 200"},
	{"put-credential", "PUT /groups/acme/credentials/new", `{"username": "x", "password": "s3cret"}`, "401 404 403 403 403 201 201"},
	{"patch-credential", "PATCH /groups/acme/credentials/ci", `{"password": "s3cret-other"}`, "401 404 403 403 403 200 200"},
	{"delete-credential", "DELETE /groups/acme/credentials/open", "", "401 404 403 403 403 204 204"},
	{"get-credential-usage", "GET /groups/acme/credentials/ci/usage", "", "401 404 200 200 200 200 200"},

	{"list-hosted", "GET /groups/acme/hosted", "", "401 404 200 200 200 200 200"},
	{"get-hosted-prefix", "GET /groups/acme/hosted/own", "", "401 404 200 200 200 200 200"},
	{"put-hosted-prefix", "PUT /groups/acme/hosted/team%2Fapp", `{"allow_sparse_index": true}`, "401 404 403 403 201 201 201"},
	{"put-hosted-prefix", "PUT /groups/acme/hosted/-", `{"anonymous_pull": true}`, "401 404 403 403 201 201 201"},
	{"patch-hosted-prefix", "PATCH /groups/acme/hosted/own", `{"anonymous_pull": null}`, "401 404 403 403 200 200 200"},
	{"delete-hosted-prefix", "DELETE /groups/acme/hosted/own", "", "401 404 403 403 204 204 204"},

	{"list-host-bindings", "GET /groups/acme/host-bindings", "", "401 404 200 200 200 200 200"},
	{"get-host-binding", "GET /groups/acme/host-bindings/some.acme.test", "", "401 404 200 200 200 200 200"},
	{"put-host-binding", "PUT /groups/acme/host-bindings/ALL.acme.test:5001", `{"registry": "all"}`, "401 404 403 403 201 201 201"},
	{"patch-host-binding", "PATCH /groups/acme/host-bindings/some.acme.test", `{"mirror": true}`, "401 404 403 403 200 200 200"},
	{"delete-host-binding", "DELETE /groups/acme/host-bindings/some.acme.test", "", "401 404 403 403 204 204 204"},
}

// definitionTags are those of the operations on definitions.
var definitionTags = []string{"server", "jobs", "groups", "upstreams", "registries", "credentials", "hosted", "host-bindings"}

// contractTags are those of the operations that the contract has to cover, all of them. Every other operation needs the whole server: the
// contract of package stack, in test/stack, covers each that is not of these tags, and those that another door answers.
var (
	contractTags = append([]string{"users", "tokens", "robots", "roles", "trust-rules", "grants", "events", "sessions"}, definitionTags...)
	otherDoor    = []string{"exchange-token"}
)

// Every role gets what it may, on both engines, and whether a group exists shows to nobody who may not see it.
func TestContract(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, db)
		for _, c := range contract {
			w.keeps(t, c, func(_, text string) string { return text }, func() { w.reset(t) })
		}
	})
}

// keeps sends a request as every role. fill puts into it what a role needs, again undoes what one has done.
func (w *world) keeps(t *testing.T, c row, fill func(role, text string) string, again func()) {
	t.Helper()
	method, unfilled, _ := strings.Cut(c.request, " ")
	for i, role := range roles {
		path, in, request := fill(role, unfilled), fill(role, c.in), c.request
		r := w.send(t, role, method, path, in)
		if want := strings.Fields(c.outcomes)[i]; strconv.Itoa(r.status) != want {
			t.Errorf("%s as %s: %d, want %s: %s", request, role, r.status, want, r.body)
		}
		if r.status == 403 && !strings.Contains(r.body, "it takes") {
			t.Errorf("%s as %s does not say what it takes: %s", request, role, r.body)
		}
		if role == "stranger" && r.status == 404 {
			other := w.send(t, role, method, strings.Replace(strings.Replace(path, "/acme", "/none", 1), "/new", "/none", 1), in)
			if other.status != r.status || other.body != r.body {
				t.Errorf("%s: a group that exists shows: %s, else %s", request, r.body, other.body)
			}
		}
		if method != "GET" && r.status < 300 {
			again()
		}
	}
}

// An operation without a row in the contract has nobody who says what roles get.
func TestContractIsWhole(t *testing.T) {
	covered := map[string]bool{}
	for _, c := range slices.Concat(contract, identityContract) {
		covered[c.operation] = true
	}
	for _, o := range newWorld(t, metatest.Open(t, meta.SQLite)).api.Operations() {
		if slices.Contains(contractTags, o.Tags[0]) && !covered[o.OperationID] && !slices.Contains(otherDoor, o.OperationID) {
			t.Errorf("operation %s (%s %s) has no row in the contract", o.OperationID, o.Method, o.Path)
		}
		delete(covered, o.OperationID)
	}
	for name := range covered {
		t.Errorf("the contract has a row for %s, which is no operation", name)
	}
}
