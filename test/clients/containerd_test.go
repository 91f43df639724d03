//go:build clients

package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func startContainerd(t *testing.T) (ctr func(args ...string) string) {
	need(t, "containerd", "ctr")
	dir, err := os.MkdirTemp("", "weirc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	conf := writeFile(t, dir+"/config.toml", fmt.Sprintf(`version = 2
root = "%[1]s/root"
state = "%[1]s/state"
oom_score = 0
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "%[1]s/c.sock"
`, dir))
	start(t, nil, "containerd", "-c", conf)
	eventually(t, "containerd answers", func() error { _, err := tryRun(t, nil, "ctr", "-a", dir+"/c.sock", "version"); return err })
	return func(args ...string) string {
		t.Helper()
		return run(t, nil, "ctr", append([]string{"-a", dir + "/c.sock"}, args...)...)
	}
}

// TestContainerd pulls upstream.test names through hosts.toml (so with ?ns=upstream.test), by tag, by digest first, and again
// after the upstream is gone; and by host in path with a login.
func TestContainerd(t *testing.T) {
	up := startDebianRegistry(t)
	im := up.push(t)
	w := startWeir(t)
	w.front(up)
	ctr := startContainerd(t)
	token := w.cli("token", "create", "--name", "containerd", "--expires", "1h")
	hosts := filepath.Join(t.TempDir(), "certs.d")
	writeFile(t, filepath.Join(hosts, "upstream.test", "hosts.toml"), fmt.Sprintf(`server = "http://127.0.0.1:9"
[host."http://%s/v2/acme/hub"]
  capabilities = ["pull", "resolve"]
  override_path = true
`, w.addr))
	small, _ := im.small.Digest()
	pull := func(ref string) {
		t.Helper()
		ctr("images", "pull", "--snapshotter", "native", "--hosts-dir", hosts, "-u", "admin:"+token, ref)
	}
	refs := []string{"upstream.test/team/digestfirst@" + small.String(), "upstream.test/team/debian:1", "upstream.test/team/multi:1"}
	for _, ref := range refs {
		pull(ref)
	}
	inPath := w.addr + "/acme/hub/upstream.test/team/debian:1"
	ctr("images", "pull", "--snapshotter", "native", "--plain-http", "-u", "admin:"+token, inPath)

	up.proc.stop()
	for _, ref := range append(refs, inPath) {
		ctr("images", "rm", "--sync", ref)
	}
	for _, ref := range refs {
		pull(ref)
	}
	verifyImage(t, w, "acme/hub/team/debian", "1", im.debian)
}
