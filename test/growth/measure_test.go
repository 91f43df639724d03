package growth

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

var (
	size   = flag.Int("size", 0, "measure a store of so many artifacts; 0 = do not measure")
	folder = flag.String("folder", "", "keep SQLite's store here, and use the one that is there")
	dsn    = flag.String("dsn", "", "use this empty PostgreSQL database, not one made for the test")
	engine = flag.String("engine", meta.SQLite, "sqlite or postgres")
	doc    = flag.String("doc", "", "write the table of all that was measured into this page")
	only   = flag.Bool("generate", false, "generate and do not measure")
)

// prepared is a store on disk, to be opened by a server.
type prepared struct {
	Options meta.Options `json:"-"`
	Data    string       `json:"-"`
	Made    *Store
	Took    time.Duration
}

// prepare makes the store, or finds it made.
func prepare(t *testing.T) *prepared {
	t.Helper()
	p := &prepared{Data: *folder}
	if p.Data == "" {
		p.Data = t.TempDir()
	}
	p.Options = meta.Options{Engine: meta.SQLite, Path: filepath.Join(p.Data, "weir.db")}
	switch {
	case *engine == meta.PostgreSQL && *dsn != "":
		p.Options = meta.Options{Engine: meta.PostgreSQL, DSN: *dsn}
	case *engine == meta.PostgreSQL:
		p.Options = metatest.Options(t, meta.PostgreSQL)
	}
	file := filepath.Join(p.Data, "made.json")
	if text, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(text, p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	db, err := meta.Open(t.Context(), p.Options)
	if err != nil {
		t.Fatal(err)
	}
	began, next := time.Now(), 10
	p.Made, err = Generate(t.Context(), db, Options{Artifacts: *size, Seed: 1, Now: began, Progress: func(done, of int) {
		if percent := 100 * done / of; percent >= next {
			t.Logf("%3d%% of %d artifacts after %v", percent, of, time.Since(began).Round(time.Second))
			next = percent + 10
		}
	}})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	p.Took = time.Since(began)
	p.save(t)
	return p
}

// save notes what there is for a later run.
func (p *prepared) save(t *testing.T) {
	t.Helper()
	text, err := json.Marshal(p)
	if err == nil {
		err = os.WriteFile(filepath.Join(p.Data, "made.json"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestMeasure(t *testing.T) {
	if *size == 0 {
		t.Skip("measured with -size; see make growth")
	}
	p := prepare(t)
	t.Logf("%d artifacts, %d manifests, %d links, made in %v", *size, p.Made.Manifests, p.Made.Links, p.Took.Round(time.Second))
	if *only {
		return
	}
	f := look(t, p)
	for _, row := range f.Rows {
		t.Logf("%-40s %s", row[0], row[1])
	}
	if *doc != "" && !t.Failed() {
		publish(t, f)
	}
}
