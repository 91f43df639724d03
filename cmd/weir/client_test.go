package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/client"
)

// answering starts a server on a socket that gives one answer to each path, and returns its data folder.
func answering(t *testing.T, answers map[string]string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "weir") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, client.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.Method+" "+strings.TrimPrefix(r.URL.RequestURI(), "/api/v1")]
		if !ok {
			t.Errorf("unexpected %s %s", r.Method, r.URL)
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(answer))
	})}}
	s.Start()
	t.Cleanup(s.Close)
	return dir
}

func TestCommands(t *testing.T) {
	dir := answering(t, map[string]string{
		"POST /apply":                  `{"applied": true, "text": "1 to add\n", "changes": []}`,
		"POST /tokens":                 `{"id": "7", "name": "ci", "user": "admin", "token": "weir_x"}`,
		"GET /tokens?user=ann":         `{"items": [{"id": "7", "name": "ci", "user": "ann", "created_at": "2026-01-02T03:04:05Z"}]}`,
		"DELETE /tokens/7":             ``,
		"GET /groups":                  `{"items": [{"id": "1", "name": "acme", "enabled": true}]}`,
		"GET /groups/acme/declaration": `{"id": "1", "generation": 3, "name": "acme", "registries": [{"name": "hub"}]}`,
		"POST /refresh":                `{"refreshed": {"references": 3, "deferred": true}}`,
		"POST /explain":                `{"image": "acme/hub/x:1", "as": "ann", "allowed": true, "access": "ann is reader of acme", "kind": "virtual", "decision": {"members": [{"member": "hub", "repository": "library/x", "verdict": "may_answer", "held": "stale", "held_age_seconds": 90, "would": "revalidate", "order": 1}, {"member": "ghcr", "repository": "x", "verdict": "rule", "rule": "deny x"}, {"member": "quay", "repository": "x", "verdict": "may_answer", "answer": "denied", "status": 403, "reason": "no", "order": 2}]}}`,
	})
	file := filepath.Join(dir, "a.yaml")
	if err := os.WriteFile(file, []byte("groups: [{name: acme}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string // part of standard output
	}{
		{[]string{"apply", "-f", file}, "1 to add"},
		{[]string{"apply", "-f", file, "--dry-run", "-o", "json"}, `"applied": true`},
		{[]string{"apply", "-f", file, "--dry-run"}, "nothing was changed"},
		{[]string{"token", "create", "--name", "ci", "--expires", "90d"}, "weir_x\n"},
		{[]string{"token", "list", "--user", "ann"}, "2026-01-02 03:04"},
		{[]string{"token", "revoke", "7"}, "revoked"},
		{[]string{"group", "list"}, "acme   true     1"},
		{[]string{"group", "list", "-o", "name"}, "acme\n"},
		{[]string{"export", "--group", "acme"}, "groups:\n- name: acme\n  registries:\n  - name: hub\n"},
		{[]string{"refresh", "--upstream", "acme/hub"}, "everything cached from acme/hub will be confirmed"},
		{[]string{"explain", "acme/hub/x:1"}, "depends on the upstreams"},
		{[]string{"explain", "acme/hub/x:1"}, "1  hub     library/x   may_answer     stale, 1m30s old  revalidate"},
		{[]string{"explain", "acme/hub/x:1"}, "3  quay "}, // as the member of that number, whoever is asked
		{[]string{"explain", "acme/hub/x:1"}, "rule (deny x)"},
		{[]string{"explain", "acme/hub/x:1"}, "denied (403): no"},
		{[]string{"explain", "acme/hub/x:1", "-o", "json"}, `"answer": "denied"`},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run("weir", append(c.args, "--data", dir), strings.NewReader(""), &stdout, &stderr); code != 0 {
				t.Fatalf("exit code %d: %s", code, stderr.String())
			}
			if !strings.Contains(stdout.String(), c.want) {
				t.Errorf("no %q in\n%s", c.want, stdout.String())
			}
		})
	}
	for _, args := range [][]string{{"refresh"}, {"refresh", "x", "--upstream", "y"}, {"apply"}, {"token", "create", "--name", "x", "--expires", "soon"}, {"group", "list", "-o", "xml"}} {
		if code := run("weir", append(args, "--data", dir), strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}); code == 0 {
			t.Errorf("%v succeeded", args)
		}
	}
}

func TestParseExpiry(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "90d": now.AddDate(0, 0, 90), "12h": now.Add(12 * time.Hour),
		"2030-01-31": time.Date(2030, 2, 1, 0, 0, 0, 0, time.UTC), "2030-01-31T01:00:00Z": time.Date(2030, 1, 31, 1, 0, 0, 0, time.UTC),
	} {
		if got, err := parseExpiry(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"soon", "-3d", "0d", "-1h"} {
		if _, err := parseExpiry(text, now); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
