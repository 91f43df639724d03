package faults_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/lab"
)

var update = flag.Bool("update", false, "write the reference page")

const page = "../../docs/reference/faults.md"

// TestReferencePage: the page is the table. `go test ./test/faults -run Reference -update` writes it.
func TestReferencePage(t *testing.T) {
	got := reference()
	if *update {
		if err := os.WriteFile(page, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	was, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(was) != got {
		t.Errorf("%s is out of step with the table; run with -update", page)
	}
}

const introduction = `<!-- Made from test/faults; change the table there, then run make generate. -->
# What Weir does when an upstream fails

` + "`go test ./test/faults -run Table`" + ` checks each row against a whole server and the upstream of ` + "[`weir lab upstream`](../how-to/faults.md)" + `: every fault, with
nothing cached, something fresh and something stale, for manifests by tag, blobs, tag lists and referrers, alone and in front of a lower
member, with ` + "`on_unknown: stop`" + ` and with ` + "`strict_precedence`" + `; each question twice while the fault goes on.

What holds in every row:

- **What is fresh is served at once**, without a request to the upstream: ` + "`Cache-Status: weir; hit`, `Age`" + `. Blobs, and manifests by digest, are fresh for ever.
- **200 stale** is the cached answer with ` + "`Age`, `Cache-Status: weir; hit; detail=stale` and a `Warning`" + `, whoever stands below. It comes when the upstream has failed, after
  ` + "`revalidate_wait`" + ` at the latest, and at once from then on: the upstream is left alone for a second, growing to half a minute. What is cached stays.
- **503** (UNAVAILABLE) and **429** (TOOMANYREQUESTS) have ` + "`Retry-After`" + ` and the reason, for those who may see the upstream. Nothing is cached. They are no 404, which clients take for final.
- **cut before the end**: headers went out before the bytes turned out wrong. The last 64 KiB never leave; nothing is cached; the next one who asks gets 503, or the lower member's.
- **200 lower** is a lower member's answer, cached for that member.
- When the fault is over, the first pull works: at once, or within a second where the breaker had opened. Where a note names another time, that counts.
- The log has ` + "`the upstream gave no answer`" + ` (for blobs ` + "`fill ended`" + `) with the reason; ` + "`weir_cache_answers_total`" + ` counts each answer by status, ` + "`weir_cache_checks_total`" + ` each check of
  something stale, ` + "`weir_upstream_requests_total`" + ` what the upstream answered (` + "`none`" + `: nothing), and the access line of a stale answer has the ` + "`reason`" + `.

In each field: what a client gets from the upstream alone → with a lower member, where that differs; then with ` + "`on_unknown: stop`" + `, ` + "`strict_precedence`" + ` where they
differ from that.

`

func reference() string {
	var b strings.Builder
	b.WriteString(introduction)
	for _, r := range rows {
		fmt.Fprintf(&b, "## %s\n\n", strings.ToUpper(r.name[:1])+r.name[1:])
		if lines := append(append([]string{}, r.always...), r.play...); len(lines) > 0 {
			fmt.Fprintf(&b, "Lab: `%s`", strings.Join(dedupe(lines), "`, `"))
			if r.says != "" {
				fmt.Fprintf(&b, " · the reason says: %s", r.says)
			}
			fmt.Fprintf(&b, " · counted as: %s\n\n", r.traffic)
		}
		if r.note != "" {
			b.WriteString(r.note + "\n\n")
		}
		b.WriteString("| | manifest | blob | tag list | referrers |\n|---|---|---|---|---|\n")
		for _, s := range []state{cold, stale} {
			fmt.Fprintf(&b, "| %s |", s)
			for _, k := range kinds {
				fmt.Fprintf(&b, " %s |", r.field(s, k))
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// field is what the page says of four cells.
func (r row) field(s state, k lab.Kind) string {
	of := func(v variant) string { return r.expect(cell{s, k, v}, false).words() }
	text := of(alone)
	if of(lower) != text {
		text += " → " + of(lower)
	}
	if of(stop) != of(lower) {
		text += "; stop: " + of(stop)
	}
	if of(strict) != of(lower) {
		text += "; strict: " + of(strict)
	}
	return text
}

func dedupe(lines []string) (out []string) {
	seen := map[string]bool{}
	for _, l := range lines {
		if !seen[l] {
			out = append(out, l)
		}
		seen[l] = true
	}
	return out
}
