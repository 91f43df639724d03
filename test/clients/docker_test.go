//go:build clients

package clients

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docker is a daemon of the test's own.
type docker struct {
	t      *testing.T
	env    []string
	config string // the client's folder
}

// startDocker starts a daemon with settings beside those that let it run anywhere, and with variables for it and its clients.
func startDocker(t *testing.T, settings map[string]any, env ...string) *docker {
	t.Helper()
	need(t, "dockerd", "docker")
	dir, err := os.MkdirTemp("", "weird") // a short path: unix sockets have at most 108 characters
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = tryRun(t, nil, "umount", filepath.Join(dir, "exec/netns/default"))
		_ = os.RemoveAll(dir)
	})
	conf := map[string]any{"storage-driver": "overlay2", "iptables": false, "ip6tables": false, "bridge": "none", "ip-forward": false, "ip-masq": false}
	maps.Copy(conf, settings)
	b, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	socket := "unix://" + dir + "/d.sock"
	d := &docker{t: t, config: dir + "/config", env: append(env, "DOCKER_HOST="+socket, "DOCKER_CONFIG="+dir+"/config")}
	start(t, d.env, "dockerd", "--config-file", writeFile(t, dir+"/daemon.json", string(b)), "--data-root", dir+"/root", "--exec-root", dir+"/exec", "--pidfile", dir+"/pid", "-H", socket)
	eventually(t, "dockerd answers", func() error { _, err := tryRun(t, d.env, dockerCLI(), "version"); return err })
	return d
}

// dockerCLI prefers Debian's client, which can talk BuildKit to Debian's daemon, to others on PATH, which may lack the plugin for it.
func dockerCLI() string {
	if _, err := os.Stat("/usr/bin/docker"); err == nil {
		return "/usr/bin/docker"
	}
	return "docker"
}

func (d *docker) run(args ...string) string {
	d.t.Helper()
	return run(d.t, d.env, dockerCLI(), args...)
}

func (d *docker) refused(why string, args ...string) {
	d.t.Helper()
	refused(d.t, d.env, why, dockerCLI(), args...)
}

// forget removes every image from the daemon.
func (d *docker) forget() {
	d.t.Helper()
	if ids := strings.Fields(d.run("images", "-aq", "--no-trunc")); len(ids) > 0 {
		d.run(append([]string{"rmi", "-f"}, ids...)...)
	}
}

// TestDocker takes a daemon with the settings of docs/how-to/clients.md through everything it does with a registry.
func TestDocker(t *testing.T) {
	need(t, "dockerd", "docker")
	up := startDebianRegistry(t)
	im := up.push(t)
	w, n, ca := startNamed(t, up)
	install(t, ca, "/etc/docker/certs.d/weir.acme.test", "/etc/docker/certs.d/mirror.acme.test")
	var settings map[string]any
	if err := json.Unmarshal([]byte(shown(t, "/etc/docker/daemon.json")), &settings); err != nil {
		t.Fatal(err)
	}
	d := startDocker(t, settings, n.env...)
	d.mirror(w, n)
	d.login(w)
	d.refusals()
	d.pullAndPush(im)
	d.buildKitCA(ca)
	d.build(ca)
	up.proc.stop()
	d.again(w, im)
}

func (d *docker) login(w *weir) {
	d.refused("x509: certificate signed by unknown authority", "pull", "ghcr.acme.test/team/debian:1")
	record(d.t, "docker", "private CA", "refused without the CA, trusted with it in certs.d")
	d.refused("unauthorized: log in to pull acme/hub/team/debian", "pull", "weir.acme.test/acme/hub/team/debian:1")
	d.refused("unauthorized: wrong user name or password", "login", "-u", "admin", "-p", "a-wrong-password", "weir.acme.test")
	d.run("login", "-u", "robot", "-p", w.cli("token", "create", "--name", "docker", "--expires", "1h"), "weir.acme.test")
	d.run("logout", "weir.acme.test")
	d.run("login", "-u", "admin", "-p", adminPassword, "weir.acme.test")
	record(d.t, "docker", "log in", "with a password and with a token; a wrong password is called wrong")
}

