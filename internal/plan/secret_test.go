package plan_test

import (
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// The secret that takes over for a new one is the last that an upstream took: two wrong ones in a row do not lose it.
func TestPreviousSecret(t *testing.T) {
	p, sealer := newPlanner(t, metatest.Open(t, meta.SQLite))
	taken := map[int64]bool{}
	p.Accepted = func(group string, credential, version int64) bool {
		return group == "acme" && credential != 0 && taken[version]
	}
	rotate := func(secret, previous string) {
		t.Helper()
		text := "groups: [{name: acme, credentials: [{name: hub, username: ci, password: " + secret + "}]}]"
		apply(t, p, parse(t, text), plan.Options{})
		g, err := p.DB.Group(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		c, got := g.Credentials[0], ""
		if len(c.Previous.Secret) > 0 {
			plain, err := sealer.Open(plan.CredentialPlace(g.ID, c.ID, c.Previous.Version), c.Previous.Secret)
			if err != nil || !c.Previous.Until.After(time.Now()) {
				t.Fatalf("after %s: %v, until %v", secret, err, c.Previous.Until)
			}
			got = string(plain)
		}
		if got != previous {
			t.Errorf("after %s: %q takes over, want %q", secret, got, previous)
		}
		if strings.HasPrefix(secret, "good") {
			taken[c.Version] = true
		}
	}
	rotate("good-1", "")
	rotate("typo-1", "good-1")
	rotate("typo-2", "good-1")
	rotate("good-2", "good-1")
	rotate("typo-3", "good-2")
	rotate("typo-4", "good-2")
	p.Accepted = nil
	rotate("good-3", "typo-4")
}
