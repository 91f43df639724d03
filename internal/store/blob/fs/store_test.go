package fs_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/blob/blobtest"
	"github.com/weir-registry/weir/internal/store/blob/fs"
)

func open(t *testing.T, root string) *fs.Store {
	t.Helper()
	s, err := fs.New(root)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSuite(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, filepath.Join(t.TempDir(), "a", "blobs")) })
}

func TestSuiteThroughFaulty(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return blobtest.NewFaulty(open(t, t.TempDir())) })
}

func TestModes(t *testing.T) {
	root := filepath.Join(t.TempDir(), "blobs")
	s := open(t, root)
	blobtest.Put(t, s, []byte("abc"))
	if _, err := s.Stage(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if want := map[bool]os.FileMode{true: 0o700, false: 0o600}[d.IsDir()]; info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBodyIsFileAtOffset(t *testing.T) {
	s := open(t, t.TempDir())
	key := blobtest.Put(t, s, make([]byte, 1<<20))
	small, err := s.Open(t.Context(), key, 4, 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := small.Body.(*blob.Bytes); !ok {
		t.Errorf("the body of a small range is a %T, want *blob.Bytes", small.Body)
	}
	c, err := s.Open(t.Context(), key, 4, 1<<19)
	if err != nil {
		t.Fatal(err)
	}
	f, ok := c.Body.(*os.File)
	if !ok {
		t.Fatalf("Body is a %T: sendfile needs an *os.File", c.Body)
	}
	defer func() { _ = f.Close() }()
	if at, err := f.Seek(0, io.SeekCurrent); err != nil || at != 4 || c.Length != 1<<19 {
		t.Errorf("the file stands at %d with length %d (%v), want 4 and 524288", at, c.Length, err)
	}
}

// A new process sees what an old one saved and committed, and only that.
func TestAnotherProcess(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	key := blobtest.Put(t, s, []byte("abc"))
	st, err := s.Stage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Append(t.Context(), 0, strings.NewReader("half")); err != nil {
		t.Fatal(err)
	}
	state, err := st.Save(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil { // as the death of the process does
		t.Fatal(err)
	}
	s = open(t, root)
	if got := blobtest.Read(t, s, key); string(got) != "abc" {
		t.Errorf("the object is %q", got)
	}
	resumed, err := s.ResumeStage(t.Context(), st.ID(), state)
	if err != nil || resumed.Size() != 4 {
		t.Fatalf("ResumeStage: %v", err)
	}
	_ = resumed.Close()
	if err := os.Truncate(filepath.Join(root, "stage", st.ID()[24:25], st.ID()), 2); err != nil { // as after a crash of the machine
		t.Fatal(err)
	}
	if _, err := s.ResumeStage(t.Context(), st.ID(), state); err == nil {
		t.Error("a stage that lost bytes was resumed")
	}
}

func TestForeignFilesArePassedOver(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	key := blobtest.Put(t, s, []byte("abc"))
	for _, name := range []string{"lost+found", "sha256/README", filepath.Dir(key) + "/x", "stage/.nfs0001", "stage/0/.nfs0002"} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var keys []string
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	if len(keys) != 1 || keys[0] != key {
		t.Errorf("List = %v", keys)
	}
	for info, err := range s.Stages(t.Context()) {
		t.Errorf("Stages yields %v, %v", info, err)
	}
}

// An operator may tidy empty folders away while the server runs.
func TestFolderRemoved(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	blobtest.Put(t, s, []byte("abc"))
	if err := errors.Join(os.RemoveAll(filepath.Join(root, "sha256")), os.RemoveAll(filepath.Join(root, "stage"))); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := blobtest.Read(t, s, blobtest.Put(t, s, []byte("abc"))); string(got) != "abc" {
			t.Errorf("the object is %q", got)
		}
	}
}

// A stage that was dropped under the feet of its user cannot be committed.
func TestCommitOfDroppedStage(t *testing.T) {
	s := open(t, t.TempDir())
	st, err := s.Stage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	if _, err := st.Save(t.Context()); err != nil { // from now on others can see it
		t.Fatal(err)
	}
	if err := s.DropStage(t.Context(), st.ID()); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context(), oci.DigestOf(oci.SHA256, nil)); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Commit: %v, want ErrNotFound", err)
	}
}

// BenchmarkSmallCommit compares a commit of 10 KiB with the least anyone can do: write a file, flush it, flush its folder.
func BenchmarkSmallCommit(b *testing.B) {
	root := b.TempDir()
	s, err := fs.New(root)
	if err != nil {
		b.Fatal(err)
	}
	content := strings.Repeat("x", 10<<10)
	parallel := func(name string, put func(digest oci.Digest) error) {
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := put(oci.DigestOf(oci.SHA256, []byte(blob.NewID()))); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
	parallel("weir", func(digest oci.Digest) error {
		st, err := s.Stage(b.Context())
		if err != nil {
			return err
		}
		if _, err := st.Append(b.Context(), 0, strings.NewReader(content)); err != nil {
			return err
		}
		_, err = st.Commit(b.Context(), digest)
		return errors.Join(err, st.Close())
	})
	parallel("sink", func(digest oci.Digest) error {
		folder := filepath.Join(root, "sink", digest.Encoded()[:2])
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
		f, err := os.Create(filepath.Join(folder, digest.Encoded()))
		if err != nil {
			return err
		}
		d, err := os.Open(folder)
		if err != nil {
			return err
		}
		_, err = f.WriteString(content)
		return errors.Join(err, f.Sync(), d.Sync(), f.Close(), d.Close())
	})
}
