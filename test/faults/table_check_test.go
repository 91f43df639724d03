package faults_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/lab"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/test/stack"
)

// check compares an answer, and its access line, with what is wanted.
func (tr *trial) check(t *testing.T, q *question, a stack.Answer, w want, lines map[string]stack.Line) {
	t.Helper()
	if w.broken && a.Status != w.status || w.broken && a.Err == nil { // found out before the headers had to go
		w = tr.expect(q.cell, true)
	}
	bad := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: %s\nwant %+v, got %d %v %v\n%.200q", q.name(), fmt.Sprintf(format, args...), w, a.Status, a.Err, a.Header.Get("Cache-Status"), a.Body)
	}
	switch {
	case a.Status != w.status:
		bad("status")
	case (a.Err != nil) != w.broken:
		bad("broken: %v", a.Err)
	case w.broken && int64(len(a.Body)) >= tr.blobs[q.cell].Size:
		bad("complete")
	case w.status == 200 && !w.broken && !tr.matches(a, q.cell, w.member, w.body):
		bad("body")
	case w.code != "" && !bytes.Contains(a.Body, []byte(`"code":"`+string(w.code)+`"`)):
		bad("code")
	case a.Header.Get("Cache-Status") != w.cache && !alike(q.cell, a.Header.Get("Cache-Status"), w.cache):
		bad("Cache-Status")
	case (w.cache == servedStale) != (a.Header.Get("Warning") != ""):
		bad("Warning")
	case strings.HasPrefix(a.Header.Get("Cache-Status"), hit) && a.Header.Get("Age") == "":
		bad("Age")
	case a.Header.Get("Weir-Decision") == "":
		bad("no decision")
	}
	tr.checkRetry(t, q, a, w)
	line := lines[a.Header.Get("Weir-Decision")]
	member, _ := line["member"].(string)
	if wanted := map[string]string{"far": q.name(), "low": "low", "": ""}[w.member]; member != wanted {
		bad("answered by %q, want %q: %v", member, wanted, line)
	}
	if reason, _ := line["reason"].(string); (w.cache == servedStale) != (reason != "") {
		bad("reason in the access line: %v", line)
	}
	if w.code == oci.CodeUnavailable || w.code == oci.CodeTooManyRequests {
		if text, _ := line["error"].(string); text == "" {
			bad("no error in the access line: %v", line)
		}
	}
}

// alike: who comes while a blob's transfer is not quite over joins it.
func alike(c cell, got, wanted string) bool {
	joined := got == miss+"; collapsed"
	return c.kind == lab.KindBlob && c.state == cold && (wanted == hit && (joined || got == miss) || wanted == miss && (joined || got == hit))
}

// checkRetry: who may come back is told when, and an upstream's own wish is passed on.
func (tr *trial) checkRetry(t *testing.T, q *question, a stack.Answer, w want) {
	t.Helper()
	seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
	switch {
	case w.status != 429 && w.status != 503:
	case err != nil || seconds < 1:
		t.Errorf("%s: %d with Retry-After %q", q.name(), a.Status, a.Header.Get("Retry-After"))
	case strings.Contains(tr.name, "Retry-After: 7") && (seconds < 5 || seconds > 7):
		t.Errorf("%s: the upstream said 7 seconds, we %d", q.name(), seconds)
	}
}

// lines waits for the access lines of every answer, by decision.
func (tr *trial) lines(t *testing.T) map[string]stack.Line {
	t.Helper()
	out := map[string]stack.Line{}
	for _, q := range tr.asked {
		out[q.first.Header.Get("Weir-Decision")], out[q.again.Header.Get("Weir-Decision")] = nil, nil
	}
	for watchdog := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		missing := len(out)
		for _, line := range tr.log("request") {
			id, _ := line["decision"].(string)
			if _, ok := out[id]; ok {
				out[id] = line
				missing--
			}
		}
		if missing <= 0 {
			return out
		}
		if time.Now().After(watchdog) {
			t.Errorf("%d access lines are missing", missing)
			return out
		}
	}
}

