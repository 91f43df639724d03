//go:build clients

package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// containerd is a daemon of the test's own, with the hosts.toml files of docs/how-to/clients.md.
type containerd struct {
	t         *testing.T
	name      string // in the table
	ctr       string
	env       []string
	sock, dir string
	hostsDir  string
	denied    string // what it shows for an image that a rule denies
	readOnly  string // what it shows for a push to a virtual registry
}

func TestContainerd1(t *testing.T) {
	testContainerd(t, &containerd{name: "containerd 1", denied: "403 Forbidden", readOnly: "405 Method Not Allowed"}, "containerd", "ctr")
}

func TestContainerd2(t *testing.T) {
	testContainerd(t, &containerd{name: "containerd 2", denied: `denied: rule deny "team/forbidden" of registry acme/hub`,
		readOnly: "acme/hub is a virtual registry and takes no pushes"}, "containerd2/containerd", "containerd2/ctr")
}

func testContainerd(t *testing.T, c *containerd, daemon, ctr string) {
	need(t, daemon, ctr, "runc")
	up := startDebianRegistry(t)
	im := up.push(t)
	w, n, ca := startNamed(t, up)
	c.t, c.ctr, c.env = t, tool(ctr), n.env
	c.start(tool(daemon))
	c.hosts(ca)
	login := []string{"-u", "admin:" + adminPassword}
	token := []string{"-u", "robot:" + w.cli("token", "create", "--name", "containerd", "--expires", "1h")}
	small, _ := im.small.Digest()
	all := [][]string{
		{"quay.io/team/digestfirst@" + small.String(), "quay.io/team/digestfirst:1"},
		{"ghcr.io/team/multi:1"},
		{"docker.io/library/debian:1"},
		{"weir.acme.test/acme/hub/ghcr.io/team/digestfirst:1"},
	}
	c.pull(login, all[0]...)
	record(t, c.name, "hosts.toml, override_path", "_default, so with ?ns=; by digest before any tag, and by tag")
	c.pull(login, all[1]...)
	record(t, c.name, "hosts.toml, bound host", "without override_path, with ?ns=; an index")
	c.pull(token, all[2]...)
	record(t, c.name, "hosts.toml, override_path", "docker.io from Weir alone, which is the server too; with a token")
	c.pull(token, all[3]...)
	record(t, c.name, "host in path", "plain names through a virtual registry, with a token")
	for _, host := range []string{"registry-1.docker.io", "ghcr.io", "quay.io"} {
		if n.wasAsked(host) {
			t.Error("it asked " + host)
		}
	}
	c.refusals(n, login)
	c.push(token)

	up.proc.stop()
	for _, refs := range all {
		c.pull(login, refs...)
	}
	verifyImage(t, w, "acme/hub/library/debian", "1", im.debian)
	record(t, c.name, "virtual registry, upstream stopped", "every image pulled before is pulled again; one is compared byte by byte")
}

func (c *containerd) start(daemon string) {
	c.t.Helper()
	dir, err := os.MkdirTemp("", "weirc") // a short path: unix sockets have at most 108 characters
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c.dir, c.sock = dir, dir+"/c.sock"
	conf := writeFile(c.t, dir+"/config.toml", fmt.Sprintf(`version = 2
root = "%[1]s/root"
state = "%[1]s/state"
oom_score = 0
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "%[1]s/c.sock"
`, dir))
	// Version 2 fetches in the daemon, version 1 in ctr: both get the names. The shim is looked for on PATH.
	path := "PATH=" + filepath.Dir(daemon) + string(os.PathListSeparator) + os.Getenv("PATH")
	start(c.t, append([]string{path}, c.env...), daemon, "-c", conf)
	eventually(c.t, "containerd answers", func() error { _, err := tryRun(c.t, nil, c.ctr, "-a", c.sock, "version"); return err })
}

// hosts writes the hosts.toml files that the manual shows, with the CA beside each.
func (c *containerd) hosts(ca string) {
	c.t.Helper()
	c.hostsDir = filepath.Join(c.dir, "certs.d")
	pem, err := os.ReadFile(ca)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, host := range []string{"_default", "ghcr.io", "docker.io"} {
		writeFile(c.t, filepath.Join(c.hostsDir, host, "hosts.toml"), shown(c.t, "/etc/containerd/certs.d/"+host+"/hosts.toml"))
		writeFile(c.t, filepath.Join(c.hostsDir, host, "ca.crt"), string(pem))
	}
	writeFile(c.t, filepath.Join(c.hostsDir, "weir.acme.test", "ca.crt"), string(pem))
}

func (c *containerd) args(verb string, more []string, refs ...string) []string {
	return append(append([]string{"-a", c.sock, "images", verb}, more...), refs...)
}

func (c *containerd) images(verb string, args ...string) string {
	c.t.Helper()
	return run(c.t, c.env, c.ctr, c.args(verb, args)...)
}

// pull pulls images, each without what the others brought.
func (c *containerd) pull(login []string, refs ...string) {
	c.t.Helper()
	for _, ref := range refs {
		c.images("pull", append([]string{"--hosts-dir", c.hostsDir}, append(login, ref)...)...)
		c.images("rm", "--sync", ref)
	}
}

func (c *containerd) push(login []string) {
	c.t.Helper()
	with := append([]string{"--hosts-dir", c.hostsDir}, login...)
	image, own, virtual := "quay.io/team/digestfirst:1", "weir.acme.test/acme/own/app:1", "weir.acme.test/acme/hub/app:1"
	c.images("pull", append(with, image)...)
	c.images("tag", image, own)
	c.images("push", append(with, own)...)
	c.images("tag", image, virtual)
	refused(c.t, c.env, c.readOnly, c.ctr, c.args("push", with, virtual)...)
	c.images("rm", "--sync", image, own, virtual)
	c.pull(login, own)
	record(c.t, c.name, "hosted repository", "push and pull; a push to a virtual registry: "+c.readOnly)
}

func (c *containerd) refusals(n *names, login []string) {
	c.t.Helper()
	fail := func(login []string, ref, why string) {
		c.t.Helper()
		refused(c.t, c.env, why, c.ctr, c.args("pull", append([]string{"--hosts-dir", c.hostsDir}, login...), ref)...)
	}
	inPath := "weir.acme.test/acme/hub/ghcr.io/team/"
	fail(nil, inPath+"multi:1", "401 Unauthorized")
	fail([]string{"-u", "admin:a-wrong-password"}, inPath+"multi:1", "401 Unauthorized")
	fail(login, inPath+"missing:1", "not found")
	fail(login, "docker.io/team/missing:1", "not found")
	record(c.t, c.name, "bad input", "no login and a wrong password: 401 Unauthorized; a missing image: not found")
	fail(login, inPath+"forbidden:1", c.denied)
	fail(login, "docker.io/team/forbidden:1", c.denied)
	record(c.t, c.name, "bad input", "an image denied by a rule: "+shorten(c.denied))
	if n.wasAsked("registry-1.docker.io") {
		c.t.Error("it asked Docker Hub for what Weir, its server, lacks or denies")
	}
	fail(login, "ghcr.io/team/forbidden:1", c.denied)
	if !n.wasAsked("ghcr.io") {
		c.t.Error("it stops at 403: docs/how-to/clients.md says it goes on")
	}
	record(c.t, c.name, "hosts.toml, bound host", "what Weir denies containerd asks the image's own host for")
	fail(login, "registry.k8s.io/pause:1", "registry.k8s.io")
	record(c.t, c.name, "hosts.toml, override_path", "of a host that no member serves containerd asks that host")
}
