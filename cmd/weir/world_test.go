package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// world is the real API over a real database, behind the socket of a data folder: what the command line talks to.
type world struct {
	t    testing.TB
	data string
	dir  *access.Directory
}

func newWorld(t testing.TB) *world {
	t.Helper()
	for _, name := range []string{"WEIR_SERVER", "WEIR_TOKEN", "WEIR_GROUP", "WEIR_DATA"} {
		t.Setenv(name, "")
	}
	t.Setenv("WEIR_CONFIG_HOME", t.TempDir())
	db := metatest.Open(t, meta.SQLite)
	keyset, err := seal.Generate()
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := seal.New(keyset)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t}
	w.dir, err = access.Open(t.Context(), access.Options{DB: db, Sealer: sealer, Hashing: access.Hashing{MemoryKiB: 64, Passes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.dir.Close() })
	if _, err := w.dir.Bootstrap(t.Context(), "correct-horse"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ann", "bob"} {
		if _, err := w.dir.CreateUser(t.Context(), access.Actor{}, name, ""); err != nil {
			t.Fatal(err)
		}
	}
	local := func(*http.Request) (api.Caller, error) {
		return api.Caller{Local: true, Principal: access.Local(), RequestID: "r1"}, nil
	}
	w.listen(api.New(api.Options{Authorize: local, Directory: w.dir, Definitions: db, Planner: &plan.Planner{DB: db, Sealer: sealer}, Version: "1.2.3"}))
	return w
}

func (w *world) listen(h http.Handler) {
	w.t.Helper()
	dir, err := os.MkdirTemp("", "weir") // t.TempDir may be too long for a socket
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, client.SocketName))
	if err != nil {
		w.t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	w.t.Cleanup(s.Close)
	w.data = dir
}

// try runs a command and returns its exit code and what it wrote.
func (w *world) try(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run("weir", append(args, "--data", w.data), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// run runs a command that must succeed and returns its standard output.
func (w *world) run(args ...string) string {
	w.t.Helper()
	code, out, errs := w.try(args...)
	if code != 0 {
		w.t.Fatalf("weir %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// refused runs a command that must end with an exit code and an error with a text in it.
func (w *world) refused(code int, text string, args ...string) {
	w.t.Helper()
	got, out, errs := w.try(args...)
	if got != code || !strings.Contains(errs, text) {
		w.t.Errorf("weir %s: exit code %d, want %d with %q\n%s%s", strings.Join(args, " "), got, code, text, out, errs)
	}
}

// shows fails unless a text has all parts.
func shows(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
}
