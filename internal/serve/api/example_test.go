package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// The examples of the manual run, in order, and answer as it says.
func TestExamples(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil && os.Getenv("CI") != "true" {
		t.Skip("no curl here")
	}
	for _, page := range []string{"reference/api.md", "how-to/manage-with-the-api.md"} {
		t.Run(page, func(t *testing.T) {
			w := newWorld(t, metatest.Open(t, meta.SQLite))
			s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				name, _, _ := r.BasicAuth()
				r.Header.Set("User", name)
				w.api.ServeHTTP(rw, r)
			}))
			t.Cleanup(s.Close)
			text, err := os.ReadFile("../../../docs/" + page)
			if err != nil {
				t.Fatal(err)
			}
			blocks := regexp.MustCompile("(?s)```(sh|json|text)\n(.*?)```\n").FindAllStringSubmatch(string(text), -1)
			if len(blocks) < 6 {
				t.Fatalf("only %d examples", len(blocks))
			}
			out := ""
			for _, b := range blocks {
				if b[1] == "sh" {
					out = run(t, b[2], s.URL)
				} else if !like(out, b[2]) {
					t.Errorf("got\n%s\nwant\n%s", out, b[2])
				}
			}
		})
	}
}

func run(t *testing.T, script, server string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "sh", "-eu", "-c", strings.ReplaceAll(script, "curl ", "curl -sS "))
	c.Env = append(os.Environ(), "WEIR="+server, "LOGIN=owner:weir_x", "no_proxy=*")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%s\n%v: %s", script, err, out)
	}
	return string(out)
}

// like reports whether out is as described, where "…" stands for anything.
func like(out, described string) bool {
	var pattern strings.Builder
	for i, part := range strings.Split(strings.TrimSpace(described), "…") {
		if i > 0 {
			pattern.WriteString("(?s:.*)")
		}
		pattern.WriteString(regexp.QuoteMeta(part))
	}
	return regexp.MustCompile("^" + pattern.String() + "$").MatchString(strings.TrimSpace(out))
}
