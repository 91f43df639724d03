package uploads_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/store"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/work/uploads"
	"github.com/weir-registry/weir/internal/work/worktest"
)

func sweeper(f *worktest.Fixture) *uploads.Sweeper {
	return uploads.New(f.Store, f.Blobs, uploads.Options{Log: worktest.Log(), Now: f.Clock.Now})
}

// upload begins a session of four bytes.
func upload(t *testing.T, f *worktest.Fixture) string {
	t.Helper()
	u, err := f.Store.StartUpload(t.Context(), worktest.Hosted)
	worktest.Must(t, err)
	worktest.Must(t, u.Append(t.Context(), 0, bytes.NewReader([]byte("half"))))
	worktest.Must(t, u.Close())
	return u.ID()
}

// leave abandons a stage that has a state to go on from: a small one without leaves nothing behind.
func leave(t *testing.T, st blob.Stage) {
	t.Helper()
	_, err := st.Save(t.Context())
	worktest.Must(t, err)
	worktest.Must(t, st.Close())
}

func stages(t *testing.T, f *worktest.Fixture) (ids []string) {
	t.Helper()
	for info, err := range f.Blobs.Stages(t.Context()) {
		worktest.Must(t, err)
		ids = append(ids, info.ID)
	}
	return ids
}

func wantSession(t *testing.T, f *worktest.Fixture, id string, want error) {
	t.Helper()
	u, err := f.Store.ResumeUpload(t.Context(), worktest.Hosted, id)
	if !errors.Is(err, want) {
		t.Fatalf("resume %s: %v, want %v", id, err, want)
	}
	if err == nil {
		worktest.Must(t, u.Close())
	}
}

func TestSweep(t *testing.T) {
	worktest.Run(t, store.Options{}, nil, func(t *testing.T, f *worktest.Fixture) {
		s := sweeper(f)
		old := upload(t, f)
		f.Clock.Pass(23 * time.Hour)
		young := upload(t, f)
		worktest.Must(t, s.Sweep(t.Context()))
		wantSession(t, f, old, nil)

		f.Clock.Pass(2 * time.Hour)
		worktest.Must(t, s.Sweep(t.Context()))
		wantSession(t, f, old, store.ErrNotFound)
		wantSession(t, f, young, nil)
		if n := len(stages(t, f)); n != 1 {
			t.Errorf("%d stages, want that of the young session", n)
		}
	})
}

// A session in the hands of a request is not ended, however old.
func TestLiveSessionStays(t *testing.T) {
	worktest.Run(t, store.Options{}, nil, func(t *testing.T, f *worktest.Fixture) {
		u, err := f.Store.StartUpload(t.Context(), worktest.Hosted)
		worktest.Must(t, err)
		f.Clock.Pass(48 * time.Hour)
		worktest.Must(t, sweeper(f).Sweep(t.Context()))
		worktest.Must(t, u.Append(t.Context(), 0, bytes.NewReader([]byte("late"))))
		worktest.Must(t, u.Close())
		wantSession(t, f, u.ID(), nil)
	})
}

func TestAbandonedStages(t *testing.T) {
	worktest.Run(t, store.Options{}, nil, func(t *testing.T, f *worktest.Fixture) {
		st, err := f.Store.Stage(t.Context())
		worktest.Must(t, err)
		_, err = st.Append(t.Context(), 0, bytes.NewReader([]byte("half a fill")))
		worktest.Must(t, err)
		leave(t, st)
		id := upload(t, f)
		s := sweeper(f)
		worktest.Must(t, s.Sweep(t.Context()))
		if n := len(stages(t, f)); n != 2 {
			t.Errorf("%d stages, want both: they are young", n)
		}
		f.Clock.Pass(20 * time.Hour)
		u, err := f.Store.ResumeUpload(t.Context(), worktest.Hosted, id)
		worktest.Must(t, err)
		worktest.Must(t, u.Append(t.Context(), 4, bytes.NewReader([]byte(" done"))))
		worktest.Must(t, u.Close())
		f.Clock.Pass(5 * time.Hour)
		worktest.Must(t, s.Sweep(t.Context()))
		if n := len(stages(t, f)); n != 1 {
			t.Errorf("%d stages, want that of the live session", n)
		}
		wantSession(t, f, id, nil)
	})
}

// undroppable is a blob store that cannot drop one stage.
type undroppable struct {
	blob.Store
	id string
}

func (u *undroppable) DropStage(ctx context.Context, id string) error {
	if id == u.id {
		return errors.New("no luck")
	}
	return u.Store.DropStage(ctx, id)
}

func TestOneFailureDoesNotStopTheSweep(t *testing.T) {
	var blobs *undroppable
	wrap := func(under blob.Store) blob.Store { blobs = &undroppable{Store: under}; return blobs }
	worktest.Run(t, store.Options{}, wrap, func(t *testing.T, f *worktest.Fixture) {
		for range 3 {
			st, err := f.Store.Stage(t.Context())
			worktest.Must(t, err)
			blobs.id = st.ID()
			leave(t, st)
		}
		f.Clock.Pass(25 * time.Hour)
		if err := sweeper(f).Sweep(t.Context()); err == nil {
			t.Error("Sweep hides the failure")
		}
		if got := stages(t, f); len(got) != 1 || got[0] != blobs.id {
			t.Errorf("stages left: %v, want %s", got, blobs.id)
		}
	})
}