func (d *docker) refusals() {
	for image, why := range map[string]string{
		"acme/hub/team/forbidden:1":    `denied: rule deny "team/forbidden" of registry acme/hub excludes team/forbidden:1`,
		"acme/hub/team/missing:1":      "manifest unknown: no upstream of registry acme/hub has team/missing:1",
		"acme/hub/team/debian:missing": "manifest unknown: no upstream of registry acme/hub has team/debian:missing",
		"nobody/hub/debian:1":          "name unknown: there is no group nobody",
	} {
		d.refused(why, "pull", "weir.acme.test/"+image)
	}
	record(d.t, "docker", "bad input", "an image denied by a rule, a missing image, a missing group: docker shows the reason")
}

func (d *docker) pullAndPush(im *images) {
	debian, _ := im.debian.Digest()
	small, _ := im.small.Digest()
	byTag := "weir.acme.test/acme/hub/team/debian:1"
	contains(d.t, "pull by digest on a cold cache", d.run("pull", "weir.acme.test/acme/hub/team/digestfirst@"+small.String()), small.String())
	contains(d.t, "pull by tag", d.run("pull", byTag), debian.String())
	d.run("pull", "weir.acme.test/acme/hub/ghcr.io/team/multi:1")
	contains(d.t, "the image runs", d.run("run", "--rm", "--network", "none", byTag, "/bin/cat", "/etc/os-release"), "Debian")
	record(d.t, "docker", "virtual registry", "pull by tag, by digest before any tag, and an index pinned by host in path; run it")

	d.run("tag", byTag, "weir.acme.test/acme/own/app:1.0")
	d.run("push", "weir.acme.test/acme/own/app:1.0")
	d.run("tag", byTag, "weir.acme.test/acme/hub/app:1.0")
	d.refused("acme/hub is a virtual registry and takes no pushes: push to a hosted repository of the group", "push", "weir.acme.test/acme/hub/app:1.0")
	record(d.t, "docker", "hosted repository", "push; a push to a virtual registry says where to push instead")
}

// again pulls everything anew, with the upstream gone.
func (d *docker) again(w *weir, im *images) {
	small, _ := im.small.Digest()
	byTag := "weir.acme.test/acme/hub/team/debian:1"
	id := d.run("inspect", "-f", "{{.Id}}", byTag)
	d.forget()
	for _, image := range []string{"hub/team/debian:1", "hub/team/digestfirst@" + small.String(), "hub/ghcr.io/team/multi:1", "own/app:1.0", "hub/own/app:1.0"} {
		d.run("pull", "weir.acme.test/acme/"+image)
	}
	if again := d.run("inspect", "-f", "{{.Id}}", byTag); again != id {
		d.t.Errorf("image id %s became %s", id, again)
	}
	d.run("pull", "debian:1")
	verifyImage(d.t, w, "acme/hub/team/debian", "1", im.debian)
	verifyImage(d.t, w, "acme/hub/team/digestfirst", small.String(), im.small)
	record(d.t, "docker", "virtual registry, upstream stopped", "every image pulled before is pulled again; one is compared byte by byte")
	d.refused("received unexpected HTTP status: 503 Service Unavailable", "pull", "weir.acme.test/acme/hub/team/cold:1")
	record(d.t, "docker", "virtual registry, upstream stopped", "an image never pulled before: docker shows 503 and hides the reason")
}

