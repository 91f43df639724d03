package audit

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// proof is a sealed export, line by line.
func (a *archive) proof(from, to time.Time) []string {
	a.t.Helper()
	var out bytes.Buffer
	lines := json.NewEncoder(&out)
	if err := a.Prove(a.t.Context(), from, to, func(line ProofLine) error { return lines.Encode(line) }); err != nil {
		a.t.Fatal(err)
	}
	return strings.SplitAfter(strings.TrimSuffix(out.String(), "\n"), "\n")
}

func check(c Check, lines []string) (v Verified, problems []Finding, err error) {
	c.Report = func(f Finding) {
		if f.Problem != "" {
			problems = append(problems, f)
		}
	}
	v, err = c.Verify(strings.NewReader(strings.Join(lines, "")))
	return v, problems, err
}

// A sealed export says without a server what the server says, and has the events of the trail.
func TestProof(t *testing.T) {
	onEach(t, func(t *testing.T, a *archive) {
		lines := a.proof(time.Time{}, time.Time{})
		var ids []string
		c := Check{Entry: func(e Entry) error { ids = append(ids, e.ID); return nil }}
		v, problems, err := check(c, lines)
		want, _ := a.verify()
		if err != nil || len(problems) > 0 || v.Seals != want.Seals || v.Events != want.Events || !slices.Equal(v.Heads, want.Heads) || len(v.Starts) > 0 {
			t.Errorf("%+v, %v, %v, want %+v", v, problems, err, want)
		}
		for _, stream := range []string{Changes, Pulls} {
			for _, e := range a.all(Query{Stream: stream, Limit: 100}) {
				if !slices.Contains(ids, e.ID) {
					t.Errorf("%s %s is not in the export", e.Kind, e.ID)
				}
			}
		}
		key, err := hex.DecodeString(v.Keys[0].PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := hex.DecodeString(v.Heads[0].Sum)
		if err != nil {
			t.Fatal(err)
		}
		if v, problems, err := check(Check{Keys: [][]byte{key}, Sums: [][]byte{sum}}, lines); err != nil || v.Problems != 0 {
			t.Errorf("against its own key and end: %v, %v", problems, err)
		}
		if v, problems, err := check(Check{Keys: [][]byte{sum}}, lines); err != nil || v.Problems != v.Seals || problems[0].Problem != "the key that signed it is missing" {
			t.Errorf("against another key: %v, %v", problems, err)
		}
		if v, _, err := check(Check{Sums: [][]byte{key}}, lines); err != nil || v.Problems != 1 {
			t.Errorf("against an end that is not there: %+v, %v", v, err)
		}
	})
}

// A part of the trail begins where it says, and follows what came before.
func TestProofOfAPart(t *testing.T) {
	onEach(t, func(t *testing.T, a *archive) {
		all, _ := a.verify()
		a.now = a.now.Add(time.Hour).Truncate(time.Microsecond)
		a.changes(2)
		a.sealAll()
		v, problems, err := check(Check{}, a.proof(a.now, time.Time{}))
		if err != nil || len(problems) > 0 || v.Seals != 1 || v.Events != 2 || len(v.Starts) != 1 || v.Starts[0] != all.Heads[0] {
			t.Errorf("%+v, %v, %v, want it to start at %+v", v, problems, err, all.Heads[0])
		}
		v, problems, err = check(Check{}, a.proof(time.Time{}, a.now))
		if err != nil || len(problems) > 0 || v.Seals != all.Seals || len(v.Starts) != 0 || !slices.Equal(v.Heads, all.Heads) {
			t.Errorf("%+v, %v, %v, want %+v", v, problems, err, all)
		}
		a.o.KeepPulls, a.now = 0, a.now.Add(30*time.Minute)
		if err := a.drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		v, problems, err = check(Check{}, a.proof(time.Time{}, time.Time{}))
		if err != nil || len(problems) > 0 || v.Dropped != 8 {
			t.Errorf("after a drop: %+v, %v, %v", v, problems, err)
		}
	})
}

// Whatever is changed in a sealed export, taken out of it, put into it or moved shows.
func TestProofTampering(t *testing.T) {
	onEach(t, func(t *testing.T, a *archive) {
		lines := a.proof(time.Time{}, time.Time{})
		find := func(part string) int {
			return slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, part) })
		}
		event, batch, seal := find(`{"event"`), find(`{"batch"`), find(`{"seal"`)
		last := len(lines) - 1
		for i, line := range lines {
			if i == last {
				break
			}
			if v, problems, err := check(Check{}, slices.Delete(slices.Clone(lines), i, i+1)); err == nil && v.Problems == 0 {
				t.Errorf("without line %d nothing is wrong: %s, %v", i, line, problems)
			}
			if v, _, err := check(Check{}, slices.Insert(slices.Clone(lines), i, line)); err == nil && v.Problems == 0 && !strings.HasPrefix(line, `{"key"`) {
				t.Errorf("with line %d twice nothing is wrong: %s", i, line)
			}
		}
		for what, c := range map[string]struct {
			line     int
			old, new string
		}{
			"kind":      {event, `"kind":"`, `"kind":"x`},
			"actor":     {event + 1, `"actor_id":"8"`, `"actor_id":"9"`},
			"subject":   {event + 1, `"subject":"app`, `"subject":"opp`},
			"detail":    {event + 1, `"detail":"{`, `"detail":" {`},
			"payload":   {batch, `"payload":"A`, `"payload":"B`},
			"class":     {batch, `"class":"pulls"`, `"class":"access"`},
			"day":       {seal, `"day":"2`, `"day":"3`},
			"signature": {seal, `"signature":"`, `"signature":"AAAA`},
			"dropped":   {seal, `"class"`, `"dropped_at":1,"class"`},
		} {
			changed := slices.Clone(lines)
			if changed[c.line] = strings.Replace(changed[c.line], c.old, c.new, 1); changed[c.line] == lines[c.line] {
				t.Fatalf("%s: %s has no %s", what, lines[c.line], c.old)
			}
			told := 0
			v, problems, err := check(Check{Entry: func(Entry) error { told++; return nil }}, changed)
			if err != nil || len(problems) == 0 || v.Problems == 0 || told >= 9 {
				t.Errorf("%s: %+v, %v, %v; %d events are told of", what, v, problems, err, told)
			}
		}
		for what, broken := range map[string][]string{
			"no end": lines[:last], "a part": {strings.Join(lines, "")[:200]}, "nothing": {}, "another file": {`{"id": "1"}`},
			"an error": append(slices.Clone(lines[:last]), `{"error": "stopped"}`), "no seal": append([]string{lines[event]}, lines...),
		} {
			if _, _, err := check(Check{}, broken); !errors.Is(err, errProof) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

func FuzzProof(f *testing.F) {
	f.Add([]byte(`{"key":{"id":"1","public_key":"00","created_at":"2026-01-01T00:00:00Z"}}{"end":{"seals":0}}`))
	f.Add([]byte(`{"seal":{"class":"pulls","number":1,"leaves":"AA=="}}{"batch":{"payload":"Ag=="}}{"end":{"seals":1}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := Check{Report: func(Finding) {}, Entry: func(Entry) error { t.Error("an event that nobody has sealed"); return nil }}.Verify(bytes.NewReader(text))
		if err == nil && v.Events > 0 {
			t.Error("rows that nobody has sealed")
		}
	})
}
