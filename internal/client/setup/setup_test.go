package setup

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

var update = flag.Bool("update", false, "write testdata")

// acme is the example of docs/how-to/clients.md.
func acme(client, door string, images ...string) Target {
	t := Target{Client: client, Door: door, Server: "https://weir.acme.test", Registry: "acme/hub", Images: images}
	switch door {
	case Host:
		t.Bound = "ghcr.acme.test"
	case Mirror:
		t.Bound = "mirror.acme.test"
	}
	return t
}

// TestEverySetup compares each client at each of its doors, plain and with everything, with testdata.
func TestEverySetup(t *testing.T) {
	for _, client := range Clients() {
		for _, door := range DoorsOf(client) {
			for name, target := range variants(client, door) {
				t.Run(name, func(t *testing.T) {
					s, err := For(target)
					if err != nil {
						t.Fatal(err)
					}
					readable(t, s)
					golden(t, name, s.Text())
				})
			}
		}
	}
}

func variants(client, door string) map[string]Target {
	name := client + "-" + door
	full := acme(client, door, "docker.io", "ghcr.io")
	full.CA, full.Only = "/etc/ssl/acme.crt", door != Mirror && (client != "buildkit" || door == Path)
	plain := acme(client, door)
	plain.Server = "http://10.0.0.5:5000"
	if plain.Bound != "" {
		plain.Bound += ":5000"
	}
	return map[string]Target{name: acme(client, door, "docker.io"), name + "-full": full, name + "-plain": plain}
}

// readable fails unless every file can be read as what its name says.
func readable(t *testing.T, s Setup) {
	t.Helper()
	for _, f := range s.Files {
		var v any
		var err error
		switch filepath.Ext(f.Path) {
		case ".json":
			err = json.Unmarshal([]byte(f.Text), &v)
		case ".yaml":
			err = yaml.Unmarshal([]byte(f.Text), &v)
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", f.Path, err, f.Text)
		}
	}
	if len(s.Notes) == 0 || strings.Contains(s.Text(), "<no value>") {
		t.Errorf("no notes, or something is missing:\n%s", s.Text())
	}
}

func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != text {
		t.Errorf("%s differs (go test -update writes it): %v\n%s", path, err, text)
	}
}

// TestManual holds docs/how-to/clients.md, whose files the tests of test/clients give to real clients, to what is made here.
func TestManual(t *testing.T) {
	manual, err := os.ReadFile("../../../docs/how-to/clients.md")
	if err != nil {
		t.Fatal(err)
	}
	withCA := func(t Target) Target { t.CA = "ca.crt"; return t }
	only := acme("containerd", NS, "docker.io")
	only.Only = true
	found := 0
	for _, target := range []Target{
		acme("docker", Mirror), withCA(acme("containerd", NS)), withCA(acme("containerd", Host, "ghcr.io")), withCA(only),
		acme("podman", Path, "docker.io", "ghcr.io"), acme("crio", Path, "docker.io", "ghcr.io"),
	} {
		s, err := For(target)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range s.Files {
			found++
			if shown := block(string(manual), f.Path); shown != uncommented(f.Text) {
				t.Errorf("%s of %s by %s:\n%s\nthe manual has\n%s", f.Path, target.Client, target.Door, uncommented(f.Text), shown)
			}
		}
	}
	if found < 6 {
		t.Errorf("%d files", found)
	}
}

// block is the first code block after the name of a file, without comments.
func block(text, name string) string {
	_, after, _ := strings.Cut(text, "`"+name+"`")
	_, after, _ = strings.Cut(after, "\n```")
	_, after, _ = strings.Cut(after, "\n")
	shown, _, _ := strings.Cut(after, "\n```")
	return uncommented(shown + "\n")
}

func uncommented(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			out.WriteString(line)
		}
	}
	return out.String()
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		target Target
		want   string
	}{
		"no such client":  {acme("rocket", ""), "none of docker, containerd"},
		"no such door":    {acme("helm", NS), "cannot use door ns, but path, host"},
		"no server":       {Target{Client: "helm", Registry: "a/b"}, "must be a URL"},
		"no registry":     {Target{Client: "helm", Server: "https://x.test", Registry: "a"}, "GROUP/REGISTRY"},
		"an image":        {Target{Client: "helm", Server: "https://x.test", Registry: "a/b/c"}, "GROUP/REGISTRY"},
		"no bound host":   {Target{Client: "helm", Door: Host, Server: "https://x.test", Registry: "a/b"}, "no host leads to a/b"},
		"mirror and only": {Target{Client: "docker", Door: Mirror, Server: "https://x.test", Registry: "a/b", Bound: "m.test", Only: true}, "always asks the image's own host"},
		"buildkit only":   {Target{Client: "buildkit", Server: "https://x.test", Registry: "a/b", Only: true}, "always asks the image's own host"},
	} {
		if _, err := For(c.target); !errors.Is(err, ErrTarget) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestAsk says for each door what is asked for an image.
func TestAsk(t *testing.T) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, c := range []struct{ client, door, image, want string }{
		{"docker", Path, "alpine", "https://weir.acme.test/v2/acme/hub/library/alpine/manifests/latest"},
		{"docker", Path, "weir.acme.test/acme/hub/ghcr.io/org/app:1", "https://weir.acme.test/v2/acme/hub/ghcr.io/org/app/manifests/1"},
		{"docker", Mirror, "alpine:3.20", "https://mirror.acme.test/v2/library/alpine/manifests/3.20"},
		{"docker", Host, "org/app@" + digest, "https://ghcr.acme.test/v2/org/app/manifests/" + digest},
		{"containerd", NS, "ghcr.io/org/app:1", "https://weir.acme.test/v2/acme/hub/org/app/manifests/1?ns=ghcr.io"},
		{"containerd", Host, "ghcr.io/org/app:1", "https://ghcr.acme.test/v2/org/app/manifests/1?ns=ghcr.io"},
		{"podman", Path, "alpine:1", "https://weir.acme.test/v2/acme/hub/docker.io/library/alpine/manifests/1"},
		{"podman", Host, "ghcr.io/org/app:1@" + digest, "https://ghcr.acme.test/v2/org/app/manifests/" + digest},
		{"containerd", NS, "registry.hub.docker.com/alpine:1", "https://weir.acme.test/v2/acme/hub/library/alpine/manifests/1?ns=registry.hub.docker.com"},
		{"k3s", NS, "alpine", "https://weir.acme.test/v2/acme/hub/library/alpine/manifests/latest?ns=docker.io"},
	} {
		if got := acme(c.client, c.door, "docker.io").ask(c.image).manifest(); got != c.want {
			t.Errorf("%s by %s for %s asks %s, want %s", c.client, c.door, c.image, got, c.want)
		}
	}
}

// A registry whose members have no host that a name can hold is pulled from by its own name, and stands in for nobody.
func TestNameless(t *testing.T) {
	for _, client := range Clients() {
		for _, door := range DoorsOf(client) {
			target := acme(client, door)
			target.Nameless = true
			s, err := For(target)
			own := door == Path && client != "crio" && client != "podman" && client != "kaniko" || door == Host && (client == "docker" || client == "helm")
			switch {
			case !own && (!errors.Is(err, ErrTarget) || !strings.Contains(err.Error(), "weir.acme.test/acme/hub/NAME")):
				t.Errorf("%s by %s: %v", client, door, err)
			case own && (err != nil || strings.Contains(s.Text(), "docker.io") || strings.Contains(s.Text(), "//NAME") || strings.Contains(s.Text(), "alpine")):
				t.Errorf("%s by %s: %v\n%s", client, door, err, s.Text())
			}
		}
	}
}
