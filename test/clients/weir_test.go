//go:build clients

package clients

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const adminPassword = "correct-horse-battery"

// binary is the program under test: what WEIR_BINARY names (make clients does), or what is built here, once.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("WEIR_BINARY"); path != "" {
		return path, nil
	}
	out, err := filepath.Abs("../../bin/weir-clients")
	if err != nil {
		return "", err
	}
	b, err := exec.Command("go", "build", "-o", out, "../../cmd/weir").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, b)
	}
	return out, nil
})

// weir is a running server with a data folder of its own.
type weir struct {
	t    *testing.T
	bin  string
	data string
	addr string
	url  string // https with trust
	ops  string
	http *http.Client
	env  []string
	proc *process
}

// startWeir starts the server with settings beside those every test has.
func startWeir(t *testing.T, env ...string) *weir {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	w := &weir{t: t, bin: bin, data: filepath.Join(t.TempDir(), "data"), addr: "127.0.0.1:" + freePort(t), ops: "127.0.0.1:" + freePort(t), http: http.DefaultClient, env: env}
	w.url = "http://" + w.addr
	w.start()
	return w
}

func (w *weir) start() {
	w.t.Helper()
	env := append([]string{"WEIR_ADMIN_PASSWORD=" + adminPassword, "WEIR_UPSTREAM_ALLOW_PRIVATE_NETWORKS=true", "WEIR_OPS_LISTEN=" + w.ops}, w.env...)
	w.proc = start(w.t, env, w.bin, "serve", "--data", w.data, "--listen", w.addr)
	eventually(w.t, "weir is ready", func() error {
		resp, err := http.Get("http://" + w.ops + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz: %s", resp.Status)
		}
		return nil
	})
}

// cli runs the command line against the server's local socket.
func (w *weir) cli(args ...string) string {
	w.t.Helper()
	return run(w.t, []string{"UPSTREAM_PASSWORD=" + upstreamPassword}, w.bin, append(args, "--data", w.data)...)
}

// front declares group acme with a registry hub in front of the group's own repositories and up. A rule keeps team/forbidden back.
func (w *weir) front(up *upstream) {
	w.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "groups:\n  - name: acme\n")
	if up.user != "" {
		fmt.Fprintf(&b, "    credentials:\n      - {name: up, kind: static, username: %s, password: {env: UPSTREAM_PASSWORD}}\n", up.user)
	}
	fmt.Fprintf(&b, "    upstreams:\n      - name: up\n        url: %s\n", up.url)
	if up.user != "" {
		fmt.Fprintf(&b, "        credential: up\n")
	}
	if up.caFile != "" {
		fmt.Fprintf(&b, "        ca: {file: %s}\n", up.caFile)
	}
	fmt.Fprintf(&b, "        hosts: [upstream.test]\n        freshness: {default: always}\n")
	fmt.Fprintf(&b, "      - {name: own, local: acme/own}\n")
	fmt.Fprintf(&b, "    registries:\n      - {name: hub, format: container, members: [{upstream: own}, {upstream: up}], rules: [{deny: team/forbidden}]}\n")
	w.cli("apply", "-f", writeFile(w.t, filepath.Join(filepath.Dir(w.data), "acme.yaml"), b.String()))
}
