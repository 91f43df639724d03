package blobtest

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/store/blob"
)

// patience is how many looks a driver may take until it no longer shows what was deleted.
const patience = 100

func list(t testing.TB, s blob.Store, prefix, after string) []string {
	t.Helper()
	var keys []string
	for info, err := range s.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

func listStages(t testing.TB, s blob.Store) []string {
	t.Helper()
	var ids []string
	for info, err := range s.Stages(t.Context()) {
		if err != nil {
			t.Fatalf("Stages: %v", err)
		}
		ids = append(ids, info.ID)
	}
	return ids
}

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for range patience {
		if done() {
			return
		}
	}
	t.Errorf("%s: not after %d looks", what, patience)
}

func testDelete(t *testing.T, s blob.Store) {
	key := Put(t, s, []byte("abc"))
	c, err := s.Open(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	for range 2 {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
	b, err := io.ReadAll(c.Body)
	if err != nil || string(b) != "abc" {
		t.Errorf("an open reader got %q, %v", b, err)
	}
	_ = c.Body.Close()
	_, err = s.Open(t.Context(), key, 0, -1)
	wantError(t, "Open", err, blob.ErrNotFound)
	eventually(t, "Stat finds nothing", func() bool { _, err := s.Stat(t.Context(), key); return err != nil })
	eventually(t, "List shows nothing", func() bool { return len(list(t, s, "", "")) == 0 })
}

func testList(t *testing.T, s blob.Store) {
	var want []string
	for i := range 40 {
		want = append(want, Put(t, s, []byte{byte(i)}))
	}
	want = append(want, Put(t, s, []byte{0}), Put(t, s, []byte{0})) // generations
	slices.Sort(want)
	if got := list(t, s, "", ""); !slices.Equal(got, want) {
		t.Fatalf("List = %v, want %v", got, want)
	}
	for i := range want {
		if got := list(t, s, "", want[i]); !slices.Equal(got, want[i+1:]) {
			t.Errorf("List after %s has %d keys, want %d", want[i], len(got), len(want)-i-1)
		}
		for _, prefix := range []string{want[i], want[i][:9], want[i][:10], want[i][:20], "sha256/", "sha"} {
			has := slices.DeleteFunc(slices.Clone(want), func(k string) bool { return !strings.HasPrefix(k, prefix) })
			if got := list(t, s, prefix, ""); !slices.Equal(got, has) {
				t.Errorf("List(%s) has %d keys, want %d", prefix, len(got), len(has))
			}
		}
	}
	for _, none := range []string{"sha512/", "x", "stage", want[0] + "x"} {
		if got := list(t, s, none, ""); len(got) != 0 {
			t.Errorf("List(%s) = %v", none, got)
		}
	}
	if got := list(t, s, "", "zzz"); len(got) != 0 {
		t.Errorf("List after zzz = %v", got)
	}
	for info := range s.List(t.Context(), "", "") { // a caller may stop
		if info.Size != 1 || info.Modified.IsZero() {
			t.Errorf("List yields %+v", info)
		}
		break
	}
}

func testStages(t *testing.T, s blob.Store) {
	var want []string
	for range 5 {
		st := stage(t, s)
		appendAll(t, st, []byte("abc"))
		if _, err := st.Save(t.Context()); err != nil {
			t.Fatalf("Save: %v", err)
		}
		want = append(want, st.ID())
	}
	for info, err := range s.Stages(t.Context()) {
		if err != nil || info.Size != 3 || info.Modified.IsZero() {
			t.Errorf("Stages yields %+v, %v", info, err)
		}
	}
	slices.Sort(want)
	got := listStages(t, s)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("Stages = %v, want %v", got, want)
	}
	for _, id := range append(want, want[0], "", "..", "../x") {
		if err := s.DropStage(t.Context(), id); err != nil {
			t.Errorf("DropStage(%q): %v", id, err)
		}
	}
	if got := listStages(t, s); len(got) != 0 {
		t.Errorf("after dropping all, Stages = %v", got)
	}
}

func testDrop(t *testing.T, s blob.Store) {
	st := stage(t, s)
	appendAll(t, st, []byte("abc"))
	state, err := st.Save(t.Context())
	if err != nil {
		t.Fatalf("Save: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	st, err = s.ResumeStage(t.Context(), st.ID(), state)
	if err != nil {
		t.Fatalf("ResumeStage after Close: %v", err)
	}
	for range 2 {
		if err := st.Drop(t.Context()); err != nil {
			t.Fatalf("Drop: %v", err)
		}
	}
	_ = st.Close()
	_, err = s.ResumeStage(t.Context(), st.ID(), state)
	wantError(t, "ResumeStage after Drop", err, blob.ErrNotFound)
}

// testReadAt reads a stage from its beginning while it grows, if the driver's stages can be read.
func testReadAt(t *testing.T, s blob.Store) {
	st, ok := stage(t, s).(blob.ReadableStage)
	if !ok {
		return // a fill spools beside such a driver
	}
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<15)
	done := make(chan error, 1)
	go func() {
		_, err := st.Append(t.Context(), 0, bytes.NewReader(content))
		done <- err
	}()
	var got []byte
	buffer := make([]byte, 10_000)
	for len(got) < len(content) {
		n, err := st.ReadAt(buffer, int64(len(got)))
		if err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("ReadAt: %v", err)
			break
		}
		got = append(got, buffer[:n]...)
	}
	if err := <-done; err != nil {
		t.Fatalf("Append: %v", err)
	}
	wantBytes(t, "what ReadAt saw", got, content)
	if n, err := st.ReadAt(buffer, int64(len(content))-5); n != 5 || !errors.Is(err, io.EOF) {
		t.Errorf("ReadAt over the end = %d, %v", n, err)
	}
	commit(t, st, content)
	if n, err := st.ReadAt(buffer, 16); n != len(buffer) || err != nil {
		t.Errorf("ReadAt after Commit = %d, %v", n, err)
	}
	if err := st.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
