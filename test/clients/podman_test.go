//go:build clients

package clients

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

// podman is the surroundings of podman and buildah: storage, logins and registries.conf of the test's own.
type podman struct {
	t   *testing.T
	dir string
	env []string
}

func newPodman(t *testing.T, env []string) *podman {
	t.Helper()
	need(t, "podman", "buildah", "runc")
	dir, err := os.MkdirTemp("", "weirp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = tryRun(t, nil, "umount", filepath.Join(dir, "root/overlay"))
		_ = os.RemoveAll(dir)
	})
	storage := writeFile(t, dir+"/storage.conf", fmt.Sprintf("[storage]\ndriver = \"overlay\"\ngraphroot = \"%[1]s/root\"\nrunroot = \"%[1]s/run\"\n", dir))
	registries := writeFile(t, dir+"/registries.conf", shown(t, "/etc/containers/registries.conf.d/weir.conf"))
	return &podman{t: t, dir: dir, env: append(env, "CONTAINERS_STORAGE_CONF="+storage, "CONTAINERS_REGISTRIES_CONF="+registries,
		"REGISTRY_AUTH_FILE="+writeFile(t, dir+"/auth.json", "{}"), "DOCKER_CONFIG="+dir, "HOME="+dir)}
}

func (p *podman) run(program string, args ...string) string {
	p.t.Helper()
	return run(p.t, p.env, program, args...)
}

func (p *podman) refused(why, program string, args ...string) {
	p.t.Helper()
	refused(p.t, p.env, why, program, args...)
}

// TestPodman takes podman and buildah, with the registries.conf of docs/how-to/clients.md, through everything they do with a
// registry.
func TestPodman(t *testing.T) {
	need(t, "podman", "buildah", "runc")
	up := startDebianRegistry(t)
	im := up.push(t)
	w, n, ca := startNamed(t, up)
	p := newPodman(t, n.env)
	p.login(w, ca)
	p.loginOfDocker(w)
	p.pull(im)
	p.build()
	if n.wasAsked("registry-1.docker.io") || n.wasAsked("ghcr.io") {
		t.Error("a public registry was asked")
	}
	p.refusals()
	up.proc.stop()
	p.run("podman", "rmi", "--all", "--force")
	for _, image := range []string{"docker.io/library/debian:1", "ghcr.io/team/multi:1", "weir.acme.test/acme/own/app:1"} {
		p.run("podman", "pull", "-q", image)
	}
	verifyImage(t, w, "acme/hub/library/debian", "1", im.debian)
	record(t, "podman", "virtual registry, upstream stopped", "every image pulled before is pulled again; one is compared byte by byte")
}

func (p *podman) login(w *weir, ca string) {
	image := "weir.acme.test/acme/hub/ghcr.io/team/digestfirst:1"
	p.refused("x509: certificate signed by unknown authority", "podman", "pull", "-q", image)
	install(p.t, ca, "/etc/containers/certs.d/weir.acme.test")
	p.refused("unauthorized: log in to pull acme/hub/ghcr.io/team/digestfirst", "podman", "pull", "-q", image)
	record(p.t, "podman", "private CA", "refused without the CA, trusted with it in certs.d")
	token := w.cli("token", "create", "--name", "podman", "--expires", "1h")
	for _, program := range []string{"podman", "buildah"} {
		p.refused("invalid username/password", program, "login", "-u", "admin", "-p", "a-wrong-password", "weir.acme.test")
		p.run(program, "login", "-u", "robot", "-p", token, "weir.acme.test")
		p.run(program, "logout", "weir.acme.test")
		p.run(program, "login", "-u", "admin", "-p", adminPassword, "weir.acme.test")
		record(p.t, program, "log in", "with a password and with a token; a wrong password is called wrong")
	}
}

