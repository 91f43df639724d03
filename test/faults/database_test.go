package faults

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// hits pulls an image over and over, as nobody and as a user in turn. Every answer must be right, whatever goes on meanwhile. The
// returned function ends that and tells how many answers there were.
func (s *server) hits(t *testing.T, repository, ref string, image registrytest.Image) (stop func() int64) {
	t.Helper()
	s.Pull(t, repository, ref, image) // from here on memory has everything
	stack.Remote{URL: s.URL}.Pull(t, repository, ref, image)
	var n atomic.Int64
	end := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
			}
			r := stack.Remote{URL: s.URL}
			if n.Add(1)%2 == 0 {
				r.Token = s.Token
			}
			for path, content := range contents(image, ref) {
				a := r.Do(t, "GET", repository+path)
				if a.Err != nil || a.Status != 200 || string(a.Body) != string(content) {
					t.Errorf("a hit: %s: %d, %v, %.300s", path, a.Status, a.Err, a.Body)
					return
				}
			}
		}
	})
	return sync.OnceValue(func() int64 {
		close(end)
		work.Wait()
		return n.Load()
	})
}

// contents is everything that a pull asks for, by path.
func contents(image registrytest.Image, ref string) map[string][]byte {
	m := map[string][]byte{"/manifests/" + ref: image.Manifest.Payload}
	for _, b := range image.Blobs {
		m["/blobs/"+string(b.Digest)] = b.Bytes()
	}
	return m
}

// TestDatabaseRestart crashes PostgreSQL under load. Pushes succeed or get an error that says "again"; what was acknowledged is there
// afterwards; and hits notice nothing as long as it takes seconds only.
func TestDatabaseRestart(t *testing.T) {
	t.Parallel()
	p := startPostgres(t)
	s := start(t, "WEIR_DATABASE_ENGINE=postgres", "WEIR_DATABASE_DSN="+p.dsn(), "WEIR_LOG_LEVEL=info")
	s.Apply(t, openGroup)
	image := registrytest.RandomImage(1, 2, 100_000)
	s.Push(t, "acme/app", []string{"1"}, image)
	j := &journal{}
	var all []*pusher
	for i := range 4 {
		w := newPusher(t, j, faultSeed(t), i, 4)
		w.again = true
		all = append(all, w)
	}
	moment := rand.New(rand.NewPCG(faultSeed(t), 7))
	for range 3 {
		stop := s.hits(t, "acme/app", "1", image)
		var work sync.WaitGroup
		for _, w := range all {
			work.Go(func() { w.run(s.Remote) })
		}
		time.Sleep(time.Duration(moment.Int64N(int64(time.Second)))) // the moment is random
		up := p.crash()
		work.Wait() // everybody has met the outage
		up()
		eventually(t, "pushes work again", func() (string, bool) {
			a := s.Do(t, "PUT", "acme/app/manifests/1", stack.Body(image.Manifest.MediaType, image.Manifest.Payload))
			return fmt.Sprint(a.Status, a.Err), a.Status == 201
		})
		for _, w := range all {
			w.settle(s.Remote)
		}
		if n := stop(); n == 0 {
			t.Error("nobody pulled meanwhile")
		}
	}
	sum, err := s.API.Check(t.Context(), true, func(f client.Finding) { t.Logf("%+v", f) }, nil)
	if err != nil || sum.Problems > 0 {
		t.Errorf("check: %+v, %v", sum, err)
	}
	if t.Failed() {
		t.Logf("%s", s.Log)
	}
	t.Logf("3 crashes of the database: %s", j)
}

