//go:build clients

package clients

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// images are what the upstreams hold.
type images struct {
	debian v1.Image      // Debian from debootstrap below four small layers
	small  v1.Image      // pulled by digest before anything else
	multi  v1.ImageIndex // linux/amd64 and linux/arm64
}

var buildOnce = sync.OnceValues(func() (*images, error) {
	base, err := debian()
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, base)
	if err != nil {
		return nil, err
	}
	for _, n := range []string{"one", "two", "three", "four"} {
		layer, err := fileLayer("opt/"+n, bytes.Repeat([]byte(n+"\n"), 50_000))
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return nil, err
		}
	}
	amd, err := withPlatform(img, "amd64")
	if err != nil {
		return nil, err
	}
	arm, err := random.Image(100_000, 2)
	if err != nil {
		return nil, err
	}
	if arm, err = withPlatform(arm, "arm64"); err != nil {
		return nil, err
	}
	small, err := random.Image(200_000, 3)
	if err != nil {
		return nil, err
	}
	if small, err = withPlatform(small, "amd64"); err != nil {
		return nil, err
	}
	add := func(img v1.Image, arch string) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}}
	}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.DockerManifestList), add(amd, "amd64"), add(arm, "arm64"))
	return &images{debian: amd, small: small, multi: index}, nil
})

func buildImages(t *testing.T) *images {
	t.Helper()
	need(t, "debootstrap")
	im, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func withPlatform(img v1.Image, arch string) (v1.Image, error) {
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", arch
	cfg.Config.Cmd = []string{"/bin/cat", "/opt/one"}
	return mutate.ConfigFile(img, cfg)
}

// debian bootstraps a small Debian once per machine and returns it as a layer. It is kept compressed, so that nobody compresses it again.
func debian() (v1.Layer, error) {
	cache := filepath.Join(os.TempDir(), "weir-test-debian.tar.gz")
	if _, err := os.Stat(cache); err != nil {
		dir, err := os.MkdirTemp("", "weir-debootstrap")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		for _, cmd := range [][]string{
			{"debootstrap", "--variant=minbase", "bookworm", dir + "/root"},
			{"rm", "-rf", dir + "/root/var/cache/apt", dir + "/root/var/lib/apt/lists", dir + "/root/usr/share/doc", dir + "/root/usr/share/locale"},
			{"tar", "-C", dir + "/root", "--exclude=./dev/*", "--exclude=./proc/*", "--exclude=./sys/*", "--sort=name", "-I", "gzip -1", "-cf", dir + "/debian.tar.gz", "."},
			{"mv", dir + "/debian.tar.gz", cache},
		} {
			if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
				return nil, &exec.Error{Name: cmd[0], Err: &output{err, out}}
			}
		}
	}
	return tarball.LayerFromFile(cache)
}

type output struct {
	err error
	out []byte
}

func (o *output) Error() string { return o.err.Error() + "\n" + tail(string(o.out), 2000) }

func fileLayer(path string, content []byte) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
}