// loginOfDocker pulls with what docker login leaves behind.
func (p *podman) loginOfDocker(w *weir) {
	resp, err := w.http.PostForm(w.url+"/token", url.Values{"grant_type": {"password"}, "username": {"admin"}, "password": {adminPassword},
		"service": {"weir.acme.test"}, "client_id": {"docker"}, "access_type": {"offline"}})
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var token struct {
		Refresh string `json:"refresh_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&token); err != nil || token.Refresh == "" {
		p.t.Fatalf("an identity token: %s, %v", resp.Status, err)
	}
	p.run("podman", "logout", "weir.acme.test")
	config := writeFile(p.t, filepath.Join(p.dir, "config.json"), fmt.Sprintf(`{"auths": {"weir.acme.test": {"auth": "YWRtaW46", "identitytoken": %q}}}`, token.Refresh)) // admin:
	for _, program := range []string{"podman", "buildah"} {
		p.run(program, "pull", "-q", "weir.acme.test/acme/hub/ghcr.io/team/digestfirst:1")
		p.refused("auth file contains an Identity token", program, "login", "-u", "admin", "-p", adminPassword, "weir.acme.test")
		p.run(program, "rmi", "--all", "--force")
		record(p.t, program, "log in", "what docker login left behind is enough to pull, and must go before a login of its own")
	}
	if err := os.Remove(config); err != nil {
		p.t.Fatal(err)
	}
	p.run("podman", "login", "-u", "admin", "-p", adminPassword, "weir.acme.test")
}

func (p *podman) pull(im *images) {
	debian, _ := im.debian.ConfigName()
	for _, image := range []string{"docker.io/library/debian:1", "ghcr.io/team/multi:1"} {
		if id := p.run("podman", "pull", "-q", image); id != debian.Hex {
			p.t.Errorf("%s has the id %s, want %s", image, id, debian.Hex)
		}
	}
	record(p.t, "podman", "registries.conf mirrors", "docker.io and ghcr.io, each pinned to its member by host in path; an index")
	small, _ := im.small.Digest()
	p.run("podman", "pull", "-q", "weir.acme.test/acme/hub/team/digestfirst@"+small.String())
	// The flags let it run where limits may not be raised.
	out := p.run("podman", "run", "--runtime", "runc", "--network=none", "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=1024:1024", "--rm",
		"docker.io/library/debian:1", "/bin/cat", "/etc/os-release")
	contains(p.t, "the image runs", out, "Debian")
	contains(p.t, "list of tags", p.run("podman", "search", "--list-tags", "weir.acme.test/acme/hub/team/multi"), "team/multi  1")
	record(p.t, "podman", "virtual registry", "pull by digest before any tag; run an image; list the tags of the upstream")
	p.run("podman", "push", "-q", "docker.io/library/debian:1", "weir.acme.test/acme/own/app:1")
	contains(p.t, "search", p.run("podman", "search", "weir.acme.test/app"), "weir.acme.test/acme/own/app")
	record(p.t, "podman", "hosted repository", "push, and search for it")
}

func (p *podman) dockerfile(from string) (dir string) {
	dir = p.t.TempDir()
	writeFile(p.t, dir+"/Dockerfile", "FROM "+from+"\nRUN cp /opt/one /opt/built\n")
	return dir
}

func (p *podman) build() {
	for i, from := range []string{"ghcr.io/team/debian:1", "weir.acme.test/acme/hub/debian:1"} {
		image := fmt.Sprintf("weir.acme.test/acme/own/built:%d", i)
		p.run("buildah", "bud", "--isolation", "chroot", "--pull=always", "-t", image, p.dockerfile(from))
		p.run("buildah", "push", image)
	}
	record(p.t, "buildah", "bud FROM", "through a mirror of registries.conf and through a virtual registry; push")
	p.run("podman", "build", "--isolation", "chroot", "--pull=always", "-t", "weir.acme.test/acme/own/built:3", p.dockerfile("docker.io/library/debian:1"))
	record(p.t, "podman", "build FROM", "through a mirror of registries.conf")
}

func (p *podman) refusals() {
	const denied = `denied: rule deny "team/forbidden" of registry acme/hub excludes team/forbidden:1`
	const missing = "manifest unknown: no upstream of registry acme/hub has team/missing:1"
	inPath := "weir.acme.test/acme/hub/team/"
	for _, program := range []string{"podman", "buildah"} {
		p.refused(denied, program, "pull", "-q", inPath+"forbidden:1")
		p.refused(missing, program, "pull", "-q", inPath+"missing:1")
		record(p.t, program, "bad input", "an image denied by a rule, a missing image: the reason is shown")
	}
	p.refused(denied, "podman", "pull", "-q", "ghcr.io/team/forbidden:1")
	p.refused(missing, "podman", "pull", "-q", "ghcr.io/team/missing:1")
	record(p.t, "podman", "registries.conf mirrors", "what the mirror lacks or denies podman asks the image's own host for, and shows the mirror's reason too")
	p.refused("acme/hub is a virtual registry and takes no pushes", "buildah", "push", "--retry", "0", "docker.io/library/debian:1", "docker://weir.acme.test/acme/hub/app:1")
	p.refused(denied, "buildah", "bud", "--isolation", "chroot", p.dockerfile(inPath+"forbidden:1"))
	record(p.t, "buildah", "bad input", "a push to a virtual registry says where to push instead; FROM an image denied by a rule shows the reason")
}