// log returns the lines with a message that are about the row's group.
func (tr *trial) log(message string) (out []stack.Line) {
	for raw := range strings.Lines(tr.server.Log.String()) {
		if !strings.Contains(raw, `"msg":"`+message+`"`) || !strings.Contains(raw, `"`+tr.group()) {
			continue
		}
		var line stack.Line
		upstream, group := "", ""
		if json.Unmarshal([]byte(raw), &line) == nil {
			upstream, _ = line["upstream"].(string)
			group, _ = line["group"].(string)
		}
		if strings.HasPrefix(upstream, tr.group()+"/") || group == tr.group() {
			out = append(out, line)
		}
	}
	return out
}

// checkMetrics: every answer is counted as what it was, every check by what came of it, and the upstream's traffic by class.
func (tr *trial) checkMetrics(t *testing.T, q *question, scraped string) {
	t.Helper()
	upstream := tr.group() + "/" + q.name()
	counted := func(what string) {
		t.Helper()
		if !regexp.MustCompile(`(?m)^` + what + ` [1-9]`).MatchString(scraped) {
			t.Errorf("%s: not counted: %s", q.name(), what)
		}
	}
	for _, again := range []bool{false, true} {
		status := tr.expect(q.cell, again).metric
		switch {
		case q.kind != lab.KindBlob || q.state != cold:
		case status == "hit":
			status = "(hit|joined)"
		case tr.consequence(q.kind).cold == wrong:
			status = "(miss|unknown)"
		}
		counted(fmt.Sprintf(`weir_cache_answers_total\{kind="%s",status="%s",upstream="%s"\}`, q.kind, status, upstream))
	}
	if q.kind != lab.KindManifest {
		if q.kind == lab.KindBlob && q.state == cold && tr.consequence(q.kind).cold == wrong {
			counted(fmt.Sprintf(`weir_cache_fills_total\{result="wrong",upstream="%s"\}`, upstream))
		}
		return
	}
	switch q.state {
	case cold:
		counted(fmt.Sprintf(`weir_upstream_requests_total\{method="GET",status="%s",upstream="%s"\}`, tr.traffic, upstream))
	case stale:
		result := map[outcome]string{
			fine: "confirmed", spent: "confirmed", moved: "moved", unknown: "unknown", limited: "unknown", denied: "denied", absent: "absent",
		}[tr.consequence(q.kind).stale]
		if result != "" && tr.settings == "" { // a check that hangs ends after its answer
			counted(fmt.Sprintf(`weir_cache_checks_total\{result="%s",upstream="%s"\}`, result, upstream))
		}
	}
}

// checkLog: each question without an authoritative answer leaves a line that names the fault.
func (tr *trial) checkLog(t *testing.T) {
	t.Helper()
	reasons := map[string]string{}
	for _, line := range append(tr.log("the upstream gave no answer"), tr.log("fill ended")...) {
		upstream, _ := line["upstream"].(string)
		reason, _ := line["reason"].(string)
		failure, _ := line["error"].(string)
		reasons[upstream] += reason + failure + "\n"
	}
	for _, q := range tr.asked {
		o := tr.consequence(q.kind).cold
		if q.state == cold && (o == unknown || o == limited || o == wrong) {
			if got := reasons[tr.group()+"/"+q.name()]; got == "" || !strings.Contains(got, tr.says) {
				t.Errorf("%s: the log does not say %q: %q", q.name(), tr.says, got)
			}
		}
	}
}

// recover ends the fault. The first pull of what was not to be had must work, or be told to come back within a second.
func (tr *trial) recover(t *testing.T) {
	t.Helper()
	if tr.name == "refused connections" {
		if err := tr.far.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.far.Play(tr.always...); err != nil {
		t.Fatal(err)
	}
	tr.each(func(q *question) {
		if q.state != cold || q.variant != alone {
			return
		}
		o := tr.consequence(q.kind).cold
		if o == empty || o == moved { // it is fresh as it is
			return
		}
		for _, a := range tr.until(t, q.cell, fine) {
			if tr.settings == "" && (a.Err != nil || a.Header.Get("Retry-After") != "1") {
				t.Errorf("%s: after recovery: %d %v, Retry-After %q: %.300s", q.name(), a.Status, a.Err, a.Header.Get("Retry-After"), a.Body)
			}
		}
	})
}
