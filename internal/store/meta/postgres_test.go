package meta_test

import (
	"context"
	"net/url"
	"sync"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// Behind a proxy that gives each transaction another connection nothing may be left on a connection.
func TestNoSessionState(t *testing.T) {
	o := metatest.Options(t, meta.PostgreSQL)
	o.MaxConns = 1
	db := metatest.Reopen(t, o)
	acme(t, db)
	if _, err := db.Groups(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{
		"pg_prepared_statements", "pg_listening_channels() AS l", "pg_locks WHERE locktype = 'advisory'",
	} {
		var n int
		if err := db.ReadConn().QueryRowContext(t.Context(), "SELECT count(*) FROM "+what).Scan(&n); err != nil || n != 0 {
			t.Errorf("%s: %d, %v", what, n, err)
		}
	}
}

// Replicas that start together on an empty database must agree on one schema and different numbers.
func TestOpenTogether(t *testing.T) {
	o := metatest.Options(t, meta.PostgreSQL)
	u, err := url.Parse(o.DSN)
	if err != nil {
		t.Fatal(err)
	}
	db := metatest.Reopen(t, o)
	name := u.Path[1:] + "_empty"
	if _, err := db.ReadConn().ExecContext(t.Context(), "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.ReadConn().ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	u.Path = "/" + name
	o.DSN = u.String()
	opened := make([]*meta.DB, 3)
	var wait sync.WaitGroup
	for i := range opened {
		wait.Go(func() {
			var err error
			if opened[i], err = meta.Open(t.Context(), o); err != nil {
				t.Errorf("open: %v", err)
			}
		})
	}
	wait.Wait()
	numbers := map[int]bool{}
	for _, db := range opened {
		if db == nil {
			continue
		}
		if numbers[db.Replica()] {
			t.Errorf("number %d was given twice", db.Replica())
		}
		numbers[db.Replica()] = true
		defer func() {
			if err := db.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}()
	}
}
