package meta_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// line is a line to PostgreSQL that can be stopped: what is sent then arrives when it goes on, as with a frozen server.
type line struct {
	net.Listener

	to    string
	mu    sync.Mutex
	goes  *sync.Cond
	stop  bool
	conns map[net.Conn]bool
	work  sync.WaitGroup
}

func newLine(t *testing.T, dsn string) (*line, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l := &line{to: u.Host, conns: map[net.Conn]bool{}}
	l.goes = sync.NewCond(&l.mu)
	if l.Listener, err = new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	l.work.Go(l.accept)
	t.Cleanup(func() {
		_ = l.Close()
		l.freeze(false)
		l.mu.Lock()
		for c := range l.conns {
			_ = c.Close()
		}
		l.mu.Unlock()
		l.work.Wait()
	})
	u.Host = l.Addr().String()
	return l, u.String()
}

func (l *line) freeze(stop bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stop = stop
	l.goes.Broadcast()
}

func (l *line) accept() {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", l.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		l.mu.Lock()
		l.conns[in], l.conns[out] = true, true
		l.mu.Unlock()
		l.work.Go(func() { l.carry(in, out) })
		l.work.Go(func() { l.carry(out, in) })
	}
}

func (l *line) carry(from, to net.Conn) {
	defer func() { _, _ = from.Close(), to.Close() }()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		l.mu.Lock()
		for l.stop {
			l.goes.Wait()
		}
		l.mu.Unlock()
		if _, werr := to.Write(b[:n]); err != nil || werr != nil {
			return
		}
	}
}

// TestFrozenDatabase: a database that takes statements and answers none. Nobody waits for it for ever, those who wait for a connection
// neither, all are told that the database does not answer, and all is well when it goes on.
func TestFrozenDatabase(t *testing.T) {
	o := metatest.Options(t, meta.PostgreSQL)
	l, dsn := newLine(t, o.DSN)
	o.DSN, o.Silence, o.MaxConns = dsn, time.Second, 4
	db := metatest.Reopen(t, o)
	acme(t, db)
	read := func() error {
		var n int
		return db.ReadConn().QueryRowContext(context.Background(), "SELECT 1").Scan(&n)
	}
	for range 2 {
		l.freeze(true)
		results := make(chan error)
		for i := range 100 {
			go func() {
				if i%10 == 0 {
					results <- db.Write(context.Background(), func(ctx context.Context, tx *meta.Tx) error { return change(ctx, tx, fmt.Sprint(i)) })
					return
				}
				results <- read()
			}()
		}
		for range 100 { // each comes, or the test hangs
			if err := <-results; !errors.Is(meta.Failure(err), meta.ErrUnavailable) {
				t.Errorf("the database is frozen: %v", err)
			}
		}
		l.freeze(false)
		for err := read(); err != nil; err = read() { // it is tried once a second; a test that hangs here has failed
			if !errors.Is(meta.Failure(err), meta.ErrUnavailable) {
				t.Fatalf("after the freeze: %v", err)
			}
			time.Sleep(10 * time.Millisecond) // between two looks
		}
		write(t, db, func(ctx context.Context, tx *meta.Tx) error { return change(ctx, tx, "again") })
	}
}

// TestLongStatement: a statement that takes longer than the silence is waited for while the database answers others.
func TestLongStatement(t *testing.T) {
	o := metatest.Options(t, meta.PostgreSQL)
	o.Silence = time.Second // twice as long as the pause between two questions of the change feed
	db := metatest.Reopen(t, o)
	if _, err := db.ReadConn().ExecContext(t.Context(), "SELECT pg_sleep(2.5)"); err != nil {
		t.Error(err)
	}
}
