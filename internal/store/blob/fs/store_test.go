package fs_test

import (
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
	c, err := s.Open(t.Context(), blobtest.Put(t, s, []byte("0123456789")), 4, 3)
	if err != nil {
		t.Fatal(err)
	}
	f, ok := c.Body.(*os.File)
	if !ok {
		t.Fatalf("Body is a %T: sendfile needs an *os.File", c.Body)
	}
	defer func() { _ = f.Close() }()
	if at, err := f.Seek(0, io.SeekCurrent); err != nil || at != 4 || c.Length != 3 {
		t.Errorf("the file stands at %d with length %d (%v), want 4 and 3", at, c.Length, err)
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
	s = open(t, root)
	if got := blobtest.Read(t, s, key); string(got) != "abc" {
		t.Errorf("the object is %q", got)
	}
	resumed, err := s.ResumeStage(t.Context(), st.ID(), state)
	if err != nil || resumed.Size() != 4 {
		t.Fatalf("ResumeStage: %v", err)
	}
	_ = resumed.Close()
	if err := os.Truncate(filepath.Join(root, "stage", st.ID()), 2); err != nil { // as after a crash of the machine
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
	for _, name := range []string{"lost+found", "sha256/README", filepath.Dir(key) + "/x", "stage/.nfs0001"} {
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
	if err := os.RemoveAll(filepath.Join(root, "sha256")); err != nil {
		t.Fatal(err)
	}
	commit := func() (string, error) {
		st, err := s.Stage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = st.Close() }()
		if _, err := st.Append(t.Context(), 0, strings.NewReader("abc")); err != nil {
			t.Fatal(err)
		}
		return st.Commit(t.Context(), oci.DigestOf(oci.SHA256, []byte("abc")))
	}
	if _, err := commit(); err == nil {
		t.Error("a commit into a missing folder succeeded")
	}
	key, err := commit()
	if err != nil {
		t.Fatalf("the next commit: %v", err)
	}
	if got := blobtest.Read(t, s, key); string(got) != "abc" {
		t.Errorf("the object is %q", got)
	}
}

func BenchmarkSmallCommit(b *testing.B) {
	root := b.TempDir()
	s, err := fs.New(root)
	if err != nil {
		b.Fatal(err)
	}
	content := strings.Repeat("x", 10<<10)
	digest := oci.DigestOf(oci.SHA256, []byte(content))
	b.Run("weir", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				st, err := s.Stage(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				if _, err := st.Append(b.Context(), 0, strings.NewReader(content)); err != nil {
					b.Fatal(err)
				}
				if _, err := st.Commit(b.Context(), digest); err != nil {
					b.Fatal(err)
				}
				_ = st.Close()
			}
		})
	})
	b.Run("sink", func(b *testing.B) { // the least anyone can do: write, flush the file, flush its folder
		folder, err := os.Open(root)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = folder.Close() }()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				f, err := os.Create(filepath.Join(root, blob.NewID()))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := f.WriteString(content); err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
				if err := folder.Sync(); err != nil {
					b.Fatal(err)
				}
				_ = f.Close()
			}
		})
	})
}
