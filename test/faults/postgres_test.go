package faults

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// postgres is a PostgreSQL server of one test, with durable commits, which can be crashed and starts again by itself.
type postgres struct {
	t    *testing.T
	dir  string
	port string
}

// serve makes a cluster in the folder $0 and serves it until standard input ends, over crashes of the server. While there is a
// file "down" it stays down.
const serve = `bin=$1; shift; exec 3<&0
"$bin/initdb" -D "$0/data" -A trust -U app -E UTF8 --no-locale -N >"$0/log" 2>&1 || exit
while [ ! -e "$0/end" ]; do
  if [ -e "$0/down" ]; then sleep 0.05; continue; fi
  "$bin/postgres" -D "$0/data" -k "$0" "$@" >>"$0/log" 2>&1 3<&- & echo $! >"$0/pid.next"
  mv "$0/pid.next" "$0/pid"; wait $!
done & server=$!
read -r _ <&3
touch "$0/end"; rm -f "$0/down"
while kill -0 $server; do kill -QUIT "$(cat "$0/pid")"; sleep 0.1; done 2>/dev/null
rm -rf "$0"`

func startPostgres(t *testing.T) *postgres {
	t.Helper()
	bin, err := postgresBinaries()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("SKIPPED on this machine: " + err.Error())
	}
	parent := ""
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		parent = "/dev/shm" // nothing here stops the machine, and a restart must not take as long as a slow disk needs
	}
	dir, err := os.MkdirTemp(parent, "weir-pg-")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(freeAddress(t), ":")
	p := &postgres{t: t, dir: dir, port: port}
	args := []string{"/bin/sh", "-c", serve, dir, bin, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=32MB"}
	if os.Geteuid() == 0 { // the server refuses to run as root
		if err := giveTo("postgres", dir); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"runuser", "-u", "postgres", "--"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal must reach it last
	pipe, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = pipe.Close()
		_ = cmd.Wait()
	})
	p.ready()
	return p
}

func postgresBinaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("PostgreSQL is not installed here")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

func giveTo(name, dir string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	return errors.Join(uidErr, gidErr, os.Chmod(dir, 0o700), os.Chown(dir, uid, gid))
}

func (p *postgres) dsn() string {
	return fmt.Sprintf("postgres://app@127.0.0.1:%s/postgres?sslmode=disable", p.port)
}

// ready waits until the server answers.
func (p *postgres) ready() {
	p.t.Helper()
	db, err := sql.Open("pgx", p.dsn())
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	eventually(p.t, "PostgreSQL starts", func() (string, bool) {
		ctx, cancel := context.WithTimeout(p.t.Context(), 5*time.Second)
		defer cancel()
		err := db.PingContext(ctx)
		log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
		return fmt.Sprintf("%v\n%s", err, log), err == nil
	})
}

// crash ends the server as pg_ctl stop -m immediate does, with every connection, and keeps it down until the returned function is
// called.
func (p *postgres) crash() (up func()) {
	p.t.Helper()
	down, err := os.Create(filepath.Join(p.dir, "down"))
	if err != nil {
		p.t.Fatal(err)
	}
	_ = down.Close()
	pid := p.signal(syscall.SIGQUIT)
	eventually(p.t, "PostgreSQL ends", func() (string, bool) { return "", syscall.Kill(pid, 0) != nil })
	return func() {
		p.t.Helper()
		if err := os.Remove(down.Name()); err != nil {
			p.t.Fatal(err)
		}
		p.ready()
	}
}

// freeze stops every process of the server where it is, until the returned function is called: it takes connections, or rather the
// kernel does for it, and answers nothing.
func (p *postgres) freeze() (thaw func()) {
	p.t.Helper()
	all := []int{p.signal(syscall.SIGSTOP)}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", all[0]))
	if err != nil {
		p.t.Skip("SKIPPED on this machine: " + err.Error())
	}
	for field := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil && syscall.Kill(pid, syscall.SIGSTOP) == nil {
			all = append(all, pid)
		}
	}
	thaw = sync.OnceFunc(func() {
		for _, pid := range all {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	})
	p.t.Cleanup(thaw)
	return thaw
}

func (p *postgres) signal(sig syscall.Signal) (pid int) {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "pid"))
	if err != nil {
		p.t.Fatal(err)
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		err = syscall.Kill(pid, sig)
	}
	if err != nil {
		p.t.Fatalf("signal PostgreSQL: %v", err)
	}
	return pid
}
