//go:build clients

package clients

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestSkopeo copies out of and into Weir with digests preserved, lists, inspects, syncs and deletes, and copies again after the
// upstream is gone and Weir was killed.
func TestSkopeo(t *testing.T) {
	need(t, "skopeo")
	up := startDebianRegistry(t)
	im := up.push(t)
	w := startWeir(t)
	w.front(up)
	env := []string{"REGISTRY_AUTH_FILE=" + filepath.Join(t.TempDir(), "auth.json")}
	multi, _ := im.multi.Digest()
	hub, own := "docker://"+w.addr+"/acme/hub/", "docker://"+w.addr+"/acme/own/"
	skopeo := func(args ...string) string { t.Helper(); return run(t, env, "skopeo", args...) }
	copied := func(from, to string) {
		t.Helper()
		skopeo("copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false", from, to)
	}
	skopeo("login", "--tls-verify=false", "-u", "admin", "-p", adminPassword, w.addr)

	copied(hub+"team/multi:1", "dir:"+t.TempDir())
	copied(hub+"team/multi:1", own+"multi:1")
	contains(t, "inspect", skopeo("inspect", "--tls-verify=false", "--format", "{{.Digest}}", own+"multi:1"), multi.String())
	contains(t, "list-tags of the upstream", skopeo("list-tags", "--tls-verify=false", hub+"team/debian"), `"1"`)
	record(t, "skopeo", "virtual registry", "log in; copy --all --preserve-digests to a folder and to a hosted repository; inspect; list-tags")

	skopeo("sync", "--all", "--src", "docker", "--dest", "docker", "--src-tls-verify=false", "--dest-tls-verify=false", w.addr+"/acme/hub/team/multi", w.addr+"/acme/synced")
	file := writeFile(t, filepath.Join(t.TempDir(), "sync.yaml"), fmt.Sprintf("%s:\n  tls-verify: false\n  images-by-tag-regex: {acme/hub/team/multi: '^[0-9]+$'}\n", w.addr))
	skopeo("sync", "--all", "--src", "yaml", "--dest", "docker", "--dest-tls-verify=false", file, w.addr+"/acme/synced/by-file")
	verifyIndex(t, w, "acme/synced/multi", "1", im.multi)
	verifyIndex(t, w, "acme/synced/by-file/multi", "1", im.multi)
	record(t, "skopeo", "virtual registry", "sync a repository, by name and by a file with a pattern for tags, to hosted repositories")

	up.proc.stop()
	w.proc.kill()
	w.start()
	verifyIndex(t, w, "acme/hub/team/multi", "1", im.multi)
	verifyIndex(t, w, "acme/own/multi", "1", im.multi)
	copied(hub+"team/multi:1", "dir:"+t.TempDir())
	record(t, "skopeo", "virtual registry, upstream stopped", "copy --all --preserve-digests of what is cached, after the server was killed")

	skopeo("delete", "--tls-verify=false", own+"multi:1")
	refused(t, env, "there is no such manifest in this repository", "skopeo", "inspect", "--tls-verify=false", own+"multi:1")
	contains(t, "fsck", w.cli("check"), "0 problems")
	record(t, "skopeo", "hosted repository", "delete an image")
}

// TestSkopeoRefused tries what must not work, and looks for the reason in what skopeo prints.
func TestSkopeoRefused(t *testing.T) {
	need(t, "skopeo")
	up := startDebianRegistry(t)
	up.pushIndex(t, "team/app:1", smallIndex(t))
	w := startWeir(t)
	w.front(up)
	env := []string{"REGISTRY_AUTH_FILE=" + filepath.Join(t.TempDir(), "auth.json"), "HOME=" + t.TempDir()}
	hub, own := "docker://"+w.addr+"/acme/hub/", "docker://"+w.addr+"/acme/own/"
	admin, reader, wrong := "admin:"+adminPassword, "rita:"+w.user("rita", "reader"), "admin:wrong"
	copying := func(from, fromCreds, to, toCreds string) string {
		return "copy --all --src-tls-verify=false --dest-tls-verify=false --src-creds " + fromCreds + " --dest-creds " + toCreds + " " + from + " " + to
	}
	run(t, env, "skopeo", strings.Fields(copying(hub+"team/app:1", admin, own+"app:1", admin))...)
	for _, c := range []struct{ args, why string }{
		{"login --tls-verify=false -u admin -p wrong " + w.addr, "invalid username/password"},
		{"inspect --tls-verify=false --creds " + wrong + " " + own + "app:1", "wrong user name or password"},
		{"inspect --tls-verify=false --no-creds " + own + "app:1", "unauthorized"},
		{"inspect --tls-verify=false --creds " + admin + " " + own + "app:9", "there is no such manifest in this repository"},
		{"inspect --tls-verify=false --creds " + admin + " " + hub + "team/none:1", "no upstream of registry acme/hub has team/none:1"},
		{"delete --tls-verify=false --creds " + admin + " " + hub + "own/app:1", "delete in the hosted repository, such as acme/own/app"},
		{"delete --tls-verify=false --creds " + reader + " " + own + "app:1", "it takes the role maintainer"},
		{copying(own+"app:1", admin, hub+"team/new:1", admin), "push to a hosted repository of the group, such as acme/team/new"},
		{copying(own+"app:1", admin, own+"app:2", reader), "it takes the role developer"},
		{copying(own+"app:1", admin, "docker://"+w.addr+"/none/app:1", admin), "there is no group none"},
	} {
		refused(t, env, c.why, "skopeo", strings.Fields(c.args)...)
	}
	record(t, "skopeo", "bad input", "wrong or no password, no rights, missing image or group, push and delete through a virtual registry: the reason is printed")
}
