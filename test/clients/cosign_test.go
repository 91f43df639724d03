//go:build clients

package clients

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// signer is cosign with a key pair, logged in everywhere, without the public services of Sigstore.
type signer struct {
	t   *testing.T
	env []string
	dir string
}

func newSigner(t *testing.T, n *names, authorities []string, logins ...string) *signer {
	t.Helper()
	wish(t, "cosign")
	need(t, "crane")
	s := &signer{t: t, dir: t.TempDir()}
	s.env = append([]string{"COSIGN_PASSWORD=", "HOME=" + t.TempDir(), "SSL_CERT_FILE=" + bundle(t, authorities...), dockerLogins(t, logins...)}, n.env...)
	run(t, s.env, "cosign", "generate-key-pair", "--output-key-prefix", filepath.Join(s.dir, "cosign"))
	return s
}

// A signature is a bundle, attached as a referrer, or lies under the tag "sha256-<hex>.sig", as cosign kept it before version 3.
var signatureFormats = map[string][2][]string{ // flags of sign and verify
	"bundle":     {{}, {"--insecure-ignore-tlog=true"}},
	"legacy tag": {{"--new-bundle-format=false"}, {"--new-bundle-format=false", "--insecure-ignore-tlog=true"}},
}

func (s *signer) signing(format, ref string) []string {
	args := []string{"sign", "--yes", "--key", s.dir + "/cosign.key", "--use-signing-config=false", "--tlog-upload=false", "--allow-http-registry"}
	return append(append(args, signatureFormats[format][0]...), ref)
}

func (s *signer) sign(format, ref string) {
	s.t.Helper()
	run(s.t, s.env, "cosign", s.signing(format, ref)...)
}

func (s *signer) verifying(format, ref string) []string {
	args := append([]string{"verify", "--key", s.dir + "/cosign.pub", "--allow-http-registry"}, signatureFormats[format][1]...)
	return append(args, ref)
}

func (s *signer) verify(format, ref, digest string) {
	s.t.Helper()
	contains(s.t, format+" of "+ref, run(s.t, s.env, "cosign", s.verifying(format, ref)...), `"docker-manifest-digest":"`+digest+`"`)
}

// tags returns the tags of a repository that stand for signatures.
func (s *signer) tags(repository string) string {
	s.t.Helper()
	var out []string
	for _, tag := range strings.Fields(run(s.t, s.env, "crane", "ls", "--insecure", repository)) {
		if strings.HasPrefix(tag, "sha256-") {
			out = append(out, tag)
		}
	}
	return strings.Join(out, " ")
}

// TestCosign signs images in a hosted repository, in an upstream that has the referrers API and in one that lacks it, and verifies
// them there and through the cache, also after the upstreams are gone.
func TestCosign(t *testing.T) {
	wish(t, "cosign")
	up := startDebianRegistry(t)
	w, n, ca := startNamed(t, up)
	inner := startWeir(t)
	inner.cli("apply", "-f", writeFile(t, filepath.Join(t.TempDir(), "inner.yaml"), "groups: [{name: acme}]\n"))
	w.cli("apply", "-f", writeFile(t, filepath.Join(t.TempDir(), "behind.yaml"), fmt.Sprintf(`groups:
  - name: acme
    credentials: [{name: inner, kind: static, username: ci, password: %q}]
    upstreams: [{name: inner, url: "http://%s", credential: inner}]
    registries: [{name: behind, members: [{upstream: inner}]}]
`, inner.cli("token", "create", "--name", "inner", "--expires", "1h"), inner.addr)))
	s := newSigner(t, n, []string{ca, up.caFile}, "weir.acme.test admin:"+adminPassword, inner.addr+" admin:"+adminPassword, up.addr+" "+up.user+":"+upstreamPassword)
	const weir = "weir.acme.test/acme/"
	digests := map[string]string{}
	for format := range signatureFormats {
		app := strings.Fields(format)[0]
		digest := up.pushIndex(t, "org/"+app+":1", smallIndex(t))
		run(t, s.env, "crane", "copy", up.addr+"/org/"+app+":1", weir+"own/"+app+":1")
		run(t, s.env, "crane", "copy", "--insecure", up.addr+"/org/"+app+":1", inner.addr+"/acme/own/"+app+":1")

		digests[format] = digest
		withAPI, without := "", strings.Replace(digest, ":", "-", 1) // the tags that signatures need
		if format == "legacy tag" {
			without += ".sig"
			withAPI = without
		}

		s.sign(format, weir+"own/"+app+"@"+digest)
		equal(t, "tags for signatures", s.tags(weir+"own/"+app), withAPI)
		s.verify(format, weir+"own/"+app+":1", digest)
		s.verify(format, weir+"hub/own/"+app+"@"+digest, digest)
		record(t, "cosign", "hosted repository", "sign and verify, "+format+", also through the virtual registry")
		s.sign(format, up.addr+"/org/"+app+"@"+digest)
		equal(t, "the upstream's tags for signatures", s.tags(up.addr+"/org/"+app), without)
		s.verify(format, weir+"hub/org/"+app+":1", digest)
		s.verify(format, weir+"hub/ghcr.io/org/"+app+"@"+digest, digest)
		record(t, "cosign", "virtual registry, upstream without the referrers API", "verify what the upstream signed, "+format)
		s.sign(format, inner.addr+"/acme/own/"+app+"@"+digest)
		equal(t, "the other upstream's tags for signatures", s.tags(inner.addr+"/acme/own/"+app), withAPI)
		s.verify(format, weir+"behind/acme/own/"+app+":1", digest)
		record(t, "cosign", "virtual registry, upstream with the referrers API", "verify what the upstream signed, "+format)
	}
	up.proc.stop()
	inner.proc.stop()
	for format, digest := range digests {
		app := strings.Fields(format)[0]
		s.verify(format, weir+"hub/org/"+app+":1", digest)
		s.verify(format, weir+"behind/acme/own/"+app+":1", digest)
		record(t, "cosign", "virtual registry, upstream stopped", "verify by tag what was verified before, "+format)
	}
}

