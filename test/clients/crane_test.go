//go:build clients

package clients

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// TestCrane builds, copies, validates and deletes images with crane, through the virtual registry also after the upstream is gone.
func TestCrane(t *testing.T) {
	need(t, "crane")
	up := startDebianRegistry(t)
	digest := up.pushIndex(t, "team/app:1", smallIndex(t))
	w := startWeir(t)
	w.front(up)
	env := []string{"DOCKER_CONFIG=" + t.TempDir()}
	crane := func(args ...string) string { t.Helper(); return run(t, env, "crane", append(args, "--insecure")...) }
	hub, own := w.addr+"/acme/hub", w.addr+"/acme/own"
	layer := func(name string) string { t.Helper(); return layerFile(t, name, bytes.Repeat([]byte(name), 10_000)) }
	crane("auth", "login", w.addr, "-u", "admin", "-p", adminPassword)

	crane("append", "-f", layer("one"), "-t", own+"/app:1")
	crane("append", "-b", own+"/app:1", "-f", layer("two"), "-t", own+"/app:2")
	crane("validate", "--remote", own+"/app:2")
	crane("validate", "--remote", hub+"/own/app:2")
	contains(t, "export", crane("export", own+"/app:2", "-"), "twotwo")
	crane("tag", own+"/app:2", "stable")
	if got := crane("ls", hub+"/own/app"); got != "1\n2\nstable" {
		t.Errorf("tags: %q", got)
	}
	record(t, "crane", "hosted repository", "log in; append layers to nothing and to an image; tag; validate every layer; export; list tags")

	layout := filepath.Join(t.TempDir(), "layout")
	crane("index", "append", "-m", own+"/app:1", "-m", own+"/app:2", "-t", own+"/index:1")
	crane("pull", "--format", "oci", hub+"/own/index:1", layout)
	crane("push", "--index", layout, own+"/layout:1")
	crane("validate", "--remote", own+"/layout:1")
	crane("copy", "--all-tags", own+"/app", own+"/all")
	equal(t, "tags of a whole repository", crane("ls", own+"/all"), "1\n2\nstable")
	record(t, "crane", "hosted repository", "make an index; pull it as an OCI layout and push that; copy all tags of a repository")

	equal(t, "digest through the virtual registry", crane("digest", hub+"/team/app:1"), digest)
	crane("validate", "--remote", hub+"/team/app:1")
	crane("validate", "--remote", hub+"/team/app@"+digest)
	crane("copy", hub+"/team/app:1", own+"/copy:1")
	crane("copy", own+"/copy:1", own+"/deep/er/copy:1") // mounts every blob
	equal(t, "digest of the copy", crane("digest", own+"/deep/er/copy:1"), digest)
	contains(t, "the attestation is copied too", crane("manifest", own+"/copy:1"), "attestation-manifest")
	contains(t, "catalog", crane("catalog", w.addr), "acme/own/deep/er/copy")
	record(t, "crane", "virtual registry", "digest, validate by tag and digest, copy an index with attestations to a hosted repository, and on by mounting")

	up.proc.stop()
	crane("validate", "--remote", hub+"/team/app:1")
	equal(t, "digest without the upstream", crane("digest", hub+"/team/app:1"), digest)
	record(t, "crane", "virtual registry, upstream stopped", "validate and digest of what is cached")

	crane("delete", own+"/app:1")
	if got := crane("ls", own+"/app"); got != "2\nstable" {
		t.Errorf("tags after one was deleted: %q", got)
	}
	crane("delete", own+"/app@"+crane("digest", own+"/app:2"))
	if got := crane("ls", own+"/app"); got != "" {
		t.Errorf("tags after the manifest was deleted: %q", got)
	}
	record(t, "crane", "hosted repository", "delete a tag; delete a manifest with its tags")
}

// TestCraneRefused tries what must not work, and looks for the reason in what crane prints.
func TestCraneRefused(t *testing.T) {
	need(t, "crane")
	up := startDebianRegistry(t)
	up.pushIndex(t, "team/app:1", smallIndex(t))
	w := startWeir(t)
	w.front(up)
	hub, own := w.addr+"/acme/hub", w.addr+"/acme/own"
	admin := []string{dockerLogins(t, w.addr+" admin:"+adminPassword)}
	run(t, admin, "crane", "copy", "--insecure", hub+"/team/app:1", own+"/app:1")
	reader := []string{dockerLogins(t, w.addr+" rita:"+w.user("rita", "reader"))}
	stranger := []string{dockerLogins(t, w.addr+" sam:"+w.user("sam", ""))}
	wrong := []string{dockerLogins(t, w.addr+" admin:wrong")}
	nobody := []string{dockerLogins(t)}
	run(t, reader, "crane", "validate", "--insecure", "--remote", hub+"/own/app:1")

	for _, c := range []struct {
		env       []string
		args, why string
	}{
		{wrong, "digest " + own + "/app:1", "wrong user name or password"},
		{nobody, "manifest " + own + "/app:1", "UNAUTHORIZED"},
		{stranger, "manifest " + own + "/app:1", "DENIED"},
		{stranger, "manifest " + own + "/none:1", "DENIED"}, // no word on whether it exists
		{admin, "manifest " + own + "/app:9", "MANIFEST_UNKNOWN"},
		{admin, "ls " + own + "/none", "there is no such repository"},
		{admin, "digest " + w.addr + "/none/app:1", "there is no group none"},
		{admin, "digest " + hub, "is a virtual registry: name an image in it"},
		{admin, "manifest " + hub + "/team/none:1", "no upstream of registry acme/hub has team/none:1"},
		{admin, "copy " + own + "/app:1 " + hub + "/team/new:1", "push to a hosted repository of the group, such as acme/team/new"},
		{admin, "delete " + hub + "/own/app:1", "delete in the hosted repository, such as acme/own/app"},
		{admin, "copy " + own + "/app:1 " + w.addr + "/none/app:1", "there is no group none"},
		{reader, "copy " + own + "/app:1 " + own + "/app:2", "it takes the role developer, which an owner of acme can grant"},
		{reader, "delete " + own + "/app:1", "it takes the role maintainer, which an owner of acme can grant"},
	} {
		refused(t, c.env, c.why, "crane", append(strings.Fields(c.args), "--insecure")...)
	}
	record(t, "crane", "bad input", "wrong or no password, no rights, missing image, tag or group, push and delete through a virtual registry: the reason is printed")
}
