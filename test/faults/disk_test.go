package faults

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

const mib = 1 << 20

// disk is a small filesystem in memory.
type disk struct {
	t    *testing.T
	path string
	fill *os.File
}

// newDisk mounts a disk of size bytes. That takes root.
func newDisk(t *testing.T, size int64) *disk {
	t.Helper()
	d := &disk{t: t, path: t.TempDir()}
	if err := syscall.Mount("tmpfs", d.path, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		t.Skipf("SKIPPED on this machine: a small disk cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if d.fill != nil {
			_ = d.fill.Close()
		}
		if err := syscall.Unmount(d.path, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	fill, err := os.Create(filepath.Join(d.path, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	d.fill = fill
	return d
}

// leave fills the disk up to n free bytes, or empties it that far.
func (d *disk) leave(n int64) {
	d.t.Helper()
	for range 10 { // others write and delete meanwhile
		info, err := d.fill.Stat()
		if err != nil {
			d.t.Fatal(err)
		}
		size := info.Size() + d.free() - n
		if err := d.fill.Truncate(max(0, min(size, info.Size()))); err != nil {
			d.t.Fatal(err)
		}
		if size > info.Size() {
			if err := syscall.Fallocate(int(d.fill.Fd()), 0, info.Size(), size-info.Size()); err != nil && err != syscall.ENOSPC {
				d.t.Fatalf("fill the disk: %v", err)
			}
		}
		if d.free() == n {
			return
		}
	}
}

func (d *disk) free() int64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.path, &st); err != nil {
		d.t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// TestDiskFull fills the disk of blobs and database step by step. Pulls go on, cached or not; what cannot be kept is refused with a
// reason and leaves nothing behind; and when there is room again everything works as before, without anybody's help.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	d := newDisk(t, 400*mib)
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	env := []string{"WEIR_DATABASE_PATH=" + d.path + "/weir.db", "WEIR_STORAGE_PATH=" + d.path + "/blobs", "WEIR_LOG_LEVEL=info"}
	s := start(t, env...)
	s.Apply(t, fmt.Sprintf(`groups: [{name: acme, hosted: [{prefix: "", anonymous_pull: true}],
  upstreams: [{name: far, url: %q}], registries: [{name: hub, anonymous_pull: true, members: [{upstream: far}]}]}]`, u.URL()))
	image, cold := registrytest.RandomImage(1, 2, 300_000), registrytest.RandomImage(2, 2, 300_000)
	s.Push(t, "acme/app", []string{"1", "old"}, image)
	u.Put("library/app", []string{"1"}, cold)
	upload := s.Do(t, "POST", "acme/app/blobs/uploads/").Want(t, 202).Header.Get("Location")
	stop := s.hits(t, "acme/app", "1", image)

	t.Log("200 MiB free: pulls pass through uncached")
	d.leave(200 * mib)
	s.Pull(t, "acme/hub/library/app", "1", cold)
	if n := s.metrics(t)[`weir_cache_passthrough_total{reason="full",upstream="acme/far"}`]; n == 0 {
		t.Error("the metrics do not tell of what passes through")
	}
	s.Log.Find(t, "the log tells of it", func(l stack.Line) bool {
		return l["level"] == "WARN" && l["msg"] == "content passes through uncached" && l["reason"] == "full"
	})

	t.Log("32 MiB free: no pushes of bytes, but deletes")
	d.leave(32 * mib)
	b := registrytest.RandomBlob(9, 100_000)
	for _, a := range []stack.Answer{
		s.Do(t, "POST", "acme/app/blobs/uploads/"),
		s.Do(t, "POST", "acme/app/blobs/uploads/?digest="+string(b.Digest), stack.Body(oci.MediaTypeOctets, b.Bytes())),
		s.Do(t, "PATCH", upload, stack.Body(oci.MediaTypeOctets, b.Bytes())),
	} {
		noSpace(t, a)
	}
	s.Do(t, "GET", upload).Want(t, 404)
	s.Do(t, "HEAD", "acme/app/blobs/"+string(b.Digest)).Want(t, 404)
	s.Do(t, "DELETE", "acme/app/manifests/old").Want(t, 202)

	t.Log("nothing free: not even the database can write")
	d.leave(0)
	s.fullDatabase(t, image)
	u.Put("library/late", []string{"1"}, registrytest.RandomImage(3, 2, 300_000))
	s.Pull(t, "acme/hub/library/late", "1", registrytest.RandomImage(3, 2, 300_000))
	if n := stop(); n == 0 {
		t.Error("nobody pulled meanwhile")
	}

	t.Log("there is room again")
	d.leave(350 * mib)
	s.Push(t, "acme/app", []string{"2"}, registrytest.RandomImage(4, 2, 300_000))
	s.Do(t, "DELETE", "acme/app/manifests/2").Want(t, 202)
	eventually(t, "what passed through is cached", func() (string, bool) {
		hit := true
		for path := range contents(cold, "1") {
			hit = hit && s.Do(t, "GET", "acme/hub/library/app"+path).Want(t, 200).Header.Get("Cache-Status") == "weir; hit"
		}
		return "no", hit
	})
	if n := s.stages(t); n != 0 {
		t.Errorf("%d staged files are left", n)
	}
	if code := s.Stop(); code != 0 {
		t.Errorf("exit code %d\n%s", code, s.Log)
	}
	cmd := exec.CommandContext(t.Context(), stack.Binary(t), "check", "--offline", "--deep", "--data", s.Data)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte(": 0 problems")) {
		t.Errorf("check: %v\n%s", err, out)
	}
}

func noSpace(t *testing.T, a stack.Answer) {
	t.Helper()
	a.WantCode(t, 503, oci.CodeUnavailable)
	if !bytes.Contains(a.Body, []byte("no space left")) || a.Header.Get("Retry-After") == "" {
		t.Errorf("the answer does not tell what to do: %v %s", a.Header, a.Body)
	}
}

// fullDatabase tries changes of rows until they are refused: the first few may still find room in files that are there. What was
// acknowledged must be so, and what was refused must not.
func (s *server) fullDatabase(t *testing.T, image registrytest.Image) {
	t.Helper()
	refused := 0
	for i := range 200 {
		tag := fmt.Sprintf("full%d", i)
		a := s.Do(t, "PUT", "acme/app/manifests/"+tag, stack.Body(image.Manifest.MediaType, image.Manifest.Payload)).Want(t, 201, 503)
		there := s.Do(t, "GET", "acme/app/manifests/"+tag).Want(t, 200, 404).Status == 200
		if there != (a.Status == 201) {
			t.Errorf("tag %s: the answer was %d, and it is there: %v", tag, a.Status, there)
		}
		if a.Status == 503 {
			noSpace(t, a)
			if refused++; refused == 3 {
				break
			}
		}
	}
	if refused == 0 {
		t.Error("a database on a full disk accepts everything")
	}
	s.Do(t, "DELETE", "acme/app/manifests/1").Want(t, 503)
	s.Do(t, "GET", "acme/app/manifests/1").Want(t, 200).WantBody(t, image.Manifest.Payload)
}