// TestCosignAsShown does what docs/how-to/signatures.md shows.
func TestCosignAsShown(t *testing.T) {
	wish(t, "cosign")
	up := startDebianRegistry(t)
	w, n, ca := startNamed(t, up)
	digest := up.pushIndex(t, "org/app:1", smallIndex(t))
	s := newSigner(t, n, []string{ca, up.caFile}, "weir.acme.test admin:"+adminPassword, up.addr+" "+up.user+":"+upstreamPassword)
	run(t, s.env, "crane", "copy", up.addr+"/org/app:1", "weir.acme.test/acme/own/app:1")
	s.sign("bundle", up.addr+"/org/app@"+digest)
	env := append(s.env, "DOCKER_CONFIG="+t.TempDir(), "IMAGE=app@"+digest, "COSIGN_YES=true", "WEIR_TOKEN="+w.cli("token", "create", "--name", "cosign", "--expires", "1h"))
	contains(t, "what the page shows", inFolder(t, s.dir, env, script(t, "signatures.md")), digest)
	record(t, "cosign", "hosted and virtual registry", "login with a token, sign, verify, as docs/how-to/signatures.md shows")

	predicate := writeFile(t, filepath.Join(s.dir, "predicate.json"), `{"built": "here"}`)
	ref := "weir.acme.test/acme/own/app@" + digest
	run(t, s.env, "cosign", "attest", "--yes", "--key", s.dir+"/cosign.key", "--use-signing-config=false", "--tlog-upload=false", "--type", "custom", "--predicate", predicate, ref)
	run(t, s.env, "cosign", "verify-attestation", "--key", s.dir+"/cosign.pub", "--insecure-ignore-tlog=true", "--type", "custom", "weir.acme.test/acme/hub/own/app:1")
	contains(t, "tree", run(t, s.env, "cosign", "tree", "weir.acme.test/acme/hub/own/app:1"), "sha256:")
	record(t, "cosign", "hosted and virtual registry", "attest and verify-attestation; tree")
}

// TestCosignRefused tries what must not work, and looks for the reason in what cosign prints.
func TestCosignRefused(t *testing.T) {
	wish(t, "cosign")
	up := startDebianRegistry(t)
	w, n, ca := startNamed(t, up)
	digest := up.pushIndex(t, "org/app:1", smallIndex(t))
	s := newSigner(t, n, []string{ca, up.caFile}, "weir.acme.test admin:"+adminPassword, up.addr+" "+up.user+":"+upstreamPassword)
	const weir = "weir.acme.test/acme/"
	run(t, s.env, "crane", "copy", up.addr+"/org/app:1", weir+"own/app:1")
	reader := append(s.env[:len(s.env):len(s.env)], dockerLogins(t, "weir.acme.test rita:"+w.user("rita", "reader")))
	for format := range signatureFormats {
		refused(t, s.env, "push to a hosted repository of the group, such as acme/org/app", "cosign", s.signing(format, weir+"hub/org/app@"+digest)...)
		refused(t, reader, "it takes the role developer", "cosign", s.signing(format, weir+"own/app@"+digest)...)
		refused(t, s.env, "no signatures found", "cosign", s.verifying(format, weir+"hub/org/app:1")...)
		refused(t, s.env, "no upstream of registry acme/hub has org/none:1", "cosign", s.verifying(format, weir+"hub/org/none:1")...)
	}
	other := newSigner(t, n, []string{ca, up.caFile}, "weir.acme.test admin:"+adminPassword)
	s.sign("bundle", weir+"own/app@"+digest)
	refused(t, other.env, "accepted signatures do not match threshold", "cosign", other.verifying("bundle", weir+"own/app:1")...)
	record(t, "cosign", "bad input", "sign through a virtual registry or without rights, verify what is unsigned, missing or signed by another key: the reason is printed")
}
