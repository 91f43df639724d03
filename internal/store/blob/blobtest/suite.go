// Package blobtest is the suite that every driver of package blob passes, and a wrapper that fails on purpose for crash tests.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
)

// Run runs the suite. open returns a new, empty store for each test.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	tests := []struct {
		name string
		run  func(t *testing.T, s blob.Store)
	}{
		{"commit makes an object", testCommit},
		{"an empty object", testEmpty},
		{"append at offsets", testAppend},
		{"a broken reader keeps what arrived", testBrokenReader},
		{"resume drops what was not saved", testResume},
		{"one at a time has a stage", testOneAtATime},
		{"resume of unknown stages", testResumeUnknown},
		{"nothing is visible before commit", testInvisible},
		{"ranges", testRanges},
		{"keys are checked", testKeys},
		{"missing objects", testMissing},
		{"the same digest again is another object", testAgain},
		{"delete", testDelete},
		{"list", testList},
		{"stages", testStages},
		{"drop and close", testDrop},
		{"cancelled contexts", testCancelled},
		{"concurrent stages", testConcurrent},
		{"read while it grows", testReadAt},
		{"large objects", testLarge},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// Put stores content and returns its key.
func Put(t testing.TB, s blob.Store, content []byte) string {
	t.Helper()
	st := stage(t, s)
	appendAll(t, st, content)
	return commit(t, st, content)
}

// Read returns all bytes of an object.
func Read(t testing.TB, s blob.Store, key string) []byte {
	t.Helper()
	return readRange(t, s, key, 0, -1)
}

func readRange(t testing.TB, s blob.Store, key string, offset, length int64) []byte {
	t.Helper()
	c, err := s.Open(t.Context(), key, offset, length)
	if err != nil {
		t.Fatalf("Open(%s, %d, %d): %v", key, offset, length, err)
	}
	defer func() { _ = c.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(c.Body, c.Length))
	if err != nil || int64(len(b)) != c.Length {
		t.Fatalf("reading %d bytes of %s: got %d, error %v", c.Length, key, len(b), err)
	}
	return b
}

func stage(t testing.TB, s blob.Store) blob.Stage {
	t.Helper()
	st, err := s.Stage(t.Context())
	if err != nil {
		t.Fatalf("Stage: %v", err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func appendAll(t testing.TB, st blob.Stage, content []byte) {
	t.Helper()
	before := st.Size()
	n, err := st.Append(t.Context(), before, bytes.NewReader(content))
	if err != nil || n != int64(len(content)) || st.Size() != before+n {
		t.Fatalf("Append of %d bytes at %d: added %d, size now %d, error %v", len(content), before, n, st.Size(), err)
	}
}

func commit(t testing.TB, st blob.Stage, content []byte) string {
	t.Helper()
	key, err := st.Commit(t.Context(), oci.DigestOf(oci.SHA256, content))
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	return key
}

func wantError(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

func wantBytes(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got %d bytes, want %d, or they differ", what, len(got), len(want))
	}
}

func testCommit(t *testing.T, s blob.Store) {
	content := []byte("hello")
	for _, digest := range []oci.Digest{oci.DigestOf(oci.SHA256, content), oci.DigestOf(oci.SHA512, content)} {
		st := stage(t, s)
		appendAll(t, st, content)
		key, err := st.Commit(t.Context(), digest)
		if err != nil {
			t.Fatalf("Commit: %v", err)
		}
		if d, made, err := blob.ParseKey(key); err != nil || d != digest || made.IsZero() {
			t.Errorf("ParseKey(%s) = %s, %v, %v", key, d, made, err)
		}
		wantBytes(t, "the object", Read(t, s, key), content)
		info, err := s.Stat(t.Context(), key)
		if err != nil || info.Key != key || info.Size != 5 || info.Modified.IsZero() {
			t.Errorf("Stat = %+v, %v", info, err)
		}
		if _, err := st.Append(t.Context(), 5, strings.NewReader("more")); err == nil {
			t.Error("Append after Commit succeeded")
		}
		if _, err := st.Commit(t.Context(), digest); err == nil {
			t.Error("a second Commit succeeded")
		}
		if err := errors.Join(st.Drop(t.Context()), st.Close(), st.Close()); err != nil {
			t.Errorf("Drop and Close after Commit: %v", err)
		}
		wantBytes(t, "the object after Drop", Read(t, s, key), content)
	}
	if n := len(listStages(t, s)); n != 0 {
		t.Errorf("%d stages are left after Commit", n)
	}
}

func testEmpty(t *testing.T, s blob.Store) {
	key := Put(t, s, nil)
	wantBytes(t, "the empty object", Read(t, s, key), nil)
	_, err := s.Open(t.Context(), key, 1, -1)
	wantError(t, "Open behind the end", err, blob.ErrRange)
}

func testAppend(t *testing.T, s blob.Store) {
	st := stage(t, s)
	appendAll(t, st, []byte("abc"))
	for _, offset := range []int64{0, 2, 4, -1} {
		n, err := st.Append(t.Context(), offset, strings.NewReader("x"))
		wantError(t, fmt.Sprintf("Append at %d of 3", offset), err, blob.ErrOffset)
		if n != 0 || st.Size() != 3 {
			t.Errorf("Append at %d added %d bytes, size is %d", offset, n, st.Size())
		}
	}
	appendAll(t, st, nil)
	appendAll(t, st, []byte("def"))
	wantBytes(t, "the object", Read(t, s, commit(t, st, []byte("abcdef"))), []byte("abcdef"))
}

func testBrokenReader(t *testing.T, s blob.Store) {
	broken := errors.New("connection reset")
	st := stage(t, s)
	n, err := st.Append(t.Context(), 0, io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)))
	wantError(t, "Append", err, broken)
	if n != 3 || st.Size() != 3 {
		t.Fatalf("Append added %d bytes, size is %d, want 3", n, st.Size())
	}
	n, err = st.Append(t.Context(), 3, iotest.DataErrReader(strings.NewReader("def"))) // io.EOF together with the last bytes
	if n != 3 || err != nil {
		t.Fatalf("Append = %d, %v", n, err)
	}
	wantBytes(t, "the object", Read(t, s, commit(t, st, []byte("abcdef"))), []byte("abcdef"))
}

func testResume(t *testing.T, s blob.Store) {
	for _, size := range []int{0, 3, 6 << 20} {
		saved := bytes.Repeat([]byte("abc"), size/3)
		lost := stage(t, s)
		appendAll(t, lost, saved)
		state, err := lost.Save(t.Context())
		if err != nil {
			t.Fatalf("Save: %v", err)
		}
		appendAll(t, lost, bytes.Repeat([]byte("unsaved"), 1<<20))
		if err := lost.Close(); err != nil { // here the process dies
			t.Fatalf("Close: %v", err)
		}
		st, err := s.ResumeStage(t.Context(), lost.ID(), state)
		if err != nil {
			t.Fatalf("ResumeStage: %v", err)
		}
		t.Cleanup(func() { _ = st.Close() })
		if st.ID() != lost.ID() || st.Size() != int64(len(saved)) {
			t.Fatalf("resumed %s with %d bytes, want %s with %d", st.ID(), st.Size(), lost.ID(), len(saved))
		}
		appendAll(t, st, []byte("tail"))
		want := append(slices.Clone(saved), "tail"...)
		wantBytes(t, "the object", Read(t, s, commit(t, st, want)), want)
		_, err = s.ResumeStage(t.Context(), lost.ID(), state)
		wantError(t, "ResumeStage after Commit", err, blob.ErrNotFound)
	}
}

// testOneAtATime resumes a stage that another process has: one of the two can do nothing, and spoils nothing.
func testOneAtATime(t *testing.T, s blob.Store) {
	ctx, first := t.Context(), stage(t, s)
	appendAll(t, first, []byte("saved "))
	state, err := first.Save(ctx)
	if err != nil {
		t.Fatalf("Save: %v", err)
	}
	second, err := s.ResumeStage(ctx, first.ID(), state)
	if err != nil {
		wantError(t, "ResumeStage of a stage in other hands", err, blob.ErrBusy)
		appendAll(t, first, []byte("first"))
		wantBytes(t, "the object", Read(t, s, commit(t, first, []byte("saved first"))), []byte("saved first"))
		return
	}
	t.Cleanup(func() { _ = second.Close() })
	_, err = first.Append(ctx, 6, strings.NewReader("first"))
	if err == nil {
		_, err = first.Save(ctx)
	}
	wantError(t, "Append and Save after another took the stage", err, blob.ErrBusy)
	_, err = first.Commit(ctx, oci.DigestOf(oci.SHA256, []byte("saved first")))
	wantError(t, "Commit after another took the stage", err, blob.ErrBusy)
	appendAll(t, second, []byte("second"))
	wantBytes(t, "the object", Read(t, s, commit(t, second, []byte("saved second"))), []byte("saved second"))
}

func testResumeUnknown(t *testing.T, s blob.Store) {
	st := stage(t, s)
	state, err := st.Save(t.Context())
	if err != nil {
		t.Fatalf("Save: %v", err)
	}
	for _, id := range []string{"", "..", "../../etc/passwd", blob.NewID()} {
		_, err := s.ResumeStage(t.Context(), id, state)
		wantError(t, fmt.Sprintf("ResumeStage(%q)", id), err, blob.ErrNotFound)
	}
	for _, bad := range []string{"", "{", `{"size":-1,"parts":-1}`} {
		if _, err := s.ResumeStage(t.Context(), st.ID(), []byte(bad)); err == nil {
			t.Errorf("ResumeStage with state %q succeeded", bad)
		}
	}
}

func testInvisible(t *testing.T, s blob.Store) {
	st := stage(t, s)
	appendAll(t, st, []byte("abc"))
	if _, err := st.Save(t.Context()); err != nil {
		t.Fatalf("Save: %v", err)
	}
	if keys := list(t, s, "", ""); len(keys) != 0 {
		t.Errorf("objects before Commit: %v", keys)
	}
	key := commit(t, st, []byte("abc"))
	if keys := list(t, s, "", ""); !slices.Equal(keys, []string{key}) {
		t.Errorf("objects after Commit: %v", keys)
	}
}

func testRanges(t *testing.T, s blob.Store) {
	content := []byte("0123456789")
	key := Put(t, s, content)
	for _, r := range []struct {
		offset, length int64
		want           string
	}{{0, -1, "0123456789"}, {0, 10, "0123456789"}, {3, -1, "3456789"}, {3, 4, "3456"}, {0, 0, ""}, {10, -1, ""}, {10, 0, ""}, {9, 1, "9"}} {
		if got := readRange(t, s, key, r.offset, r.length); string(got) != r.want {
			t.Errorf("range %d+%d = %q, want %q", r.offset, r.length, got, r.want)
		}
	}
	for _, r := range [][2]int64{{11, -1}, {0, 11}, {9, 2}, {-1, 1}, {0, -2}, {1 << 62, 1 << 62}} {
		_, err := s.Open(t.Context(), key, r[0], r[1])
		wantError(t, fmt.Sprintf("range %d+%d", r[0], r[1]), err, blob.ErrRange)
	}
}

func testKeys(t *testing.T, s blob.Store) {
	good := Put(t, s, []byte("abc"))
	for _, key := range []string{
		"", "/", "..", "../" + good, good + "/..", "/" + good, "x" + good, good + "x", "stage/" + blob.NewID(),
		strings.Replace(good, "sha256", "sha1", 1), strings.ToUpper(good), good[:len(good)-1], strings.Replace(good, "/", "//", 1),
	} {
		if _, err := s.Open(t.Context(), key, 0, -1); err == nil {
			t.Errorf("Open(%q) succeeded", key)
		}
		if _, err := s.Stat(t.Context(), key); err == nil {
			t.Errorf("Stat(%q) succeeded", key)
		}
		if err := s.Delete(t.Context(), key); err == nil {
			t.Errorf("Delete(%q) succeeded", key)
		}
	}
	st := stage(t, s)
	for _, digest := range []oci.Digest{"", "sha256:abc", "md5:900150983cd24fb0d6963f7d28e17f72", "sha256:../../x"} {
		if _, err := st.Commit(t.Context(), digest); err == nil {
			t.Errorf("Commit as %q succeeded", digest)
		}
	}
}

func testMissing(t *testing.T, s blob.Store) {
	key, err := blob.NewKey(oci.DigestOf(oci.SHA256, nil))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Open(t.Context(), key, 0, -1)
	wantError(t, "Open", err, blob.ErrNotFound)
	_, err = s.Stat(t.Context(), key)
	wantError(t, "Stat", err, blob.ErrNotFound)
	if err := s.Delete(t.Context(), key); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if _, err := s.Space(t.Context()); err != nil {
		t.Errorf("Space: %v", err)
	}
}

func testAgain(t *testing.T, s blob.Store) {
	first, second := Put(t, s, []byte("abc")), Put(t, s, []byte("abc"))
	if first == second {
		t.Fatalf("both commits made the key %s", first)
	}
	if err := s.Delete(t.Context(), first); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	wantBytes(t, "the second object", Read(t, s, second), []byte("abc"))
}

func testConcurrent(t *testing.T, s blob.Store) {
	const n = 16
	keys := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			st, err := s.Stage(t.Context())
			if err != nil {
				t.Errorf("Stage: %v", err)
				return
			}
			defer func() { _ = st.Close() }()
			content := bytes.Repeat([]byte{byte(i % 4)}, 100_000) // four digests, each in four hands
			if _, err := st.Append(t.Context(), 0, iotest.HalfReader(bytes.NewReader(content))); err != nil {
				t.Errorf("Append: %v", err)
				return
			}
			if keys[i], err = st.Commit(t.Context(), oci.DigestOf(oci.SHA256, content)); err != nil {
				t.Errorf("Commit: %v", err)
			}
		})
	}
	wg.Wait()
	for i, key := range keys {
		wantBytes(t, key, Read(t, s, key), bytes.Repeat([]byte{byte(i % 4)}, 100_000))
	}
	slices.Sort(keys)
	if n := len(slices.Compact(keys)); n != len(keys) {
		t.Errorf("%d different keys of %d commits", n, len(keys))
	}
}