// TestDatabaseFrozen stops PostgreSQL where it is: it takes every question and answers none. What memory has is served for half a
// minute, all else gets an error that says "again", and nobody waits until the database goes on.
func TestDatabaseFrozen(t *testing.T) {
	t.Parallel()
	p := startPostgres(t)
	s := startJumping(t, "WEIR_DATABASE_ENGINE=postgres", "WEIR_DATABASE_DSN="+p.dsn(), "WEIR_LOG_LEVEL=info")
	s.Apply(t, openGroup)
	image := registrytest.RandomImage(1, 2, 100_000)
	s.Push(t, "acme/app", []string{"1"}, image)
	stop := s.hits(t, "acme/app", "1", image)
	thaw := p.freeze()
	refused := make(chan stack.Answer)
	const asked = 60 // three times as many as there are connections
	for i := range asked {
		go func() {
			if i%2 == 0 {
				refused <- s.Do(t, "PUT", fmt.Sprintf("acme/app/manifests/w%d", i), stack.Body(image.Manifest.MediaType, image.Manifest.Payload))
				return
			}
			refused <- s.Do(t, "GET", fmt.Sprintf("acme/app/manifests/never%d", i))
		}()
	}
	for range asked {
		a := <-refused
		a.WantCode(t, 503, oci.CodeUnavailable)
		if a.Header.Get("Retry-After") == "" {
			t.Error("the answer does not say when to come back")
		}
	}
	if n := stop(); n == 0 {
		t.Error("nobody pulled meanwhile")
	}
	s.set(40 * time.Second) // half a minute has passed, for all that the server knows
	a := s.Do(t, "GET", "acme/app/manifests/1")
	a.WantCode(t, 503, oci.CodeUnavailable)
	thaw()
	eventually(t, "pulls and pushes work again", func() (string, bool) {
		a := s.Do(t, "PUT", "acme/app/manifests/2", stack.Body(image.Manifest.MediaType, image.Manifest.Payload))
		b := s.Do(t, "GET", "acme/app/manifests/1")
		return fmt.Sprint(a.Status, b.Status), a.Status == 201 && b.Status == 200
	})
	if t.Failed() {
		t.Logf("%s", s.Log)
	}
}

// TestDatabaseLocked has another process hold SQLite's lock: an operator with the sqlite3 shell, or a backup. Writes wait, and
// when it takes too long they get an error that says so, all of them soon; hits go on, and what is not held passes through.
func TestDatabaseLocked(t *testing.T) {
	t.Parallel()
	s := start(t)
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	s.Apply(t, fmt.Sprintf(`groups: [{name: acme, hosted: [{prefix: "", anonymous_pull: true}], upstreams: [{name: far, url: %q}],
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: far}]}]}]`, u.URL()))
	image, cold := registrytest.RandomImage(1, 2, 100_000), registrytest.RandomImage(9, 8, 100_000)
	u.Put("library/cold", []string{"1"}, cold)
	s.Push(t, "acme/app", []string{"1"}, image)
	stop := s.hits(t, "acme/app", "1", image)

	unlock := s.lock(t)
	const writers = 12
	answers := make(chan stack.Answer, writers)
	for i := range writers {
		go func() {
			answers <- s.Do(t, "PUT", fmt.Sprintf("acme/app/manifests/w%d", i), stack.Body(image.Manifest.MediaType, image.Manifest.Payload))
		}()
	}
	began := time.Now()
	for range writers {
		a := <-answers
		a.WantCode(t, 503, oci.CodeUnavailable)
		if a.Header.Get("Retry-After") == "" {
			t.Error("the answer does not say when to come back")
		}
	}
	s.Pull(t, "acme/hub/library/cold", "1", cold) // ten parts, none of which can be kept
	took := time.Since(began)
	unlock()
	t.Logf("%d writers and a cold pull were answered within %v", writers, took)
	if took > time.Minute { // each would wait for its own timeout, one after another
		t.Error("writers wait for each other's timeouts")
	}
	a := s.Do(t, "GET", "acme/app/tags/list").Want(t, 200)
	if bytes.Contains(a.Body, []byte("w1")) {
		t.Errorf("a push that was refused took place: %s", a.Body)
	}
	s.Push(t, "acme/app", []string{"2"}, registrytest.RandomImage(3, 1, 1000))
	if n := stop(); n == 0 {
		t.Error("nobody pulled meanwhile")
	}

	unlock = s.lock(t)
	time.AfterFunc(time.Second, unlock) // a short lock only makes writers wait
	s.Push(t, "acme/app", []string{"3"}, registrytest.RandomImage(4, 1, 1000))
}

// lock takes SQLite's lock until the returned function is called.
func (s *server) lock(t *testing.T) (unlock func()) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+s.Data+"/weir.db?_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	unlock = sync.OnceFunc(func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
		_ = db.Close()
	})
	t.Cleanup(unlock)
	return unlock
}
