// Package bench measures the server against floors in the same run: a bare Go server that answers the same bytes from memory.
// It reports server CPU per request and its ratio to the floor's, because rates on one machine say more of the client.
package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

const (
	floorVariable = "WEIR_BENCH_FLOOR" // address: this process is the floor
	password      = "bench-password"
	connections   = 16
)

func TestMain(m *testing.M) {
	if address := os.Getenv(floorVariable); address != "" {
		floor(address)
		return
	}
	os.Exit(m.Run())
}

// floor answers PUT by remembering and GET from memory.
func floor(address string) {
	var content sync.Map
	server := &http.Server{Addr: address, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			b, _ := io.ReadAll(r.Body)
			content.Store(r.URL.Path, b)
			return
		}
		if b, ok := content.Load(r.URL.Path); ok {
			w.Header().Set("Content-Type", r.Header.Get("Accept"))
			_, _ = w.Write(b.([]byte))
		}
	})}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
}

type target struct {
	pid     int
	url     string
	prepare func(r *http.Request)
}

// BenchmarkGET compares GETs of a manifest by tag and by digest and of small blobs: with a personal token, access line on.
func BenchmarkGET(b *testing.B) {
	weir, bare := startWeir(b), startFloor(b)
	small, large := push(b, weir, bare, 600), push(b, weir, bare, 100_000)
	for _, c := range []struct{ name, path string }{
		{"manifest-by-tag", "/v2/main/app/manifests/" + small.tag},
		{"manifest-by-digest", "/v2/main/app/manifests/" + string(small.manifest)},
		{"blob-600B", "/v2/main/app/blobs/" + string(small.blob)},
		{"blob-100KB", "/v2/main/app/blobs/" + string(large.blob)},
	} {
		var floorCPU float64
		b.Run(c.name+"/floor", func(b *testing.B) { floorCPU = measure(b, bare, c.path) })
		b.Run(c.name+"/weir", func(b *testing.B) {
			cpu := measure(b, weir, c.path)
			if floorCPU > 0 {
				b.ReportMetric(cpu/floorCPU, "x-floor-cpu")
			}
		})
	}
}

// measure sends b.N requests and reports the server's CPU time for each.
func measure(b *testing.B, t target, path string) float64 {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	work := make(chan struct{}, connections)
	var wait sync.WaitGroup
	before := cpuTime(b, t.pid)
	b.ResetTimer()
	for range connections {
		wait.Go(func() {
			for range work {
				if err := get(b.Context(), client, t, path); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	wait.Wait()
	b.StopTimer()
	perRequest := float64((cpuTime(b, t.pid) - before).Nanoseconds()) / float64(b.N)
	b.ReportMetric(perRequest, "server-cpu-ns/req")
	return perRequest
}

func get(ctx context.Context, client *http.Client, t target, path string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url+path, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", oci.MediaTypeImageManifest)
	if t.prepare != nil {
		t.prepare(r)
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// cpuTime is user and system time of a process, in ticks of 10 ms (proc(5)).
func cpuTime(b *testing.B, pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("SKIPPED: needs Linux's /proc")
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+2:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func startFloor(b *testing.B) target {
	address := freeAddress(b)
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), floorVariable+"="+address)
	return start(b, cmd, target{url: "http://" + address})
}

func startWeir(b *testing.B) target {
	bin := filepath.Join(b.TempDir(), "weir")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", bin, "../../cmd/weir").CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	address := freeAddress(b)
	cmd := exec.CommandContext(b.Context(), bin, "serve", "--data", filepath.Join(b.TempDir(), "data"), "--listen", address)
	cmd.Env = append(os.Environ(), "WEIR_ADMIN_PASSWORD="+password, "WEIR_OPS_LISTEN=")
	t := start(b, cmd, target{url: "http://" + address, prepare: func(r *http.Request) { r.SetBasicAuth("admin", password) }})
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, t.url+"/api/v1/tokens", strings.NewReader(`{"name":"bench"}`))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	t.prepare(r)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	var token struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&token); err != nil || token.Token == "" {
		b.Fatalf("make a token: %s, %v", resp.Status, err)
	}
	t.prepare = func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token.Token) }
	return t
}

func start(b *testing.B, cmd *exec.Cmd, t target) target {
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	t.pid = cmd.Process.Pid
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) { // between looks at another process
		conn, err := net.Dial("tcp", strings.TrimPrefix(t.url, "http://"))
		if err == nil {
			_ = conn.Close()
			return t
		}
		if time.Now().After(deadline) {
			b.Fatal(err)
		}
	}
}

func freeAddress(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

type pushed struct {
	tag            string
	manifest, blob oci.Digest
}

// push puts an image with one layer of random bytes into both servers.
func push(b *testing.B, weir, bare target, size int) pushed {
	layer := make([]byte, size)
	_, _ = rand.Read(layer)
	p := pushed{tag: "size-" + strconv.Itoa(size), blob: oci.DigestOf(oci.SHA256, layer)}
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":%d},"layers":[]}`,
		oci.MediaTypeImageManifest, p.blob, size)
	p.manifest = oci.DigestOf(oci.SHA256, manifest)
	send := func(t target, method, path string, body []byte) {
		r, err := http.NewRequestWithContext(b.Context(), method, t.url+path, bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("Content-Type", oci.MediaTypeImageManifest)
		if method == http.MethodPost {
			r.Header.Set("Content-Type", oci.MediaTypeOctets)
		}
		if t.prepare != nil {
			t.prepare(r)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode >= 300 {
			b.Fatalf("%s %s: %s", method, path, resp.Status)
		}
	}
	send(weir, http.MethodPost, "/v2/main/app/blobs/uploads/?digest="+string(p.blob), layer)
	send(weir, http.MethodPut, "/v2/main/app/manifests/"+p.tag, manifest)
	for path, body := range map[string][]byte{"manifests/" + p.tag: manifest, "manifests/" + string(p.manifest): manifest, "blobs/" + string(p.blob): layer} {
		send(bare, http.MethodPut, "/v2/main/app/"+path, body)
	}
	return p
}
