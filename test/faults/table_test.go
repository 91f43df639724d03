// Package faults_test holds what Weir does when upstreams fail: a table of faults, and servers under torture.
package faults_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/lab"
	"github.com/weir-registry/weir/test/stack"
)

// shards is how many servers share the rows: metrics tell no more than a thousand upstreams apart.
const shards = 4

// TestTable asks every question of the table twice while the fault goes on, and looks at the answer, at what is cached, at the
// metrics and at the log. Then the fault ends, and the first pull must work.
func TestTable(t *testing.T) {
	images := newContent()
	for n := range shards {
		t.Run(fmt.Sprint("shard ", n), func(t *testing.T) {
			t.Parallel()
			operators := freePort(t)
			s := stack.Start(t, stack.Options{Configure: func(c *config.Config) {
				c.Ops.Listen, c.Log.Level, c.Limits.FillsPerPrincipal = operators, "info", 200
			}})
			metrics := stack.Remote{URL: "http://" + operators}
			t.Run("rows", func(t *testing.T) {
				for i := n; i < len(rows); i += shards {
					t.Run(rows[i].name, func(t *testing.T) {
						t.Parallel()
						newTrial(t, s, metrics, rows[i], images).run(t)
					})
				}
			})
		})
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// content is what the two upstreams have: the same tag with different images. Each cell's blob is its own, and both have it.
type content struct {
	far, other, low  lab.Image
	farNote, lowNote lab.Image
}

func newContent() content {
	c := content{far: lab.RandomImage(1, 1, 1000), other: lab.RandomImage(2, 1, 1000), low: lab.RandomImage(3, 1, 1000)}
	c.farNote = lab.RandomArtifact(4, c.far.Manifest.Descriptor, "application/vnd.test.far")
	c.lowNote = lab.RandomArtifact(5, c.far.Manifest.Descriptor, "application/vnd.test.low")
	return c
}

// trial is one row under test.
type trial struct {
	row
	server  *stack.Server
	metrics stack.Remote
	far     *lab.Upstream
	images  content
	asked   []*question
	blobs   map[cell]lab.Content
}

// question is one cell with what came of it.
type question struct {
	cell
	first, again stack.Answer
	requests     int // that the upstream got for the first answer, in state fresh
}

func newTrial(t *testing.T, s *stack.Server, metrics stack.Remote, r row, images content) *trial {
	t.Helper()
	if r.listen != "" {
		l, err := net.Listen("tcp", r.listen)
		if err != nil {
			t.Skipf("this machine cannot listen on %s: %v", r.listen, err)
		}
		_ = l.Close()
	}
	start := func(listen string) *lab.Upstream {
		u, err := lab.New(lab.Options{Listen: listen, Leaked: func(h http.Header) { t.Errorf("credentials reached the storage host: %v", h) }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = u.Close() })
		return u
	}
	tr := &trial{row: r, server: s, metrics: metrics, images: images, far: start(r.listen), blobs: map[cell]lab.Content{}}
	low := start("")
	for i, c := range cells() {
		tr.blobs[c] = lab.RandomBlob(uint64(100+i), 100_000)
		tr.asked = append(tr.asked, &question{cell: c})
		name := c.remote()
		tr.far.Put(name, []string{"1"}, images.far)
		tr.far.Put(name, nil, images.farNote)
		tr.far.Put(name, []string{"2"}, images.other)
		tr.far.PutBlob(name, tr.blobs[c])
		low.Put(c.name(), []string{"1", "low"}, images.low)
		low.PutBlob(c.name(), tr.blobs[c])
		low.Put(c.name(), nil, images.lowNote)
	}
	if err := tr.far.Play(r.always...); err != nil {
		t.Fatal(err)
	}
	s.Apply(t, tr.declaration(low.URL()))
	return tr
}

// declaration has an upstream and a registry for each cell, so that no question has a part in what another one meets.
func (tr *trial) declaration(low string) string {
	var upstreams, registries strings.Builder
	credential := ""
	if tr.login {
		credential = ", credential: ci"
	}
	settings := tr.settings
	if settings == "" {
		settings = patient
	}
	for _, c := range cells() {
		freshness, more, strictly, members := "1h", "", "", "{upstream: "+c.name()+"}"
		if c.state == stale {
			freshness = "1us" // over before the next question can come
		}
		if c.variant == stop {
			more = ", on_unknown: stop"
		}
		if c.variant == strict {
			strictly = ", strict_precedence: true"
		}
		if c.variant != alone {
			members += ", {upstream: low}"
		}
		fmt.Fprintf(&upstreams, "  - {name: %s, url: %q, freshness: {default: %s}, %s%s%s}\n", c.name(), tr.far.URL()+"/"+c.name(), freshness, settings, more, credential)
		fmt.Fprintf(&registries, "  - {name: warm-%[1]s, anonymous_pull: true, members: [{upstream: %[1]s}]}\n", c.name())
		fmt.Fprintf(&registries, "  - {name: hub-%s, anonymous_pull: true%s, members: [%s]}\n", c.name(), strictly, members)
	}
	return fmt.Sprintf("groups:\n- name: %s\n  credentials: [{name: ci, username: ci, password: secret}]\n  upstreams:\n  - {name: low, url: %q}\n%s  registries:\n%s",
		tr.group(), low, upstreams.String(), registries.String())
}

// path is where a question is asked.
func (tr *trial) path(c cell) string { return tr.pathIn("hub-", c) }

// pathIn is path in the registry of the cell that begins so: hub-, or warm-, which has no lower member.
func (tr *trial) pathIn(registry string, c cell) string {
	base := tr.group() + "/" + registry + c.name() + "/" + c.name()
	switch c.kind {
	case lab.KindManifest:
		return base + "/manifests/1"
	case lab.KindBlob:
		return base + "/blobs/" + string(tr.blobs[c].Digest)
	case lab.KindTags:
		return base + "/tags/list"
	}
	return base + "/referrers/" + string(tr.images.far.Manifest.Digest)
}

func (tr *trial) run(t *testing.T) {
	tr.each(func(q *question) {
		if q.state != cold {
			tr.until(t, q.cell, fine)
		}
	})
	tr.fail(t)
	tr.each(func(q *question) {
		q.first = tr.server.Do(t, "GET", tr.path(q.cell))
		if q.state == fresh {
			q.requests = tr.count(q.remote())
		}
		q.again = tr.server.Do(t, "GET", tr.path(q.cell))
	})
	lines := tr.lines(t)
	scraped := string(tr.metrics.Do(t, "GET", "/metrics").Want(t, 200).Body)
	for _, q := range tr.asked {
		tr.check(t, q, q.first, tr.expect(q.cell, false), lines)
		tr.check(t, q, q.again, tr.expect(q.cell, true), lines)
		tr.checkMetrics(t, q, scraped)
		if q.requests != 0 {
			t.Errorf("%s: %d requests for what is fresh", q.name(), q.requests)
		}
	}
	tr.checkLog(t)
	if !tr.later {
		tr.recover(t)
	}
}

// each asks all questions at once.
func (tr *trial) each(f func(*question)) {
	var group sync.WaitGroup
	for _, q := range tr.asked {
		group.Go(func() { f(q) })
	}
	group.Wait()
}

// fail begins the fault.
func (tr *trial) fail(t *testing.T) {
	t.Helper()
	tr.far.Forget()
	if len(tr.play) > 0 {
		if err := tr.far.Play(tr.play...); err != nil {
			t.Fatal(err)
		}
	}
	if tr.once != nil {
		for _, k := range kinds {
			for _, q := range tr.asked {
				tr.far.Fail(lab.Rule{Kind: k, Repository: q.remote(), Times: 1, Fault: *tr.once})
			}
		}
	}
	if tr.begin != nil {
		tr.begin(tr.far)
	}
}

func (tr *trial) count(repository string) int {
	n := 0
	for _, r := range tr.far.Requests() {
		if r.Repository == repository {
			n++
		}
	}
	return n
}

// until asks until the answer is right, obeying what it is told: nothing here decides by time.
func (tr *trial) until(t *testing.T, c cell, body outcome) (refused []stack.Answer) {
	watchdog := time.Now().Add(90 * time.Second)
	for {
		a := tr.server.Do(t, "GET", tr.pathIn("warm-", c))
		if a.Err == nil && a.Status == 200 && tr.matches(a, c, "far", body) {
			return refused
		}
		refused = append(refused, a)
		if time.Now().After(watchdog) {
			t.Errorf("%s: the upstream is well, but: %d %v %.300s", c.name(), a.Status, a.Err, a.Body)
			return refused
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// matches compares a body with what a member has.
func (tr *trial) matches(a stack.Answer, c cell, member string, o outcome) bool {
	image, note := tr.images.far, tr.images.farNote
	tags := `"tags":["1","2"]`
	if member == "low" {
		image, note, tags = tr.images.low, tr.images.lowNote, `"tags":["1","low"]`
	}
	switch c.kind {
	case lab.KindManifest:
		if o == moved {
			image = tr.images.other
		}
		return bytes.Equal(a.Body, image.Manifest.Payload)
	case lab.KindBlob:
		return bytes.Equal(a.Body, tr.blobs[c].Bytes())
	case lab.KindTags:
		if o == empty {
			tags = `"tags":[]`
		}
		return bytes.Contains(a.Body, []byte(tags))
	}
	var index struct{ Manifests []struct{ Digest string } }
	if json.Unmarshal(a.Body, &index) != nil {
		return false
	}
	if o == empty {
		return len(index.Manifests) == 0
	}
	return len(index.Manifests) == 1 && index.Manifests[0].Digest == string(note.Manifest.Digest)
}
