package faults

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/event/audit"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/test/stack"
)

// trail is a server whose clients remember the ids of the requests that were answered.
type trail struct {
	*server
	t        *testing.T
	database meta.Options
	sink     string

	mu     sync.Mutex
	pulls  []string
	pushes []string
}

// onTrails runs a test on both engines, with an image to pull and a file that events are handed on to.
func onTrails(t *testing.T, fn func(t *testing.T, s *trail)) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := &trail{t: t, database: metatest.Options(t, engine), sink: filepath.Join(t.TempDir(), "audit.jsonl")}
			env := []string{"WEIR_LOG_LEVEL=warn", "WEIR_AUDIT_SINK=" + s.sink}
			if engine == meta.PostgreSQL {
				env = append(env, "WEIR_DATABASE_ENGINE=postgres", "WEIR_DATABASE_DSN="+s.database.DSN)
			}
			s.server = start(t, env...)
			if engine == meta.SQLite {
				s.database = meta.Options{Engine: engine, Path: s.Data + "/weir.db"}
			}
			s.Apply(t, openGroup)
			s.Push(t, "acme/app", []string{"1"}, registrytest.RandomImage(1, 1, 1000))
			fn(t, s)
		})
	}
}

// pull pulls a manifest, and remembers that if it was answered.
func (s *trail) pull() (id string, ok bool) {
	a := s.Do(s.t, http.MethodGet, "acme/app/manifests/1")
	if a.Err != nil || a.Status != http.StatusOK {
		return "", false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pulls = append(s.pulls, a.Header.Get("X-Request-Id"))
	return a.Header.Get("X-Request-Id"), true
}

// push puts another tag on the image, and remembers that if it was acknowledged.
func (s *trail) push(tag string) bool {
	image := registrytest.RandomImage(1, 1, 1000)
	a := s.Do(s.t, http.MethodPut, "acme/app/manifests/"+tag, stack.Body(image.Manifest.MediaType, image.Manifest.Payload))
	if a.Err != nil {
		return false
	}
	if a.Status != http.StatusCreated {
		s.t.Errorf("push of %s: %d %s", tag, a.Status, a.Body)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pushes = append(s.pushes, a.Header.Get("X-Request-Id"))
	return true
}

// events counts the events of a stream by kind and request.
func (s *trail) events(stream string) map[string]int {
	s.t.Helper()
	list, err := s.API.Events(context.Background(), "", url.Values{"stream": {stream}, "limit": {"1000"}}, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	out := map[string]int{}
	for _, e := range list {
		out[e.Kind+" "+e.RequestID]++
	}
	return out
}

// written waits until a pull is in the trail.
func (s *trail) written(id string) {
	s.t.Helper()
	eventually(s.t, "a pull is not in the trail", func() (string, bool) { return id, s.events("pulls")["pull "+id] > 0 })
}

// agrees compares the trail with what clients got: every change, every pull but those of a last moment, nothing twice, nothing that
// was not counted exactly, and everything sealed as it was.
func (s *trail) agrees(atRisk int) {
	s.t.Helper()
	changes, pulls := s.events("changes"), s.events("pulls")
	for _, id := range s.pushes {
		if changes["tag.moved "+id] != 1 {
			s.t.Errorf("an acknowledged change has %d events", changes["tag.moved "+id])
		}
	}
	for i, id := range s.pulls {
		n := pulls["pull "+id]
		if n > 1 || n == 0 && i < len(s.pulls)-atRisk {
			s.t.Errorf("pull %d of %d, of which %d are at risk, is there %d times", i, len(s.pulls), atRisk, n)
		}
	}
	for key := range pulls {
		if key[:3] == "gap" {
			s.t.Error("a gap that nobody has made")
		}
	}
	s.sealed(len(changes))
}

// sealed has everything sealed and verified.
func (s *trail) sealed(changes int) {
	s.t.Helper()
	if err := s.API.Call(context.Background(), http.MethodPost, "/jobs/audit.seal/run", nil, nil); err != nil {
		s.t.Fatal(err)
	}
	var v client.Verification
	eventually(s.t, "the trail is not sealed", func() (string, bool) {
		var err error
		if v, err = s.API.VerifyEvents(context.Background(), func(client.SealFinding) {}); err != nil {
			s.t.Fatal(err)
		}
		return fmt.Sprintf("%+v, %d changes", v, changes), v.Events >= int64(changes)
	})
	if v.Problems != 0 {
		s.t.Errorf("verified: %+v", v)
	}
	var export bytes.Buffer
	if err := s.API.ExportSealed(context.Background(), &export, nil); err != nil {
		s.t.Fatal(err)
	}
	offline, err := audit.Check{Report: func(audit.Finding) {}}.Verify(&export)
	if err != nil || offline.Problems != 0 || offline.Events < v.Events {
		s.t.Errorf("verified without the server: %+v, %v; with it %+v", offline, err, v)
	}
}

// handedOn waits until the sink has everything that is in the trail.
func (s *trail) handedOn() {
	s.t.Helper()
	want := map[string]bool{}
	for _, stream := range []string{"changes", "pulls"} {
		list, err := s.API.Events(context.Background(), "", url.Values{"stream": {stream}, "limit": {"1000"}}, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, e := range list {
			want[e.ID] = true
		}
	}
	if len(want) < len(s.pulls)+len(s.pushes) {
		s.t.Errorf("the trail has %d events of %d pulls and %d pushes", len(want), len(s.pulls), len(s.pushes))
	}
	eventually(s.t, "the sink does not have everything", func() (string, bool) {
		got := s.delivered()
		missing := 0
		for id := range want {
			if got[id] == 0 {
				missing++
			}
		}
		return fmt.Sprintf("%d of %d are missing", missing, len(want)), missing == 0
	})
}

// delivered counts by id what is in the file.
func (s *trail) delivered() map[string]int {
	s.t.Helper()
	out := map[string]int{}
	f, err := os.Open(s.sink)
	if err != nil {
		return out
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e client.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err == nil { // else it was broken off by a kill
			out[e.ID]++
		}
	}
	return out
}

func (s *trail) again() {
	jobsAreDue(s.t, s.database)
	token := s.Token
	s.Start()
	s.Token = token
}

// TestAuditKilled kills the server at random moments while it is pulled from and pushed to.
func TestAuditKilled(t *testing.T) {
	t.Parallel()
	onTrails(t, func(t *testing.T, s *trail) {
		dice := rand.New(rand.NewPCG(faultSeed(t), 9)) //nolint:gosec // a test
		for round := range 2 {
			var work sync.WaitGroup
			work.Go(func() {
				for i := 0; i < 60 && s.push(fmt.Sprintf("r%d-%d", round, i)); i++ {
				}
			})
			id, ok := s.pull()
			if !ok {
				t.Fatal("no answer")
			}
			s.written(id)
			safe := len(s.pulls) // what was answered before a pull that the next flush has written
			if id, ok = s.pull(); !ok {
				t.Fatal("no answer")
			}
			s.written(id)
			work.Go(func() {
				for i, ok := 0, true; i < 300 && ok; i++ {
					_, ok = s.pull()
				}
			})
			<-time.After(time.Duration(dice.Int64N(int64(800 * time.Millisecond)))) // the moment is random; nothing depends on it
			s.Kill()
			work.Wait()
			s.again()
			s.agrees(len(s.pulls) - safe)
			lost := s.settle()
			t.Logf("round %d: %d pulls, %d of them lost in the last second; %d changes", round, len(s.pulls)+lost, lost, len(s.pushes))
		}
		s.handedOn()
		if code := s.Stop(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

// settle forgets the pulls that a kill has taken.
func (s *trail) settle() (lost int) {
	pulls := s.events("pulls")
	before := len(s.pulls)
	s.pulls = slices.DeleteFunc(s.pulls, func(id string) bool { return pulls["pull "+id] == 0 })
	return before - len(s.pulls)
}

// TestAuditKilledInFlush kills the server between flush and commit: somebody holds the lock that the batch has to wait for. Pulls are
// answered meanwhile; only what was not written is lost, and what is sealed stays as it was.
func TestAuditKilledInFlush(t *testing.T) {
	t.Parallel()
	onTrails(t, func(t *testing.T, s *trail) {
		var last string
		for range 20 {
			last, _ = s.pull()
		}
		s.written(last)
		last, _ = s.pull()
		s.written(last)
		s.sealed(1)
		safe := len(s.pulls)
		eventually(t, "the trail is not at rest", func() (string, bool) { return "", s.metrics(t)["weir_audit_held"] == 0 })
		release := s.lock()
		for range 20 {
			if _, ok := s.pull(); !ok {
				t.Error("a pull waits for the trail")
			}
		}
		if !s.push("during") {
			t.Error("a change waits for the trail of pulls")
		}
		eventually(t, "nothing is being written", func() (string, bool) { return "", s.metrics(t)["weir_audit_held"] > 0 })
		s.Kill()
		release()
		s.again()
		s.agrees(len(s.pulls) - safe)
		if lost := s.settle(); lost == 0 {
			t.Error("the kill has taken nothing: it was not in the flush")
		}
		s.handedOn()
	})
}

// lock keeps everybody else from writing batches of pulls.
func (s *trail) lock() (release func()) {
	s.t.Helper()
	driver, source, statement := "sqlite", "file:"+filepath.Dir(s.database.Path)+"/telemetry.db?_txlock=immediate&_pragma=busy_timeout(10000)", "SELECT 1"
	if s.database.Engine == meta.PostgreSQL {
		driver, source, statement = "pgx", s.database.DSN, "LOCK TABLE pull_batches IN EXCLUSIVE MODE"
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		s.t.Fatal(err)
	}
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := tx.ExecContext(context.Background(), statement); err != nil {
		s.t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(); err != nil {
			s.t.Error(err)
		}
		if err := db.Close(); err != nil {
			s.t.Error(err)
		}
	}
}

// TestAuditStopped: an orderly stop writes everything that was answered, and hands on once.
func TestAuditStopped(t *testing.T) {
	t.Parallel()
	onTrails(t, func(t *testing.T, s *trail) {
		for round := range 3 {
			var work sync.WaitGroup
			for range 3 {
				work.Go(func() {
					for range 30 {
						s.pull()
					}
				})
			}
			work.Go(func() {
				for i := range 5 {
					s.push(fmt.Sprintf("r%d-%d", round, i))
				}
			})
			denied := stack.Remote{URL: s.URL, Token: "weir_wrong"}.Do(t, http.MethodGet, "acme/app/manifests/1")
			work.Wait()
			if code := s.Stop(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			s.again()
			s.agrees(0)
			if id := denied.Header.Get("X-Request-Id"); s.events("pulls")["login.refused "+id] != 1 {
				t.Errorf("wrong credentials were answered with %d and are not in the trail", denied.Status)
			}
		}
		s.handedOn()
		for id, n := range s.delivered() {
			if n != 1 {
				t.Errorf("%s was delivered %d times", id, n)
			}
		}
	})
}