// mirror pulls Docker Hub's names through the daemon's mirror setting, with nobody's login, with one of Docker Hub that Weir does
// not know, and, to see that the daemon sends them at all, with one that Weir knows.
func (d *docker) mirror(w *weir, n *names) {
	d.run("pull", "debian:1")
	login := func(user, password string) (encoded string) {
		encoded = base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
		writeFile(d.t, d.config+"/config.json", fmt.Sprintf(`{"auths": {"https://index.docker.io/v1/": {"auth": %q}}}`, encoded))
		return encoded
	}
	foreign := login("hub-user", "hub-password")
	d.run("pull", "team/multi:1")
	login("admin", adminPassword)
	d.run("pull", "team/digestfirst:1")
	login("", "")
	if n.wasAsked("registry-1.docker.io") {
		d.t.Error("the daemon asked Docker Hub")
	}
	log := w.proc.out.String()
	if !regexp.MustCompile(`"host":"mirror.acme.test".*"principal":"admin"`).MatchString(log) {
		d.t.Error("the daemon does not send Docker Hub's login to its mirrors: docs/how-to/clients.md says it does")
	}
	for _, secret := range []string{"hub-user", "hub-password", foreign} {
		if strings.Contains(log, secret) {
			d.t.Errorf("Docker Hub's login (%s) is in the log", secret)
		}
	}
	record(d.t, "docker", "registry-mirrors", "Docker Hub's names through a mirror binding, without a login and with one of Docker Hub")

	d.refused("registry-1.docker.io", "pull", "team/missing:1")
	d.refused("registry-1.docker.io", "pull", "team/forbidden:1")
	if !n.wasAsked("registry-1.docker.io") {
		d.t.Error("the daemon did not go on to Docker Hub: docs/how-to/clients.md says it does")
	}
	record(d.t, "docker", "registry-mirrors", "what the mirror lacks or denies the daemon asks Docker Hub itself for")
	d.forget()
}

func (d *docker) tryBuild(from string, env ...string) (string, error) {
	d.t.Helper()
	dir := d.t.TempDir()
	writeFile(d.t, dir+"/Dockerfile", "FROM "+from+"\nRUN cp /opt/one /opt/built\n")
	return tryRun(d.t, append(d.env, env...), dockerCLI(), "build", "--network", "none", "--pull", "--no-cache", "-t", "weir.acme.test/acme/own/built:1", dir)
}

// build builds upon images from Weir with both builders of the daemon.
func (d *docker) build(ca string) {
	for _, c := range []struct {
		door string
		env  []string
		deny string
	}{
		{"build, classic", []string{"DOCKER_BUILDKIT=0"}, `denied: rule deny "team/forbidden" of registry acme/hub`},
		{"build, BuildKit", []string{"DOCKER_BUILDKIT=1", "SSL_CERT_FILE=" + ca}, "403 Forbidden"},
	} {
		for _, from := range []string{"weir.acme.test/acme/hub/team/debian:1", "debian:1"} {
			if out, err := d.tryBuild(from, c.env...); err != nil {
				d.t.Fatalf("%s FROM %s: %v\n%s", c.door, from, err, tail(out, 2000))
			}
			d.run("push", "weir.acme.test/acme/own/built:1")
		}
		out, err := d.tryBuild("weir.acme.test/acme/hub/team/forbidden:1", c.env...)
		if err == nil {
			d.t.Fatalf("%s: an image denied by a rule was built upon", c.door)
		}
		contains(d.t, c.door, out, c.deny)
		record(d.t, "docker", c.door, "FROM through a virtual registry and through the mirror, push; an image denied by a rule: "+shorten(c.deny))
	}
}

// buildKitCA sees what BuildKit wants of a private CA beyond what pulls do: it logs in from the client, and reads the daemon's folder
// at the start alone. It comes before build, which leaves BuildKit with a token.
func (d *docker) buildKitCA(ca string) {
	late := "/etc/docker/certs.d/ghcr.acme.test"
	d.t.Cleanup(func() { _ = os.RemoveAll(late) })
	run(d.t, nil, "cp", "-r", "/etc/docker/certs.d/weir.acme.test", late)
	d.run("login", "-u", "admin", "-p", adminPassword, "ghcr.acme.test")
	d.run("pull", "ghcr.acme.test/team/debian:1")
	for from, env := range map[string]string{"ghcr.acme.test/team/debian:1": "SSL_CERT_FILE=" + ca, "weir.acme.test/acme/hub/team/debian:1": "SSL_CERT_FILE="} {
		out, err := d.tryBuild(from, "DOCKER_BUILDKIT=1", env)
		if err == nil {
			d.t.Errorf("BuildKit built FROM %s: docs/how-to/clients.md says it wants more", from)
		}
		contains(d.t, "BuildKit FROM "+from, out, "x509: certificate signed by unknown authority")
	}
	record(d.t, "docker", "private CA", "BuildKit wants the daemon restarted after the CA was added, and the CA where the client runs")
}

