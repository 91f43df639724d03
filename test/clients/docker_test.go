//go:build clients

package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// docker is a daemon of the test's own.
type docker struct {
	t      *testing.T
	env    []string
	socket string
}

func startDocker(t *testing.T, mirror string) *docker {
	need(t, "dockerd", "docker")
	dir, err := os.MkdirTemp("", "weird") // a short path: unix sockets have at most 108 characters
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, m := range []string{"exec/netns/default"} {
			_, _ = tryRun(t, nil, "umount", filepath.Join(dir, m))
		}
		_ = os.RemoveAll(dir)
	})
	mirrors := "[]"
	if mirror != "" {
		mirrors = fmt.Sprintf("[%q]", mirror)
	}
	conf := writeFile(t, dir+"/daemon.json", fmt.Sprintf(`{"storage-driver":"overlay2","iptables":false,"ip6tables":false,"bridge":"none",
"ip-forward":false,"ip-masq":false,"registry-mirrors":%s,"insecure-registries":["127.0.0.0/8"]}`, mirrors))
	d := &docker{t: t, socket: "unix://" + dir + "/d.sock", env: []string{"DOCKER_HOST=unix://" + dir + "/d.sock", "DOCKER_CONFIG=" + dir + "/config"}}
	start(t, nil, "dockerd", "--config-file", conf, "--data-root", dir+"/root", "--exec-root", dir+"/exec", "--pidfile", dir+"/pid", "-H", d.socket)
	eventually(t, "dockerd answers", func() error { _, err := tryRun(t, d.env, "docker", "version"); return err })
	return d
}

func (d *docker) run(args ...string) string { d.t.Helper(); return run(d.t, d.env, "docker", args...) }

func (d *docker) forget() {
	d.t.Helper()
	if ids := strings.Fields(d.run("images", "-aq", "--no-trunc")); len(ids) > 0 {
		d.run(append([]string{"rmi", "-f"}, ids...)...)
	}
}

func TestDockerThroughDebianRegistry(t *testing.T) { testDocker(t, startDebianRegistry(t)) }
func TestDockerThroughDistribution(t *testing.T)   { testDocker(t, startDistribution(t)) }

// testDocker logs in, pulls through the virtual registry by tag and digest, pushes to a hosted repository, and pulls all of it
// again after the upstream is gone.
func testDocker(t *testing.T, up *upstream) {
	im := up.push(t)
	w := startWeir(t)
	w.front(up)
	d := startDocker(t, "")
	debian, _ := im.debian.Digest()
	small, _ := im.small.Digest()
	byTag := w.addr + "/acme/hub/team/debian:1"
	byDigest := w.addr + "/acme/hub/team/digestfirst@" + small.String()
	multi := w.addr + "/acme/hub/team/multi:1"
	own := w.addr + "/acme/own/app:1.0"

	if out, err := tryRun(t, d.env, "docker", "pull", byTag); err == nil {
		t.Fatalf("an anonymous pull of a private registry succeeded:\n%s", out)
	}
	d.run("login", "-u", "admin", "-p", adminPassword, w.addr)
	contains(t, "pull by tag", d.run("pull", byTag), debian.String())
	contains(t, "pull by digest on a cold cache", d.run("pull", byDigest), small.String())
	d.run("pull", multi)
	d.run("tag", byTag, own)
	d.run("push", own)
	id := d.run("inspect", "-f", "{{.Id}}", byTag)
	contains(t, "the image runs", d.run("run", "--rm", "--network", "none", byTag, "/bin/cat", "/etc/os-release"), "Debian")

	up.proc.stop()
	d.forget()
	for _, ref := range []string{byTag, byDigest, multi, own, w.addr + "/acme/hub/own/app:1.0"} {
		d.run("pull", ref)
	}
	if again := d.run("inspect", "-f", "{{.Id}}", byTag); again != id {
		t.Errorf("image id %s became %s", id, again)
	}
	verifyImage(t, w, "acme/hub/team/debian", "1", im.debian)
	verifyImage(t, w, "acme/hub/team/digestfirst", small.String(), im.small)
}

// TestDockerMirror pulls a Docker Hub name through the daemon's registry-mirrors setting and a mirror binding, with Docker Hub
// credentials that Weir does not know.
func TestDockerMirror(t *testing.T) {
	up := startDebianRegistry(t)
	up.push(t)
	w := startWeir(t)
	mirror := strings.Replace(w.addr, "127.0.0.1", "localhost", 1) // the server's own address cannot be bound
	w.cli("apply", "-f", writeFile(t, filepath.Join(filepath.Dir(w.data), "mirror.yaml"), fmt.Sprintf(`groups:
  - name: acme
    credentials: [{name: up, kind: static, username: ci, password: {env: UPSTREAM_PASSWORD}}]
    upstreams: [{name: up, url: %q, credential: up, ca: {file: %s}, hosts: [docker.io]}]
    registries: [{name: hub, format: container, anonymous_pull: true, members: [{upstream: up}]}]
    host_bindings: [{host: %q, registry: hub, mirror: true}]
`, up.url, up.caFile, mirror)))
	d := startDocker(t, "http://"+mirror)
	d.run("pull", "team/debian:1")
}
