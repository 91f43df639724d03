package growth

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// figures are what was measured of one store, in the order of the table.
type figures struct {
	Engine string
	Size   int
	Rows   [][2]string
}

func (f *figures) add(name, format string, args ...any) {
	f.Rows = append(f.Rows, [2]string{name, fmt.Sprintf(format, args...)})
}

// look measures everything.
func look(t *testing.T, p *prepared) figures {
	f := &figures{Engine: p.Options.Engine, Size: *size}
	f.add("manifests; links", "%d; %d", p.Made.Manifests, p.Made.Links)
	f.add("database, MB", "%.0f", databaseSize(t, p))
	start(t, p).stop() // the first start makes the administrator, whose password takes 64 MB to hash
	s := start(t, p)
	f.add("start to first answer, ms", "%d", s.started.Milliseconds())
	f.add("memory after start, MB", "%.0f", s.memory("VmRSS"))
	for i, step := range []func(*figures, *server, *prepared){lookAtReads, lookAtLists, lookAtSearches, lookAtContent, lookAtWrites, lookAtCollection} {
		step(f, s, p)
		t.Logf("highest memory after step %d: %.0f MB", i+1, s.memory("VmHWM"))
	}
	f.add("highest memory of all this, MB", "%.0f", s.memory("VmHWM"))
	s.stop()
	lookAtCheck(t, f, p)
	return *f
}

func databaseSize(t *testing.T, p *prepared) float64 {
	if p.Options.Engine == meta.PostgreSQL {
		var bytes int64
		err := metatest.Conn(t, p.Options).QueryRowContext(t.Context(), "SELECT pg_database_size(current_database())").Scan(&bytes)
		if err != nil {
			t.Fatal(err)
		}
		return float64(bytes) / 1e6
	}
	var sum int64
	files, _ := filepath.Glob(filepath.Join(p.Data, "*.db*"))
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			sum += info.Size()
		}
	}
	return float64(sum) / 1e6
}

// picks are n tags of all repositories, by chance but always the same.
func picks(made *Store, n int) (paths, byDigest []string) {
	random := rand.New(rand.NewPCG(2, 2)) //nolint:gosec // a choice
	for range n {
		r := made.Repositories[random.IntN(len(made.Repositories))]
		i := random.IntN(len(r.Tags))
		paths = append(paths, "/v2/"+r.Path()+"/manifests/"+r.Tags[i])
		byDigest = append(byDigest, "/v2/"+r.Path()+"/manifests/"+string(r.Digest[i]))
	}
	return paths, byDigest
}

const clients = 4

func lookAtReads(f *figures, s *server, p *prepared) {
	tags, digests := picks(p.Made, 2000)
	get := func(paths []string) func(int) {
		return func(i int) { s.do("GET", paths[i], nil, http.StatusOK) }
	}
	first := s.measure(len(tags), clients, get(tags))
	again := s.measure(len(tags), clients, get(tags))
	byDigest := s.measure(len(digests), clients, get(digests))
	f.add("pull by tag, first time, CPU ms", "%s", first)
	f.add("pull by tag, again, CPU ms", "%s", again)
	f.add("pull by digest, CPU ms", "%s", byDigest)
	f.add("pulls again, each second", "%.0f", float64(again.n)/again.wall.Seconds())
}

func lookAtLists(f *figures, s *server, p *prepared) {
	large := p.Made.Repositories[0]
	sorted := slices.Sorted(slices.Values(large.Tags))
	for _, at := range []struct {
		name string
		last string
	}{{"first", ""}, {"middle", sorted[len(sorted)/2]}, {"last", sorted[max(0, len(sorted)-100)]}} {
		path := "/v2/" + large.Path() + "/tags/list?n=100"
		if at.last != "" {
			path += "&last=" + at.last
		}
		f.add(fmt.Sprintf("%s page of tags, CPU ms", at.name), "%s", s.measure(200, clients, func(int) { s.do("GET", path, nil, 200) }))
	}
	f.add("page of the catalog, CPU ms", "%s", s.measure(200, clients, func(int) { s.do("GET", "/v2/_catalog?n=100", nil, 200) }))
	signed := "/v2/" + large.Path() + "/referrers/" + string(large.Digest[0])
	f.add("referrers, CPU ms", "%s", s.measure(200, clients, func(int) { s.do("GET", signed, nil, 200) }))
}

func lookAtSearches(f *figures, s *server, p *prepared) {
	last := p.Made.Repositories[len(p.Made.Repositories)-1]
	for _, q := range [][2]string{
		{"everything", "limit=100"},
		{"name", "limit=100&name=" + last.Name[len(last.Name)-5:]},
		{"tag", "limit=100&tag=" + last.Tags[0]},
		{"beginning of a tag", "limit=100&tag=v1.1.*"},
		{"tag that nothing has", "limit=100&tag=none"},
		{"digest", "limit=100&digest=" + string(last.Digest[0])[:30]},
		{"label", "limit=100&label=team"},
		{"label that nothing has", "limit=100&label=none=such"},
		{"platform", "limit=100&platform=linux/arm64"},
		{"platform of a tag", "limit=100&platform=linux/arm64&tag=" + last.Tags[0]},
		{"platform that nothing has", "limit=100&platform=plan9"},
		{"type", "limit=100&type=application/vnd.cncf.helm.config.v1%2Bjson"},
		{"type that nothing has", "limit=100&type=none/such"},
		{"upstream", "limit=100&upstream=hub"},
		{"hosted", "limit=100&kind=hosted"},
		{"stale, where nothing is", "limit=100&stale=true"},
		{"not pulled, cached", "limit=100&upstream=hub&not_pulled_since=2020-01-01T00:00:00Z"},
	} {
		found, next := s.search(q[1])
		c := s.measure(20, 1, func(int) { s.search(q[1]) })
		more := ""
		if next != "" {
			more = "+"
		}
		f.add("search: "+q[0]+", CPU ms", "%s, %d%s", c, found, more)
	}
}

