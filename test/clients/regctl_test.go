//go:build clients

package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	sbomType = "application/vnd.example.sbom"
	noteType = "application/vnd.example.note"
)

// regctl returns a runner of regctl that is logged in to Weir and to the upstream.
func regctl(t *testing.T, w *weir, up *upstream) func(args ...string) string {
	t.Helper()
	need(t, "regctl")
	env := []string{"REGCTL_CONFIG=" + filepath.Join(t.TempDir(), "regctl.json")}
	ca, err := os.ReadFile(up.caFile)
	if err != nil {
		t.Fatal(err)
	}
	run(t, env, "regctl", "registry", "set", "--tls", "disabled", w.addr)
	run(t, env, "regctl", "registry", "login", w.addr, "-u", "admin", "-p", adminPassword)
	run(t, env, "regctl", "registry", "set", "--skip-check", "--cacert", string(ca), up.addr)
	run(t, env, "regctl", "registry", "login", up.addr, "-u", up.user, "-p", upstreamPassword)
	return func(args ...string) string { t.Helper(); return run(t, env, "regctl", args...) }
}

func attach(t *testing.T, regctl func(...string) string, subject, artifactType, text string) {
	t.Helper()
	regctl("artifact", "put", "--subject", subject, "--artifact-type", artifactType, "-f", writeFile(t, filepath.Join(t.TempDir(), "a.txt"), text))
}

// TestRegctlHosted attaches artifacts to an image in a hosted repository, reads them there, through the virtual registry and
// through a second server whose upstream is the first, copies image and artifacts, and deletes the image.
func TestRegctlHosted(t *testing.T) {
	up := startDebianRegistry(t)
	index := smallIndex(t)
	up.pushIndex(t, "team/app:1", index)
	w := startWeir(t)
	w.front(up)
	regctl := regctl(t, w, up)
	hub, own := w.addr+"/acme/hub", w.addr+"/acme/own"
	regctl("image", "copy", hub+"/team/app:1", own+"/app:1")
	attach(t, regctl, own+"/app:1", sbomType, "an sbom")
	attach(t, regctl, own+"/app:1", noteType, "a note")
	for _, from := range []string{own + "/app:1", hub + "/own/app:1"} {
		list := regctl("artifact", "list", from, "--filter-artifact-type", sbomType)
		if !strings.Contains(list, sbomType) || strings.Contains(list, noteType) {
			t.Errorf("%s: %s", from, list)
		}
		equal(t, "the artifact of "+from, regctl("artifact", "get", "--subject", from, "--filter-artifact-type", noteType), "a note")
	}
	equal(t, "no fallback tag is needed", regctl("tag", "ls", own+"/app"), "1")
	regctl("image", "copy", "--referrers", "--digest-tags", own+"/app:1", own+"/copy:1")
	equal(t, "the copy's artifact", regctl("artifact", "get", "--subject", own+"/copy:1", "--filter-artifact-type", sbomType), "an sbom")
	record(t, "regctl", "hosted repository", "artifacts with a subject, referrers with and without a type, also through the virtual registry; image copy with referrers")

	regctl("registry", "set", "--skip-check", "--blob-chunk", "100000", "--blob-max", "200000", w.addr)
	large := strings.Repeat("0123456789", 100_000)
	attach(t, regctl, own+"/app:1", "application/vnd.example.large", large)
	if got := regctl("artifact", "get", "--subject", hub+"/own/app:1", "--filter-artifact-type", "application/vnd.example.large"); got != large {
		t.Errorf("%d bytes pushed in chunks came back as %d others", len(large), len(got))
	}
	record(t, "regctl", "hosted repository", "push a blob in chunks")

	outer := startWeir(t)
	outer.cli("apply", "-f", writeFile(t, filepath.Join(t.TempDir(), "outer.yaml"), fmt.Sprintf(`groups:
  - name: acme
    credentials: [{name: inner, kind: static, username: ci, password: %q}]
    upstreams: [{name: inner, url: "http://%s", credential: inner, freshness: {default: always}}]
    registries: [{name: hub, members: [{upstream: inner}]}]
`, w.cli("token", "create", "--name", "outer", "--expires", "1h"), w.addr)))
	env := []string{dockerLogins(t, outer.addr+" admin:"+adminPassword), "REGCTL_CONFIG=" + filepath.Join(t.TempDir(), "regctl.json")}
	run(t, env, "regctl", "registry", "set", "--tls", "disabled", outer.addr)
	through := func(args ...string) string { t.Helper(); return run(t, env, "regctl", args...) }
	for _, inner := range []string{"own/app:1", "hub/own/app:1"} {
		ref := outer.addr + "/acme/hub/acme/" + inner
		equal(t, "the artifact of "+inner+" through the outer server", through("artifact", "get", "--subject", ref, "--filter-artifact-type", sbomType), "an sbom")
	}
	through("manifest", "get", outer.addr+"/acme/hub/acme/own/app:1") // what was only asked about is not kept
	w.proc.stop()
	equal(t, "the artifact without the inner server", through("artifact", "get", "--subject", outer.addr+"/acme/hub/acme/own/app:1", "--filter-artifact-type", sbomType), "an sbom")
	record(t, "regctl", "virtual registry in front of another Weir", "referrers and artifacts of hosted and virtual repositories, also after the upstream is stopped")

	w.start()
	digest, _ := index.Digest()
	regctl("manifest", "delete", own+"/app@"+digest.String())
	equal(t, "tags after the image was deleted", regctl("tag", "ls", own+"/app"), "")
	contains(t, "fsck", w.cli("check"), "0 problems")
	record(t, "regctl", "hosted repository", "delete an image that has referrers")
}

