package check_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/work/check"
	"github.com/weir-registry/weir/internal/work/worktest"
)

// run runs a check and returns the kinds of what it found, sorted.
func run(t *testing.T, f *worktest.Fixture, o check.Options) ([]string, check.Summary) {
	t.Helper()
	o.Log, o.Now = worktest.Log(), f.Clock.Now
	var kinds []string
	sum, err := check.New(f.Store, f.Blobs, o).Run(t.Context(), func(found check.Finding) {
		if found.Advice == "" || found.Subject == "" || found.Detail == "" {
			t.Errorf("a finding says too little: %+v", found)
		}
		kinds = append(kinds, found.Kind)
	})
	worktest.Must(t, err)
	slices.Sort(kinds)
	return kinds, sum
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: found %v, want %v", what, got, want)
	}
}

// keyOf is the key of a blob's bytes.
func keyOf(t *testing.T, f *worktest.Fixture, key store.RepositoryKey, content []byte) string {
	t.Helper()
	id, err := f.Store.RepositoryID(t.Context(), key)
	worktest.Must(t, err)
	b, err := f.Store.Blob(t.Context(), id, oci.DigestOf(oci.SHA256, content))
	worktest.Must(t, err)
	return b.Key
}

// lost is a blob store that lies about some objects: they are gone, cut or changed.
type lost struct {
	blob.Store
	gone, cut, changed map[string]bool
}

func lying(under blob.Store) *lost {
	return &lost{Store: under, gone: map[string]bool{}, cut: map[string]bool{}, changed: map[string]bool{}}
}

func (l *lost) Stat(ctx context.Context, key string) (blob.Info, error) {
	if l.gone[key] {
		return blob.Info{}, blob.ErrNotFound
	}
	info, err := l.Store.Stat(ctx, key)
	if l.cut[key] {
		info.Size--
	}
	return info, err
}