func lookAtContent(f *figures, s *server, p *prepared) {
	large := p.Made.Repositories[slices.IndexFunc(p.Made.Repositories, func(r Repository) bool { return !r.Cached })]
	repository := "repositories/" + url.PathEscape(large.Name)
	for _, q := range [][2]string{
		{"page of repositories", "repositories?limit=100"},
		{"page of repositories, coldest first", "repositories?limit=100&sort=last_pulled_at"},
		{"repository", repository},
		{"page of its tags", repository + "/tags?limit=100"},
		{"page of its tags, latest first", repository + "/tags?limit=100&sort=-updated_at"},
		{"tag", repository + "/tags/" + large.Tags[0]},
		{"manifest", repository + "/manifests/" + string(large.Digest[0])},
	} {
		f.add("content: "+q[0]+", CPU ms", "%s", s.measure(20, 1, func(int) { s.do("GET", "/api/v1/groups/"+group+"/"+q[1], nil, 200) }))
	}
	f.add("content: dry run of a purge, CPU ms", "%s", s.measure(3, 1, func(int) {
		s.do("POST", "/api/v1/groups/"+group+"/upstreams/hub/purge?dry_run=true", []byte("{}"), 200)
	}))
}

func lookAtWrites(f *figures, s *server, p *prepared) {
	large := p.Made.Repositories[0]
	path := "/v2/" + large.Path() + "/manifests/"
	payload := s.do("GET", path+large.Tags[0], nil, 200)
	f.add("push of one more tag, CPU ms", "%s", s.measure(50, 1, func(i int) {
		s.do("PUT", path+"more-"+strconv.Itoa(i), payload, 201)
	}))
	question, _ := json.Marshal(map[string]string{"image": p.Made.Repositories[3].Path() + ":" + p.Made.Repositories[3].Tags[0]})
	f.add("explain, CPU ms", "%s", s.measure(50, 1, func(int) { s.do("POST", "/api/v1/explain", question, 200) }))
}

// lookAtCollection deletes images and waits until the collector has taken all that was theirs, while others pull and push.
func lookAtCollection(f *figures, s *server, p *prepared) {
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	conn := metatest.Conn(s.t, p.Options)
	count := func(table string) (n int) {
		if err := conn.QueryRowContext(s.t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
			s.t.Fatal(err)
		}
		return n
	}
	links, blobs := count("blob_links"), count("blobs")
	var victims []string
	last := 1 // the large one stays
	for ; last < len(p.Made.Repositories) && len(victims) < 1000; last++ {
		for _, digest := range p.Made.Repositories[last].Digest[:min(10, len(p.Made.Repositories[last].Digest))] {
			if r := p.Made.Repositories[last]; !r.Cached {
				victims = append(victims, "/v2/"+r.Path()+"/manifests/"+string(digest))
			}
		}
	}
	p.Made.Repositories = slices.Delete(p.Made.Repositories, 1, last) // for who looks at this store again
	p.save(s.t)
	f.add("delete of an image, CPU ms", "%s", s.measure(len(victims), 1, func(i int) { s.do("DELETE", victims[i], nil, 202) }))
	busy, since := make(chan int), time.Now()
	go func() { busy <- disturb(ctx, s, p) }()
	for all := count("gc_candidates"); count("gc_candidates") >= all; { // the job looks every half minute
		time.Sleep(50 * time.Millisecond)
	}
	began := time.Now()
	for count("gc_candidates") > 0 && time.Since(began) < 10*time.Minute { // nothing waits for a grace period
		time.Sleep(50 * time.Millisecond)
	}
	took := time.Since(began)
	cancel()
	requests := <-busy
	gone := links - count("blob_links") + blobs - count("blobs")
	f.add("collected links and blobs, each minute", "%.0f (%d in %.1f s, beside %.0f requests each second)",
		float64(gone)/took.Minutes(), gone, took.Seconds(), float64(requests)/time.Since(since).Seconds())
}

// disturb pulls and pushes until ctx ends.
func disturb(ctx context.Context, s *server, p *prepared) (requests int) {
	large := p.Made.Repositories[0]
	path := "/v2/" + large.Path() + "/manifests/"
	payload := s.do("GET", path+large.Tags[0], nil, 200)
	tags, _ := picks(p.Made, 500)
	for i := 0; ctx.Err() == nil; i++ {
		s.do("GET", tags[i%len(tags)], nil, http.StatusOK, http.StatusNotFound)
		if i%10 == 0 {
			s.do("PUT", path+"busy-"+strconv.Itoa(i%100), payload, 201)
		}
		requests++
	}
	return requests
}

// lookAtCheck runs the check without a server. It finds that the bytes are missing, which is all it may find.
func lookAtCheck(t *testing.T, f *figures, p *prepared) {
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "check", "--offline", "--data", p.Data)
	cmd.Env = p.environment()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	text, _ := io.ReadAll(out)
	_ = cmd.Wait() // 1: there are problems
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "problem: ") && !strings.HasPrefix(line, "problem: missing-bytes") {
			t.Errorf("the check found: %s", line)
		}
	}
	f.add("check, s", "%.1f (CPU %.1f)", time.Since(began).Seconds(), (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
}
