//go:build clients

package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// smallIndex is what buildx pushes: two platforms and, for one of them, an attestation on the platform unknown/unknown.
func smallIndex(t *testing.T) v1.ImageIndex {
	t.Helper()
	add := func(os, arch string, annotations map[string]string) mutate.IndexAddendum {
		img, err := random.Image(20_000, 2)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		cfg = cfg.DeepCopy()
		cfg.OS, cfg.Architecture = os, arch
		if img, err = mutate.ConfigFile(img, cfg); err != nil {
			t.Fatal(err)
		}
		d := v1.Descriptor{Platform: &v1.Platform{OS: os, Architecture: arch}, Annotations: annotations}
		return mutate.IndexAddendum{Add: mutate.MediaType(img, types.OCIManifestSchema1), Descriptor: d}
	}
	amd := add("linux", "amd64", nil)
	about, err := amd.Add.(v1.Image).Digest()
	if err != nil {
		t.Fatal(err)
	}
	attestation := add("unknown", "unknown", map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": about.String()})
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), amd, add("linux", "arm64", nil), attestation)
}

// pushIndex puts an index into the upstream and returns its digest.
func (u *upstream) pushIndex(t *testing.T, as string, index v1.ImageIndex) string {
	t.Helper()
	ref, err := name.ParseReference(u.addr + "/" + as)
	if err != nil {
		t.Fatal(err)
	}
	opts := []remote.Option{remote.WithTransport(u.transport), remote.WithContext(t.Context())}
	if u.user != "" {
		opts = append(opts, remote.WithAuth(&authn.Basic{Username: u.user, Password: upstreamPassword}))
	}
	if err := remote.WriteIndex(ref, index, opts...); err != nil {
		t.Fatalf("push to the upstream: %v", err)
	}
	d, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// user makes a user with a role in group acme, none if it is empty, and returns the password.
func (w *weir) user(name, role string) string {
	w.t.Helper()
	password := strings.TrimSpace(w.cli("user", "create", name))
	if role != "" {
		w.cli("apply", "-f", writeFile(w.t, filepath.Join(filepath.Dir(w.data), name+".yaml"),
			fmt.Sprintf("groups:\n  - name: acme\n    grants: [{user: %s, role: %s}]\n", name, role)))
	}
	return password
}

// refused runs a client that must fail and say why.
func refused(t *testing.T, env []string, why, program string, args ...string) {
	t.Helper()
	out, err := tryRun(t, env, program, args...)
	switch {
	case err == nil:
		t.Errorf("%s %s succeeded:\n%s", program, strings.Join(args, " "), tail(out, 2000))
	case !strings.Contains(out, why):
		t.Errorf("%s %s: %q is not in what it prints:\n%s", program, strings.Join(args, " "), why, tail(out, 2000))
	}
}

// dockerLogins writes a docker config with logins, as docker login leaves it, and returns the variable that names it. It is for
// clients whose own login is tested elsewhere. logins are "host user:password".
func dockerLogins(t *testing.T, logins ...string) string {
	t.Helper()
	type auth struct {
		Auth []byte `json:"auth"`
	}
	auths := map[string]auth{}
	for _, l := range logins {
		host, login, _ := strings.Cut(l, " ")
		auths[host] = auth{[]byte(login)}
	}
	b, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "config.json"), string(b))
	return "DOCKER_CONFIG=" + dir
}

// layerFile writes a layer with one file and returns the path of its archive.
func layerFile(t *testing.T, file string, content []byte) string {
	t.Helper()
	layer, err := fileLayer(file, content)
	if err != nil {
		t.Fatal(err)
	}
	r, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, filepath.Join(t.TempDir(), "layer.tar"), string(b))
}

func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// script returns the first shell block of a page in docs/how-to: what is tested is what is shown.
func script(t *testing.T, page string) string { t.Helper(); return block(t, page, "sh") }

func yamlBlock(t *testing.T, page string) string { t.Helper(); return block(t, page, "yml") }

func block(t *testing.T, page, language string) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/how-to/" + page)
	if err != nil {
		t.Fatal(err)
	}
	_, after, opened := strings.Cut(string(b), "\n```"+language+"\n")
	text, _, closed := strings.Cut(after, "\n```")
	if !opened || !closed {
		t.Fatalf("docs/how-to/%s has no %s block", page, language)
	}
	return text + "\n"
}

// inFolder runs a script there; it ends at the first command that fails.
func inFolder(t *testing.T, dir string, env []string, script string) string {
	t.Helper()
	return run(t, env, "bash", "-euo", "pipefail", "-c", "cd "+dir+"\n"+script)
}

func sameFile(t *testing.T, a, b string) {
	t.Helper()
	wanted, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(wanted, got) {
		t.Errorf("%s and %s differ", a, b)
	}
}
