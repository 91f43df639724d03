package metatest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// The cluster of this test process: started by the first test that needs it. A small shell process beside it waits for
// this process to end, however it ends, and then stops the server and deletes its folder; the tests need no TestMain.
var cluster = sync.OnceValues(startCluster)

var errNoPostgres = errors.New("PostgreSQL is not installed here (looked for initdb on PATH and in /usr/lib/postgresql/*/bin)")

// newPostgres makes a database with the current schema and returns its address. It is dropped when the test ends.
func newPostgres(t testing.TB) string {
	t.Helper()
	c, err := cluster()
	if errors.Is(err, errNoPostgres) && os.Getenv("CI") != "true" {
		t.Skip("SKIPPED on this machine: " + err.Error())
	}
	if err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
	name := "test_" + strings.ToLower(rand.Text())
	c.exec(t, "CREATE DATABASE "+name+" TEMPLATE "+template)
	t.Cleanup(func() { c.exec(t, "DROP DATABASE "+name+" WITH (FORCE)") })
	return c.dsn(name)
}

const template = "weir_template"

type postgres struct {
	port  int
	admin *sql.DB
	mu    sync.Mutex // CREATE DATABASE wants its template for itself
	hold  io.Closer  // the watcher's pipe: the garbage collector would close it
}

func (c *postgres) dsn(database string) string {
	return fmt.Sprintf("postgres://app@127.0.0.1:%d/%s?sslmode=disable", c.port, database)
}

func (c *postgres) exec(t testing.TB, statement string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.admin.ExecContext(context.Background(), statement); err != nil {
		t.Errorf("%s: %v", statement, err)
	}
}

func startCluster() (c *postgres, err error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	for range 3 { // the free port may be gone when the server wants it
		c = &postgres{}
		if err = c.start(bin); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// watch makes a cluster in the folder $0 and serves it until standard input ends. That is the end of a pipe which this process
// holds: it closes when the process is gone, however it ended. The shell then ends the server that it started, by its
// process id, and deletes the folder. A server that has only just begun ignores the signal, hence the loop.
const watch = `bin=$1; shift; exec 3<&0
"$bin/initdb" -D "$0/data" -A trust -U app -E UTF8 --no-locale -N >"$0/log" 2>&1 || exit
"$bin/postgres" -D "$0/data" -k "$0" "$@" >>"$0/log" 2>&1 3<&- & server=$!
{ read -r _ <&3; while kill -QUIT $server; do sleep 0.2; done; } 2>/dev/null & reader=$!
wait $server
kill $reader
rm -rf "$0"`

func (c *postgres) start(bin string) error {
	dir, err := os.MkdirTemp("", "weir-pg-")
	if err != nil {
		return err
	}
	as, err := prepareUser(dir)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	if c.port, err = freePort(); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	cmd := as("/bin/sh", "-c", watch, dir, bin, "-p", strconv.Itoa(c.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off",
		"-c", "max_connections=200", "-c", "shared_buffers=32MB", "-c", "autovacuum=off")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal must reach the watcher last
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	c.hold = pipe // open until this process ends
	exited := make(chan struct{})
	go func() { // ends with the watcher, that is with this process
		defer close(exited)
		_ = cmd.Wait()
	}()
	if err = c.prepare(exited); err == nil {
		return nil
	}
	log, _ := os.ReadFile(filepath.Join(dir, "log"))
	_ = pipe.Close()
	<-exited
	return errors.Join(fmt.Errorf("%w\n%s", err, log), os.RemoveAll(dir))
}

// prepare waits for the server and makes the template with the schema.
func (c *postgres) prepare(exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	admin, err := sql.Open("pgx", c.dsn("postgres"))
	if err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for admin.PingContext(ctx) != nil {
		select {
		case <-exited:
			return errors.New("the server ended")
		case <-ctx.Done():
			return errors.New("the server did not come up")
		case <-tick.C:
		}
	}
	if _, err := admin.ExecContext(ctx, "CREATE DATABASE "+template); err != nil {
		return err
	}
	db, err := meta.Open(ctx, meta.Options{Engine: meta.PostgreSQL, DSN: c.dsn(template)})
	if err != nil {
		return err
	}
	c.admin = admin
	return db.Close()
}

// prepareUser returns how to run commands on dir. The server refuses to run as root: then everything runs as postgres.
func prepareUser(dir string) (func(name string, args ...string) *exec.Cmd, error) {
	if os.Geteuid() != 0 {
		return exec.Command, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if err := errors.Join(uidErr, gidErr, os.Chmod(dir, 0o700), os.Chown(dir, uid, gid)); err != nil {
		return nil, err
	}
	return func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command("runuser", append([]string{"-u", "postgres", "--", name}, args...)...)
		cmd.Dir = "/"
		return cmd
	}, nil
}

func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errNoPostgres
	}
	return filepath.Dir(found[len(found)-1]), nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
