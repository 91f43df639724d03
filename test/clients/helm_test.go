//go:build clients

package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// chart writes a chart and returns its folder, which has the chart's name.
func chart(t *testing.T, dir, name, version, more string) string {
	t.Helper()
	writeFile(t, filepath.Join(dir, name, "Chart.yaml"), fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\n%s", name, version, more))
	writeFile(t, filepath.Join(dir, name, "values.yaml"), "greeting: hello from "+name+"\n")
	writeFile(t, filepath.Join(dir, name, "templates", "map.yaml"),
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+name+"}\ndata: {greeting: {{ .Values.greeting | quote }}}\n")
	return filepath.Join(dir, name)
}

// helmEnv lets helm trust the authorities and keep its state in a folder of the test.
func helmEnv(t *testing.T, n *names, authorities ...string) []string {
	t.Helper()
	return append([]string{"HELM_CONFIG_HOME=" + t.TempDir(), "HELM_CACHE_HOME=" + t.TempDir(), "HELM_DATA_HOME=" + t.TempDir(),
		"DOCKER_CONFIG=" + t.TempDir(), "SSL_CERT_FILE=" + bundle(t, authorities...)}, n.env...)
}

// bundle joins files of authorities.
func bundle(t *testing.T, files ...string) string {
	t.Helper()
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return writeFile(t, filepath.Join(t.TempDir(), "bundle.pem"), all.String())
}

// TestHelm does what docs/how-to/helm.md shows, with a chart of an upstream and one of the group, then more of what users do with
// charts, also after the upstream is gone.
func TestHelm(t *testing.T) {
	wish(t, "helm")
	up := startDebianRegistry(t)
	w, n, ca := startNamed(t, up)
	env := helmEnv(t, n, ca, up.caFile)
	dir := t.TempDir()
	helm := func(args ...string) string { t.Helper(); return run(t, env, "helm", args...) }
	to := "oci://" + up.addr + "/org/charts"
	for _, version := range []string{"0.4.0", "0.4.1+build.7", "0.5.0"} {
		helm("package", chart(t, dir, "base", version, ""), "-d", dir)
		helm("push", filepath.Join(dir, "base-"+version+".tgz"), to, "--username", up.user, "--password", upstreamPassword)
	}
	chart(t, dir, "demo", "1.2.3", "")
	env = append(env, "WEIR_TOKEN="+w.cli("token", "create", "--name", "helm", "--expires", "1h"))
	contains(t, "what the page shows", inFolder(t, dir, env, script(t, "helm.md")), "name: demo")
	sameFile(t, filepath.Join(dir, "base-0.4.0.tgz"), pulled(t, helm, "oci://weir.acme.test/acme/hub/org/charts/base", "0.4.0"))
	record(t, "helm", "hosted and virtual registry", "registry login with a token, push, show and pull, as docs/how-to/helm.md shows")

	deps := strings.TrimPrefix(yamlBlock(t, "helm.md"), "\n")
	helm("dependency", "update", chart(t, dir, "app", "1.0.0", deps))
	contains(t, "a chart with what it depends on", helm("template", filepath.Join(dir, "app")), "hello from base")
	contains(t, "the newest version", helm("show", "chart", "oci://weir.acme.test/acme/hub/org/charts/base"), "version: 0.5.0")
	contains(t, "a range", helm("show", "chart", "oci://weir.acme.test/acme/hub/org/charts/base", "--version", "~0.4.0"), "version: 0.4.1+build.7")
	contains(t, "template", helm("template", "oci://weir.acme.test/acme/hub/own/charts/demo"), "hello from demo")
	record(t, "helm", "virtual registry", "dependency update; newest version, version range and a version with build metadata; template from the registry")

	up.proc.stop()
	sameFile(t, filepath.Join(dir, "base-0.4.0.tgz"), pulled(t, helm, "oci://weir.acme.test/acme/hub/org/charts/base", "0.4.0"))
	contains(t, "the newest version without the upstream", helm("show", "chart", "oci://weir.acme.test/acme/hub/org/charts/base"), "version: 0.5.0")
	record(t, "helm", "virtual registry, upstream stopped", "pull by version, show the newest version")
}

// TestHelmRefused tries what must not work, and looks for the reason in what helm prints.
func TestHelmRefused(t *testing.T) {
	wish(t, "helm")
	up := startDebianRegistry(t)
	w, n, ca := startNamed(t, up)
	env := helmEnv(t, n, ca)
	dir := t.TempDir()
	run(t, env, "helm", "package", chart(t, dir, "demo", "1.2.3", ""), "-d", dir)
	file := filepath.Join(dir, "demo-1.2.3.tgz")
	rita := " --username rita --password " + w.user("rita", "reader")
	admin := " --username admin --password " + adminPassword
	w.cli("registry", "create", "ruled", "--group", "acme")
	w.cli("registry", "attach", "ruled", "ghcr", "--group", "acme")
	w.cli("rule", "create", "--group", "acme", "--registry", "ruled", "--deny", "*:*-rc")
	run(t, env, "helm", strings.Fields("push "+file+" oci://weir.acme.test/acme/own/charts"+admin)...)
	for _, c := range []struct{ args, why string }{
		{"registry login weir.acme.test -u admin -p wrong", "wrong user name or password"},
		{"pull oci://weir.acme.test/acme/own/charts/demo", "unauthorized"},
		{"pull oci://weir.acme.test/acme/hub/own/charts/demo --version 9.9.9" + admin, "not found"},
		{"pull oci://weir.acme.test/acme/hub/org/charts/none --version 1.0.0" + admin, "not found"},
		{"push " + file + " oci://weir.acme.test/acme/hub/charts" + admin, "push to a hosted repository of the group, such as acme/charts/demo"},
		{"push " + file + " oci://weir.acme.test/acme/ruled/charts" + admin, "push to a hosted repository of the group, such as acme/charts/demo"},
		{"push " + file + " oci://weir.acme.test/acme/own/charts" + rita, "it takes the role developer"},
		{"push " + file + " oci://weir.acme.test/none/charts" + admin, "there is no group none"},
	} {
		refused(t, env, c.why, "helm", strings.Fields(c.args)...)
	}
	record(t, "helm", "bad input", "wrong or no password, no rights, missing chart or version, push to a virtual registry or an unknown group: the reason is printed")
}

// pulled pulls a chart and returns its file.
func pulled(t *testing.T, helm func(...string) string, ref, version string) string {
	t.Helper()
	dir := t.TempDir()
	helm("pull", ref, "--version", version, "-d", dir)
	return filepath.Join(dir, filepath.Base(ref)+"-"+version+".tgz")
}