func TestDockerLoopback(t *testing.T) {
	testDockerLoopback(t, "docker-registry 2", startDebianRegistry)
}
func TestDockerThroughDistribution(t *testing.T) {
	testDockerLoopback(t, "distribution 3", startDistribution)
}

// testDockerLoopback pulls and pushes over plain HTTP, as on the first day.
func testDockerLoopback(t *testing.T, kind string, upstream func(*testing.T) *upstream) {
	need(t, "dockerd", "docker")
	up := upstream(t)
	im := up.push(t)
	w := startWeir(t)
	w.front(up)
	d := startDocker(t, nil)
	small, _ := im.small.Digest()
	refs := []string{w.addr + "/acme/hub/team/digestfirst@" + small.String(), w.addr + "/acme/hub/team/multi:1"}
	d.refused("unauthorized: log in to pull", "pull", refs[1])
	d.run("login", "-u", "admin", "-p", adminPassword, w.addr)
	for _, ref := range refs {
		d.run("pull", ref)
	}
	d.run("tag", refs[1], w.addr+"/acme/own/app:1")
	d.run("push", w.addr+"/acme/own/app:1")
	up.proc.stop()
	d.forget()
	for _, ref := range append(refs, w.addr+"/acme/own/app:1") {
		d.run("pull", ref)
	}
	record(t, "docker", "plain HTTP on loopback", "login, pull, push, and pull again after the upstream ("+kind+") is stopped")
}

// TestDockerCredentialHelper logs in and out through docker-credential-weir, as docs/how-to/login.md shows, with everything that docker
// login takes.
func TestDockerCredentialHelper(t *testing.T) {
	need(t, "dockerd", "docker")
	w := startWeir(t)
	dir := t.TempDir()
	helper := filepath.Join(dir, "docker-credential-weir")
	if err := os.Symlink(w.bin, helper); err != nil {
		t.Fatal(err)
	}
	d := startDocker(t, nil, "PATH="+dir+":"+os.Getenv("PATH"), "WEIR_CONFIG_HOME="+dir)
	writeFile(t, d.config+"/config.json", fmt.Sprintf(`{"credHelpers": {%q: "weir"}}`, w.addr))
	image := w.addr + "/main/app:1"
	context := t.TempDir()
	writeFile(t, context+"/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")
	run(t, append(d.env, "DOCKER_BUILDKIT=0"), dockerCLI(), "build", "-t", image, context)
	w.cli("robot", "create", "ci", "--group", "main", "--grants", "developer")
	kept := dir + "/logins.json"
	d.refused("unauthorized", "login", "-u", "admin", "-p", "a-wrong-password", w.addr)
	for what, login := range map[string][2]string{
		"a password": {"admin", adminPassword},
		"a token":    {"anybody", w.cli("token", "create", "--name", "docker", "--expires", "1h")},
		"a robot":    {"main/ci", w.cli("token", "create", "--robot", "ci", "--group", "main", "--name", "docker")},
	} {
		d.run("login", "-u", login[0], "-p", login[1], w.addr)
		for _, file := range []string{kept, d.config + "/config.json"} {
			if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), login[1]) || strings.Contains(string(text), `"auth"`) {
				t.Errorf("after a login with %s %s has it, or cannot be read: %v", what, file, err)
			}
		}
		d.run("push", image)
		d.run("pull", image)
		d.run("logout", w.addr)
		if text, err := os.ReadFile(kept); err != nil || strings.Contains(string(text), w.addr) {
			t.Errorf("docker logout leaves %s (%v)", text, err)
		}
		d.refused("unauthorized: log in to push", "push", image)
	}
	record(t, "docker", "docker-credential-weir", "log in with a password, a token and a robot's token; push, pull, log out; none of them is kept")
}
