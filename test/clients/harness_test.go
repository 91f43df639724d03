//go:build clients

// Package clients drives real clients (the docker daemon, containerd, skopeo) through the real binary, in front of real
// upstream registries. `make clients` runs it.
package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// toolDir is where test/tools.sh puts clients that it builds. It comes first on PATH; a program whose name a package of the system
// has too lies in a folder below it (containerd2/containerd).
const toolDir = "../../.tools/clients"

// tool returns what to run for a program's name, which may have a folder.
func tool(name string) string {
	if strings.Contains(name, "/") {
		if path, err := filepath.Abs(filepath.Join(toolDir, name)); err == nil {
			return path
		}
	}
	return name
}

// need skips the test, or fails it in CI, when a program is missing. Programs that CI need not have: wish.
func need(t *testing.T, programs ...string) {
	t.Helper()
	if os.Getenv("CI") != "true" {
		wish(t, programs...)
		return
	}
	for _, p := range programs {
		if _, err := exec.LookPath(tool(p)); err != nil {
			t.Fatalf("%s is missing; make deps or test/tools.sh installs it", p)
		}
	}
}

// wish skips the test when a program is missing, in CI too.
func wish(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(tool(p)); err != nil {
			skip(t, p+" is missing; make deps or make client-tools installs it")
		}
	}
	if os.Getuid() != 0 {
		skip(t, "daemons need root")
	}
}

// freePort returns a port of 127.0.0.1 for a server that cannot say which one it got. It comes from below the range that the system
// gives to outgoing connections and to listeners on port 0, so that none of them takes it before the server starts, or while it restarts.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := fmt.Sprint(20_000 + rand.IntN(12_000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}

// process is a server the test started. Its output is shown when the test fails.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	out  *transcript
	done chan struct{}
}

// transcript is what a process wrote; it may be read while the process runs.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *transcript) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs a program until the test ends or stop is called.
func start(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: filepath.Base(name), cmd: exec.Command(name, args...), out: new(transcript), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() { defer close(p.done); _ = p.cmd.Wait() }()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("output of %s:\n%s", p.name, tail(p.out.String(), 2500))
		}
	})
	return p
}

// stop ends the process by its id, kindly at first.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// kill ends the process at once.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// eventually retries f until it succeeds.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond) // between polls of another process
	}
}

// run runs a client and returns its standard output; the test fails when the client does.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	out, err := tryRun(t, env, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, tail(out, 4000))
	}
	return out
}

func tryRun(t *testing.T, env []string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out) + string(exit.Stderr), err
	}
	return strings.TrimSpace(string(out)), err
}

func writeFile(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// get fetches a URL from Weir with the admin's login and returns body and headers; any status but 200 fails.
func (w *weir) get(path string, accept string) ([]byte, http.Header) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.SetBasicAuth("admin", adminPassword)
	req.Header.Set("Accept", accept)
	resp, err := w.http.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatalf("GET %s: %s, %v\n%s", path, resp.Status, err, tail(string(body), 1000))
	}
	return body, resp.Header
}
