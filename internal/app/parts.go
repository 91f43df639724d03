// Package app wires the server together: the only place that knows every part. It builds in order, runs, and stops in reverse
// order; it decides nothing else.
package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/blob/fs"
	"github.com/weir-registry/weir/internal/store/meta"
)

// Version is set by the linker.
var Version = "dev"

// kept is what the server keeps: rows, bytes and the door to both.
type kept struct {
	lock  *os.File
	db    *meta.DB
	blobs blob.Store
	store *store.Store
}

// ErrLocked is returned when another process has the data folder open.
var ErrLocked = errors.New("another weir has this data folder open")

// openKept opens the data folder, for this process alone, with the database and the blob store.
// observe, if not nil, is told how long database operations take.
func openKept(ctx context.Context, c config.Config, log *slog.Logger, observe func(operation string, took time.Duration)) (k *kept, err error) {
	k = &kept{}
	defer func() {
		if err != nil {
			k.close(log)
		}
	}()
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return k, fmt.Errorf("data folder: %w", err)
	}
	if k.lock, err = lockFile(filepath.Join(c.Data, "weir.lock")); err != nil {
		return k, err
	}
	k.db, err = meta.Open(ctx, meta.Options{
		Engine: c.Database.Engine, Path: c.Database.Path, DSN: c.Database.DSN.Reveal(), Version: Version, Log: log,
		Observe: observe, HandOn: handsOn(c),
	})
	if err != nil {
		return k, err
	}
	if k.blobs, err = fs.New(c.Storage.Path); err != nil {
		return k, err
	}
	grace := time.Duration(c.GC.Delay)
	if grace == 0 {
		grace = -1 // in config 0 means none, in store the default
	}
	k.store = store.New(k.db, k.blobs, store.Options{Grace: grace, MaxUploads: c.Limits.UploadsPerGroup, Log: log})
	return k, nil
}

// close flushes what is batched and lets go of everything, in reverse order.
func (k *kept) close(log *slog.Logger) {
	if k.store != nil {
		if err := k.store.Close(); err != nil {
			log.Error("close the store", "error", err)
		}
	}
	if k.db != nil {
		if err := k.db.Close(); err != nil {
			log.Error("close the database", "error", err)
		}
	}
	if k.lock != nil {
		_ = k.lock.Close()
	}
}

// lockFile takes an advisory lock that ends with the process, however it ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", ErrLocked, filepath.Dir(path))
		}
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	return f, nil
}

// ErrKeysetLost is returned for a database with sealed rows whose keyset file is not there.
var ErrKeysetLost = errors.New("the keyset file is missing, but the database has secrets that were sealed with it: " +
	"restore the file from a backup, or let keys.keyset_file (or keys.env) name the one that every server of this database shares")

// openSealer opens the keyset, which is made on the first start if it is a file. Later a missing one is never made anew: what
// the old one sealed would be lost without a word.
func openSealer(ctx context.Context, c config.Config, db *meta.DB) (*seal.Sealer, error) {
	if c.Keys.Env != "" {
		text := os.Getenv(c.Keys.Env)
		if text == "" {
			return nil, fmt.Errorf("keys.env names %s, but that variable is empty", c.Keys.Env)
		}
		return seal.New([]byte(text))
	}
	if _, err := os.Stat(c.Keys.KeysetFile); errors.Is(err, os.ErrNotExist) {
		keys, err := db.Read().AccessSigningKeys(ctx) // the first row that anything seals
		if err != nil {
			return nil, fmt.Errorf("look for sealed rows: %w", err)
		}
		if len(keys) > 0 {
			return nil, fmt.Errorf("%s: %w", c.Keys.KeysetFile, ErrKeysetLost)
		}
	}
	s, _, err := seal.OpenFile(c.Keys.KeysetFile)
	return s, err
}

// CheckSettings looks at the files that settings name, as a start would: every problem at once. It creates nothing.
func CheckSettings(c config.Config) error {
	errs := []error{checkSinkKinds(c)}
	if c.TLS.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile); err != nil {
			errs = append(errs, fmt.Errorf("tls: %w", err))
		}
	}
	switch {
	case c.Keys.Env != "":
		if _, err := seal.New([]byte(os.Getenv(c.Keys.Env))); err != nil {
			errs = append(errs, fmt.Errorf("keys.env: the variable %s: %w", c.Keys.Env, err))
		}
	default:
		if _, err := os.Stat(c.Keys.KeysetFile); errors.Is(err, os.ErrNotExist) {
			break // the first start makes it
		}
		if _, _, err := seal.OpenFile(c.Keys.KeysetFile); err != nil {
			errs = append(errs, fmt.Errorf("keys.keyset_file: %w", err))
		}
	}
	return errors.Join(errs...)
}

// UnknownVariables lists the WEIR_… variables of the process that are no settings.
func UnknownVariables() []string { return config.Unknown(os.Environ(), otherVariables...) }