func (l *lost) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		for info, err := range l.Store.List(ctx, prefix, after) {
			if l.gone[info.Key] {
				continue
			}
			if l.cut[info.Key] {
				info.Size--
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

func (l *lost) Open(ctx context.Context, key string, offset, length int64) (blob.Content, error) {
	if l.gone[key] {
		return blob.Content{}, blob.ErrNotFound
	}
	c, err := l.Store.Open(ctx, key, offset, length)
	if err == nil && l.changed[key] {
		c.Body = rot{Reader: bytes.NewReader(bytes.Repeat([]byte("x"), int(c.Length))), Closer: c.Body}
	}
	return c, err
}

type rot struct {
	*bytes.Reader
	Closer interface{ Close() error }
}

func (r rot) Close() error { return r.Closer.Close() }

func TestNothingWrong(t *testing.T) {
	worktest.Run(t, store.Options{}, nil, func(t *testing.T, f *worktest.Fixture) {
		f.Push(t, worktest.Hosted, worktest.NewImage("one", "two"), "a")
		f.Push(t, worktest.Cached, worktest.NewImage("two", "three"), "a")
		kinds, sum := run(t, f, check.Options{Deep: true, Grace: -1})
		want(t, "a sound store", kinds)
		if sum.Blobs != 5 || sum.Objects != 5 || sum.Problems != 0 {
			t.Errorf("summary %+v", sum)
		}
	})
}

// TestProgress: whoever wants to know how far it is hears the totals first, and then once a second.
func TestProgress(t *testing.T) {
	worktest.Run(t, store.Options{}, nil, func(t *testing.T, f *worktest.Fixture) {
		f.Push(t, worktest.Hosted, worktest.NewImage("one", "two", "three"), "a")
		var told []check.Progress
		_, sum := run(t, f, check.Options{Grace: -1, Progress: func(p check.Progress) {
			told = append(told, p)
			f.Clock.Pass(time.Second)
		}})
		if len(told) != int(sum.Blobs)+1 {
			t.Fatalf("told %d times of %d blobs: %+v", len(told), sum.Blobs, told)
		}
		first, last := told[0], told[len(told)-1]
		if first != (check.Progress{TotalBlobs: sum.Blobs, TotalBytes: sum.Bytes}) || last != (check.Progress{sum.Blobs, sum.Blobs, sum.Bytes, sum.Bytes}) {
			t.Errorf("told %+v, then %+v, of %+v", first, last, sum)
		}
		told = nil
		run(t, f, check.Options{Grace: -1, Progress: func(p check.Progress) { told = append(told, p) }})
		if len(told) != 1 {
			t.Errorf("told %d times within a second", len(told))
		}
	})
}

func TestLostBytes(t *testing.T) {
	var liar *lost
	wrap := func(under blob.Store) blob.Store { liar = lying(under); return liar }
	worktest.Run(t, store.Options{}, wrap, func(t *testing.T, f *worktest.Fixture) {
		img := worktest.NewImage("one", "two", "three", "four")
		f.Push(t, worktest.Hosted, img, "a")
		f.Push(t, worktest.Cached, img, "a")
		liar.gone[keyOf(t, f, worktest.Hosted, []byte("one"))] = true
		liar.cut[keyOf(t, f, worktest.Hosted, []byte("two"))] = true
		liar.changed[keyOf(t, f, worktest.Hosted, []byte("three"))] = true

		kinds, sum := run(t, f, check.Options{})
		want(t, "a quick check", kinds, check.MissingBytes, check.WrongSize)
		if sum.Problems != 2 || sum.Repaired != 0 {
			t.Errorf("summary %+v", sum)
		}
		kinds, _ = run(t, f, check.Options{Deep: true})
		want(t, "a deep check", kinds, check.MissingBytes, check.WrongDigest, check.WrongSize)

		// Repair unlinks them; the hosted manifest then says what it lacks, the cached one needs nothing.
		kinds, sum = run(t, f, check.Options{Deep: true, DropLost: true})
		want(t, "repair", kinds, check.MissingBytes, store.ProblemBlob, store.ProblemBlob, store.ProblemBlob, check.WrongDigest, check.WrongSize)
		if sum.Repaired != 3 {
			t.Errorf("summary %+v", sum)
		}
		for _, key := range []store.RepositoryKey{worktest.Hosted, worktest.Cached} {
			id, err := f.Store.RepositoryID(t.Context(), key)
			worktest.Must(t, err)
			for content, exists := range map[string]bool{"one": false, "two": false, "three": false, "four": true} {
				_, err := f.Store.Blob(t.Context(), id, oci.DigestOf(oci.SHA256, []byte(content)))
				if (err == nil) != exists || (err != nil && !errors.Is(err, store.ErrNotFound)) {
					t.Errorf("layer %s in %s: %v", content, key.Name, err)
				}
			}
		}
		// Pushing and filling again heals. The bad objects are doomed, so they are nobody's problem.
		f.Push(t, worktest.Hosted, img, "a")
		f.Push(t, worktest.Cached, img, "a")
		kinds, _ = run(t, f, check.Options{Deep: true, Grace: -1})
		want(t, "after healing", kinds)
	})
}

func TestOrphans(t *testing.T) {
	worktest.Run(t, store.Options{}, nil, func(t *testing.T, f *worktest.Fixture) {
		f.Push(t, worktest.Hosted, worktest.NewImage("one"), "a")
		key, stageID := orphan(t, f)
		session, err := f.Store.StartUpload(t.Context(), worktest.Hosted)
		worktest.Must(t, err)
		worktest.Must(t, session.Append(t.Context(), 0, bytes.NewReader([]byte("half"))))
		worktest.Must(t, session.Close())

		kinds, sum := run(t, f, check.Options{DropOrphans: true})
		want(t, "orphans within the grace period", kinds)
		if sum.Stages != 2 {
			t.Errorf("summary %+v", sum)
		}
		f.Clock.Pass(25 * time.Hour)
		kinds, sum = run(t, f, check.Options{})
		want(t, "orphans", kinds, check.OrphanBytes, check.OrphanStage)
		if sum.Problems != 0 || sum.Warnings != 2 {
			t.Errorf("summary %+v", sum)
		}
		kinds, sum = run(t, f, check.Options{DropOrphans: true})
		want(t, "orphans to be dropped", kinds, check.OrphanBytes, check.OrphanStage)
		if sum.Warnings != 2 || sum.Repaired != 0 {
			t.Errorf("summary %+v", sum)
		}
		kinds, _ = run(t, f, check.Options{})
		want(t, "after repair", kinds)
		if _, err := f.Blobs.Open(t.Context(), key, 0, -1); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("the orphaned object: %v", err)
		}
		for stage := range f.Blobs.Stages(t.Context()) {
			if stage.ID == stageID {
				t.Error("the orphaned stage is still there")
			}
		}
		session, err = f.Store.ResumeUpload(t.Context(), worktest.Hosted, session.ID())
		if err != nil || session.Size() != 4 {
			t.Errorf("the live upload: %v", err)
		}
		worktest.Must(t, session.Close())
	})
}

// orphan leaves an object and a stage behind, as a crash would.
func orphan(t *testing.T, f *worktest.Fixture) (key, stageID string) {
	t.Helper()
	for _, commit := range []bool{true, false} {
		st, err := f.Blobs.Stage(t.Context())
		worktest.Must(t, err)
		_, err = st.Append(t.Context(), 0, bytes.NewReader([]byte("orphan")))
		worktest.Must(t, err)
		if commit {
			key, err = st.Commit(t.Context(), oci.DigestOf(oci.SHA256, []byte("orphan")))
		} else {
			stageID = st.ID()
			_, err = st.Save(t.Context())
		}
		worktest.Must(t, err)
		worktest.Must(t, st.Close())
	}
	return key, stageID
}

// TestHandlerDoesNotFloodTheLog: the summary counts all that was lost, the log names some.
func TestHandlerDoesNotFloodTheLog(t *testing.T) {
	worktest.Run(t, store.Options{}, nil, func(t *testing.T, f *worktest.Fixture) {
		for i := range 120 {
			content := fmt.Append(nil, i)
			worktest.Must(t, worktest.Commit(t.Context(), f.Store, worktest.Hosted, content))
			worktest.Must(t, f.Blobs.Delete(t.Context(), keyOf(t, f, worktest.Hosted, content)))
		}
		var log bytes.Buffer
		c := check.New(f.Store, f.Blobs, check.Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Now: f.Clock.Now})
		for range 2 { // a driver may show a deleted object once more
			log.Reset()
			worktest.Must(t, c.Handler(time.Hour).Run(t.Context(), nil))
		}
		if n := strings.Count(log.String(), "kind="+check.MissingBytes); n != 100 || !strings.Contains(log.String(), "problems=120") {
			t.Errorf("%d lines of the log:\n%.1000s", n, log.String())
		}
	})
}

func TestHandlerLogsWhatItFinds(t *testing.T) {
	worktest.Run(t, store.Options{}, nil, func(t *testing.T, f *worktest.Fixture) {
		f.Push(t, worktest.Hosted, worktest.NewImage("one"), "a")
		worktest.Must(t, f.Blobs.Delete(t.Context(), keyOf(t, f, worktest.Hosted, []byte("one"))))
		var log bytes.Buffer
		c := check.New(f.Store, f.Blobs, check.Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Now: f.Clock.Now})
		h := c.Handler(time.Hour)
		if h.Kind != check.Kind || h.Every != time.Hour {
			t.Errorf("handler %+v", h)
		}
		for range 2 { // a driver may show a deleted object once more
			worktest.Must(t, h.Run(t.Context(), nil))
		}
		if text := log.String(); !strings.Contains(text, "kind="+check.MissingBytes) || !strings.Contains(text, "level=ERROR") {
			t.Errorf("the log says %s", text)
		}
	})
}
