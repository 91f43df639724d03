//go:build clients

package clients

import (
	"path/filepath"
	"testing"
)

// TestSkopeo copies out of and into Weir with digests preserved, lists, inspects and deletes, and copies again after the
// upstream is gone and Weir was killed.
func TestSkopeo(t *testing.T) {
	need(t, "skopeo")
	up := startDebianRegistry(t)
	im := up.push(t)
	w := startWeir(t)
	w.front(up)
	env := []string{"REGISTRY_AUTH_FILE=" + filepath.Join(t.TempDir(), "auth.json")}
	creds := "admin:" + adminPassword
	multi, _ := im.multi.Digest()
	hub, own := "docker://"+w.addr+"/acme/hub/", "docker://"+w.addr+"/acme/own/"

	run(t, env, "skopeo", "copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--src-creds", creds, hub+"team/multi:1", "dir:"+t.TempDir())
	run(t, env, "skopeo", "copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false", "--src-creds", creds, "--dest-creds", creds, hub+"team/multi:1", own+"multi:1")
	contains(t, "inspect", run(t, env, "skopeo", "inspect", "--tls-verify=false", "--creds", creds, "--format", "{{.Digest}}", own+"multi:1"), multi.String())
	contains(t, "list-tags of the upstream", run(t, env, "skopeo", "list-tags", "--tls-verify=false", "--creds", creds, hub+"team/debian"), `"1"`)
	if out, err := tryRun(t, env, "skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--src-creds", creds, "--dest-creds", creds, own+"multi:1", hub+"team/new:1"); err == nil {
		t.Fatalf("a push to a virtual registry succeeded:\n%s", out)
	}

	up.proc.stop()
	w.proc.kill()
	w.start()
	verifyIndex(t, w, "acme/hub/team/multi", "1", im.multi)
	verifyIndex(t, w, "acme/own/multi", "1", im.multi)
	run(t, env, "skopeo", "copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--src-creds", creds, hub+"team/multi:1", "dir:"+t.TempDir())
	run(t, env, "skopeo", "delete", "--tls-verify=false", "--creds", creds, own+"multi:1")
	if out, err := tryRun(t, env, "skopeo", "inspect", "--tls-verify=false", "--creds", creds, own+"multi:1"); err == nil {
		t.Fatalf("a deleted image is still there:\n%s", out)
	}
	contains(t, "fsck", w.cli("check"), "0 problems")
}