// TestRegctlFallbackTag reads artifacts through the cache of an upstream that lacks the referrers API, where clients keep the list
// in a tag instead.
func TestRegctlFallbackTag(t *testing.T) {
	up := startDebianRegistry(t)
	digest := up.pushIndex(t, "team/app:1", smallIndex(t))
	w := startWeir(t)
	w.front(up)
	regctl := regctl(t, w, up)
	hub, own := w.addr+"/acme/hub", w.addr+"/acme/own"
	attach(t, regctl, up.addr+"/team/app:1", sbomType, "an sbom")
	fallback := strings.Replace(digest, ":", "-", 1)
	contains(t, "the upstream keeps the list in a tag", regctl("tag", "ls", up.addr+"/team/app"), fallback)

	read := func() {
		t.Helper()
		for _, ref := range []string{hub + "/team/app:1", hub + "/upstream.test/team/app:1"} {
			contains(t, "referrers of "+ref, regctl("artifact", "list", ref), sbomType)
			equal(t, "the artifact of "+ref, regctl("artifact", "get", "--subject", ref, "--filter-artifact-type", sbomType), "an sbom")
		}
		contains(t, "the tag itself", regctl("manifest", "get", hub+"/team/app:"+fallback, "--format", "raw-body"), sbomType)
	}
	read()
	attach(t, regctl, up.addr+"/team/app:1", noteType, "a note") // a list that has changed
	equal(t, "the newer artifact", regctl("artifact", "get", "--subject", hub+"/team/app:1", "--filter-artifact-type", noteType), "a note")
	regctl("image", "copy", "--referrers", "--digest-tags", hub+"/team/app:1", own+"/copy:1")
	equal(t, "the copy's artifact", regctl("artifact", "get", "--subject", own+"/copy:1", "--filter-artifact-type", noteType), "a note")
	record(t, "regctl", "virtual registry, upstream without the referrers API", "referrers from the fallback tag, by image name and by host in path; the tag itself; image copy with referrers and digest tags to a hosted repository")

	up.proc.stop()
	read()
	regctl("image", "copy", "--referrers", "--digest-tags", hub+"/team/app:1", own+"/again:1")
	equal(t, "the artifact of a copy from the cache", regctl("artifact", "get", "--subject", own+"/again:1", "--filter-artifact-type", sbomType), "an sbom")
	record(t, "regctl", "virtual registry, upstream stopped", "referrers, artifacts and image copy with referrers from the cache")
}

// TestRegctlRefused tries what must not work, and looks for the reason in what regctl prints.
func TestRegctlRefused(t *testing.T) {
	up := startDebianRegistry(t)
	up.pushIndex(t, "team/app:1", smallIndex(t))
	w := startWeir(t)
	w.front(up)
	regctl := regctl(t, w, up)
	hub, own := w.addr+"/acme/hub", w.addr+"/acme/own"
	regctl("image", "copy", hub+"/team/app:1", own+"/app:1")
	config := func(login string) []string {
		env := []string{dockerLogins(t, w.addr+" "+login), "REGCTL_CONFIG=" + filepath.Join(t.TempDir(), "regctl.json")}
		run(t, env, "regctl", "registry", "set", "--skip-check", "--tls", "disabled", w.addr)
		return env
	}
	admin, reader, wrong := config("admin:"+adminPassword), config("rita:"+w.user("rita", "reader")), config("admin:wrong")
	note := writeFile(t, filepath.Join(t.TempDir(), "note"), "a note")
	for _, c := range []struct {
		env       []string
		args, why string
	}{
		{wrong, "tag ls " + own + "/app", "unauthorized"},
		{admin, "manifest get " + own + "/app:9", "not found"},
		{admin, "tag ls " + own + "/none", "there is no such repository"},
		{admin, "manifest delete --force-tag-dereference " + hub + "/own/app:1", "delete in the hosted repository, such as acme/own/app"},
		{admin, "artifact put --subject " + hub + "/own/app:1 --artifact-type " + noteType + " -f " + note, "push to a hosted repository of the group, such as acme/own/app"},
		{reader, "artifact put --subject " + own + "/app:1 --artifact-type " + noteType + " -f " + note, "it takes the role developer"},
		{reader, "manifest delete --force-tag-dereference " + own + "/app:1", "it takes the role maintainer"},
		{admin, "blob delete " + own + "/app " + layerOf(t, w), "a manifest of this repository still needs the blob"},
	} {
		refused(t, c.env, c.why, "regctl", strings.Fields(c.args)...)
	}
	regctl("artifact", "list", own+"/app:1")
	record(t, "regctl", "bad input", "wrong password, no rights, missing image, delete and attach through a virtual registry, deleting a blob in use: the reason is printed")
}

// layerOf returns the digest of a blob that acme/own/app:1 needs.
func layerOf(t *testing.T, w *weir) string {
	t.Helper()
	digestOf := func(path, after string) string {
		b, _ := w.get(path, accept)
		_, rest, ok := strings.Cut(string(b), after)
		_, rest, _ = strings.Cut(rest, `"digest":"`)
		d, _, closed := strings.Cut(rest, `"`)
		if !ok || !closed {
			t.Fatalf("no digest after %s in %s", after, b)
		}
		return d
	}
	child := digestOf("/v2/acme/own/app/manifests/1", `"manifests"`)
	return digestOf("/v2/acme/own/app/manifests/"+child, `"layers"`)
}
