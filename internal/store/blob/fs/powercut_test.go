package fs

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
)

// device remembers what was flushed, and can show what a power cut would leave: nothing else.
type device struct {
	t       *testing.T
	root    string
	files   map[uint64][]byte            // inode: its bytes when it was last flushed
	folders map[string]map[string]uint64 // folder: its entries when it was last flushed

	promises []func(t *testing.T, after *Store) // what must hold whenever the power is cut
}

func inode(t *testing.T, info os.FileInfo) uint64 {
	t.Helper()
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Skip("SKIPPED: no inodes here")
	}
	return st.Ino
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// flushed notes what is on the device now, after it has cut the power a moment before.
func (d *device) flushed(path string, file *os.File) {
	if len(d.promises) > 0 {
		d.cut()
	}
	if file != nil {
		info := must[os.FileInfo](d.t)(file.Stat())
		content := must[[]byte](d.t)(io.ReadAll(io.NewSectionReader(file, 0, info.Size())))
		d.files[inode(d.t, info)] = content
		return
	}
	entries := map[string]uint64{}
	for _, e := range must[[]os.DirEntry](d.t)(os.ReadDir(path)) {
		entries[e.Name()] = inode(d.t, must[os.FileInfo](d.t)(e.Info()))
	}
	d.folders[path] = entries
}

// cut opens a store on what a power cut would leave, and keeps it to the promises made so far.
func (d *device) cut() {
	d.t.Helper()
	left := filepath.Join(d.t.TempDir(), "blobs")
	if _, there := d.folders[filepath.Dir(d.root)][filepath.Base(d.root)]; there {
		d.copy(d.root, left)
	}
	after := must[*Store](d.t)(New(left))
	for _, promise := range d.promises {
		promise(d.t, after)
	}
}

func (d *device) copy(from, to string) {
	d.t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		d.t.Fatal(err)
	}
	for name, ino := range d.folders[from] {
		path := filepath.Join(from, name)
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			d.copy(path, filepath.Join(to, name))
			continue
		}
		if err := os.WriteFile(filepath.Join(to, name), d.files[ino], 0o600); err != nil {
			d.t.Fatal(err)
		}
	}
}

// saved promises that a stage can be resumed with the content.
func (d *device) saved(id string, state []byte, content string) {
	d.promises = append(d.promises, func(t *testing.T, after *Store) {
		t.Helper()
		st, err := after.ResumeStage(t.Context(), id, state)
		if err != nil {
			t.Fatalf("a stage that was saved: %v", err)
		}
		defer st.Close()
		got, err := io.ReadAll(io.NewSectionReader(st.(blob.ReadableStage), 0, st.Size()))
		if err != nil || string(got) != content {
			t.Fatalf("a stage of %d bytes has %d after a power cut (%v)", len(content), len(got), err)
		}
	})
	d.cut()
}

// committed promises that an object has the content.
func (d *device) committed(key, content string) {
	d.promises = append(d.promises, func(t *testing.T, after *Store) {
		t.Helper()
		c, err := after.Open(t.Context(), key, 0, -1)
		if err != nil {
			t.Fatalf("an object that was committed: %v", err)
		}
		defer c.Body.Close()
		if got, err := io.ReadAll(c.Body); err != nil || string(got) != content {
			t.Fatalf("an object of %d bytes has %d after a power cut (%v)", len(content), len(got), err)
		}
	})
	d.cut()
}

// TestPowerCut cuts the power after every flush and every promise: what was saved and committed is there. A stage is only promised
// until it is committed.
func TestPowerCut(t *testing.T) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // no real power is cut
	}
	root := filepath.Join(t.TempDir(), "a", "blobs")
	d := &device{t: t, root: root, files: map[uint64][]byte{}, folders: map[string]map[string]uint64{}}
	s := must[*Store](t)(newStore(root, d.flushed))
	d.promises = append(d.promises, func(*testing.T, *Store) {}) // from here on, cut at each flush

	commit := func(st blob.Stage, digest oci.Digest, content string) {
		t.Helper()
		d.committed(must[string](t)(st.Commit(t.Context(), digest)), content)
	}
	appendTo := func(st blob.Stage, content string) {
		t.Helper()
		must[int64](t)(st.Append(t.Context(), st.Size(), strings.NewReader(content)))
	}
	save := func(st blob.Stage, content string) (release func()) {
		t.Helper()
		state := must[[]byte](t)(st.Save(t.Context()))
		before := len(d.promises)
		d.saved(st.ID(), state, content)
		return func() { d.promises = append(d.promises[:before:before], d.promises[before+1:]...) }
	}

	pieces := must[blob.Stage](t)(s.Stage(t.Context()))
	defer pieces.Close()
	appendTo(pieces, "one ")
	release := save(pieces, "one ")
	appendTo(pieces, "two")
	atOnce := must[blob.Stage](t)(s.Stage(t.Context()))
	defer atOnce.Close()
	large := string(bytes.Repeat([]byte("0123456789"), behindBytes/10))
	appendTo(atOnce, large)
	commit(atOnce, oci.DigestOf(oci.SHA256, []byte(large)), large)
	release()
	release = save(pieces, "one two")
	release()
	commit(pieces, oci.DigestOf(oci.SHA256, []byte("one two")), "one two")
	other := must[blob.Stage](t)(s.Stage(t.Context()))
	defer other.Close()
	appendTo(other, "in a folder that is not there yet")
	commit(other, oci.DigestOf(oci.SHA512, []byte("in a folder that is not there yet")), "in a folder that is not there yet")
}

// behindBytes is more than one step of writing behind.
const behindBytes = 6 << 20
