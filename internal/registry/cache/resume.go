package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/store/blob"
)

// What a fill needs to go on after a restart lies in the spool folder: <hash of the identity>.json, and for blob stores whose
// stages cannot be read back <hash>-<random>.bytes.
const (
	sidecarSuffix = ".json"
	spoolSuffix   = ".bytes"
	nextSuffix    = ".next"
	sidecarAge    = 24 * time.Hour // older ones are dropped at a start
	maxParked     = 256            // sidecars kept at once
)

// sidecar describes the spool of an unfinished fill.
type sidecar struct {
	Identity
	Name    string    `json:"name"`
	Expect  Expect    `json:"expect"`
	Total   int64     `json:"total"` // -1 = not known
	Spool   spoolMark `json:"spool"`
	SavedAt time.Time `json:"saved_at"`
}

func sidecarName(id Identity) string {
	text, _ := json.Marshal(id) // numbers and strings only
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

func (e *Fills) sidecarPath(id Identity) string {
	return filepath.Join(e.options.SpoolDir, sidecarName(id)+sidecarSuffix)
}

// saveIfDue saves the spool's progress now and then, so that a killed process loses little.
func (t *transfer) saveIfDue(ctx context.Context) error {
	size, now := t.spool.size(), time.Now()
	if t.savedAt.IsZero() {
		t.savedAt = now
	}
	grown := size - t.saved
	if grown < t.engine.options.SaveBytes && (grown < saveAtLeast || now.Sub(t.savedAt) < saveInterval) {
		return nil
	}
	t.saved, t.savedAt = size, now
	return t.save(ctx)
}

func (t *transfer) save(ctx context.Context) error {
	mark, err := t.spool.save(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &storeError{fmt.Errorf("save the spool: %w", err)}
	}
	text, err := json.Marshal(sidecar{
		Identity: t.fill.Identity, Name: t.fill.Name, Expect: t.fill.Expect, Total: t.total, Spool: mark, SavedAt: t.engine.options.Now(),
	})
	if err != nil {
		return &storeError{err}
	}
	if err := writeFile(t.engine.sidecarPath(t.fill.Identity), text); err != nil {
		t.log.Warn("this transfer will not survive a restart", "error", err)
	}
	return nil
}

// writeFile replaces a file in one step.
func writeFile(path string, text []byte) error {
	next := path + nextSuffix
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// park keeps the spool for the next one who asks, or for the next start.
func (t *transfer) park(ctx context.Context) {
	if t.spool == nil {
		return
	}
	if t.spool.size() == 0 || t.engine.parked() >= maxParked || t.save(context.WithoutCancel(ctx)) != nil {
		t.discard(ctx)
		return
	}
	t.spool.close()
}

func (e *Fills) parked() int {
	names, _ := filepath.Glob(filepath.Join(e.options.SpoolDir, "*"+sidecarSuffix))
	return len(names)
}

func (t *transfer) dropSidecar() {
	_ = os.Remove(t.engine.sidecarPath(t.fill.Identity)) // most fills end before they have one
}

// takeUp continues a parked spool, if there is one: it is read once to hash it. t.spool stays nil when there is none.
func (t *transfer) takeUp(ctx context.Context) error {
	side, err := readSidecar(t.engine.sidecarPath(t.fill.Identity))
	if err != nil || side.Identity != t.fill.Identity || side.Expect != t.fill.Expect {
		return errNoSpool
	}
	s, err := t.engine.oldSpool(ctx, side.Spool)
	if err != nil {
		if !errors.Is(err, blob.ErrNotFound) {
			t.log.Warn("a parked spool is lost", "error", err)
		}
		t.dropSidecar()
		return errNoSpool
	}
	t.mu.Lock()
	t.spool, t.total, t.resumed = s, side.Total, true
	t.mu.Unlock()
	buffer := make([]byte, 256<<10)
	for t.size < s.size() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := s.ReadAt(buffer[:min(int64(len(buffer)), s.size()-t.size)], t.size)
		if n == 0 {
			return &storeError{fmt.Errorf("read the parked spool: %w", err)}
		}
		_, _ = t.sums.Write(buffer[:n])
		t.advance(n)
	}
	t.saved = t.size
	t.log.Info("continuing a parked transfer", "offset", t.size, "total", t.total)
	return nil
}

var errNoSpool = errors.New("nothing is parked")

func readSidecar(path string) (sidecar, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return sidecar{}, err
	}
	var s sidecar
	if err := json.Unmarshal(text, &s); err != nil {
		return sidecar{}, fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	return s, nil
}

// Resume continues in the background the transfers that an earlier process left unfinished, a few at a time; a request for
// the same content joins them. lookup gives the fetch for an identity, or false when the upstream or its epoch is gone: then
// the spool is dropped. Call it once, after the registries exist, beside serving: it returns when all of them are over, or with
// ctx; the transfers themselves end with Close.
func (e *Fills) Resume(ctx context.Context, lookup func(Identity) (Fill, bool)) error {
	entries, err := os.ReadDir(e.options.SpoolDir)
	if err != nil {
		return fmt.Errorf("read the spool folder: %w", err)
	}
	var sides []sidecar
	wanted := map[string]bool{}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), sidecarSuffix) {
			continue
		}
		path := filepath.Join(e.options.SpoolDir, entry.Name())
		side, err := readSidecar(path)
		if err != nil || e.options.Now().Sub(side.SavedAt) > sidecarAge {
			e.options.Log.Info("dropping an old spool", "file", entry.Name(), "error", err)
			e.dropParked(ctx, side, path)
			continue
		}
		wanted[side.Spool.File] = true
		sides = append(sides, side)
	}
	e.sweep(entries, wanted)
	return e.resumeAll(ctx, sides, lookup)
}

// sweep removes files that no sidecar names and no transfer of this process holds.
func (e *Fills) sweep(entries []os.DirEntry, wanted map[string]bool) {
	for _, entry := range entries {
		name := entry.Name()
		orphan := strings.HasSuffix(name, spoolSuffix) && !wanted[name] || strings.HasSuffix(name, nextSuffix)
		if orphan && !e.holds(name) {
			_ = os.Remove(filepath.Join(e.options.SpoolDir, name))
		}
	}
}

func (e *Fills) holds(file string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id := range e.transfers {
		if strings.HasPrefix(file, sidecarName(id)) {
			return true
		}
	}
	return false
}

func (e *Fills) resumeAll(ctx context.Context, sides []sidecar, lookup func(Identity) (Fill, bool)) error {
	turns := make(chan struct{}, e.options.Resumes)
	var group sync.WaitGroup
	defer group.Wait()
	for _, side := range sides {
		fill, ok := lookup(side.Identity)
		if !ok {
			e.dropParked(ctx, side, e.sidecarPath(side.Identity))
			continue
		}
		fill.Expect = side.Expect
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		t, _, err := e.join(ctx, fill)
		if err != nil {
			return err
		}
		group.Go(func() {
			defer func() { <-turns }()
			t.over(ctx)
		})
	}
	return nil
}

// over waits until the transfer is over or ctx ends.
func (t *transfer) over(ctx context.Context) {
	for {
		t.mu.Lock()
		if t.phase > flowing {
			t.mu.Unlock()
			return
		}
		changed := t.waitLocked()
		t.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (e *Fills) dropParked(ctx context.Context, side sidecar, path string) {
	if side.Spool.Stage != "" || side.Spool.File != "" {
		if s, err := e.oldSpool(ctx, side.Spool); err == nil {
			s.drop(ctx)
		}
	}
	_ = os.Remove(path)
}