func testLarge(t *testing.T, s blob.Store) {
	content := make([]byte, 12<<20+17)
	for i := range content {
		content[i] = byte(i * 7 >> 3)
	}
	st := stage(t, s)
	for offset := 0; offset < len(content); offset += 3 << 20 {
		appendAll(t, st, content[offset:min(offset+3<<20, len(content))])
		if _, err := st.Save(t.Context()); err != nil {
			t.Fatalf("Save: %v", err)
		}
	}
	key := commit(t, st, content)
	wantBytes(t, "the object", Read(t, s, key), content)
	wantBytes(t, "a range over parts", readRange(t, s, key, 5<<20-3, 5<<20+6), content[5<<20-3:10<<20+3])
}

func testCancelled(t *testing.T, s blob.Store) {
	key := Put(t, s, []byte("abc"))
	st := stage(t, s)
	appendAll(t, st, []byte("abc"))
	ctx, cancel := context.WithCancel(t.Context())
	cancelling := io.MultiReader(strings.NewReader("def"), readerFunc(func([]byte) (int, error) { cancel(); return 0, nil }), neverEnding{})
	n, err := st.Append(ctx, 3, cancelling)
	wantError(t, "Append cancelled on the way", err, context.Canceled)
	if n < 3 || st.Size() != 3+n {
		t.Errorf("Append added %d bytes, size is %d", n, st.Size())
	}
	_, err = s.Stage(ctx)
	wantError(t, "Stage", err, context.Canceled)
	_, err = st.Commit(ctx, oci.DigestOf(oci.SHA256, nil))
	wantError(t, "Commit", err, context.Canceled)
	_, err = s.Open(ctx, key, 0, -1)
	wantError(t, "Open", err, context.Canceled)
	wantError(t, "Delete", s.Delete(ctx, key), context.Canceled)
	for _, err = range s.List(ctx, "", "") {
	}
	wantError(t, "List", err, context.Canceled)
	wantBytes(t, "the object", Read(t, s, key), []byte("abc"))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }
