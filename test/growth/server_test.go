package growth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
)

// server is the real program on a prepared store.
type server struct {
	t       *testing.T
	cmd     *exec.Cmd
	env     []string
	url     string
	token   string
	client  *http.Client
	started time.Duration // from its start to its first answer
}

var binary = sync.OnceValues(func() (string, error) {
	path, err := filepath.Abs("../../bin/weir-growth")
	if err != nil {
		return "", err
	}
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/weir").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

func (p *prepared) environment() []string {
	env := append(os.Environ(), "WEIR_OPS_LISTEN=", "WEIR_GC_DELAY=0s", "WEIR_ADMIN_PASSWORD=correct horse battery staple")
	if p.Options.Engine == meta.PostgreSQL {
		env = append(env, "WEIR_DATABASE_ENGINE=postgres", "WEIR_DATABASE_DSN="+p.Options.DSN)
	}
	return env
}

// start starts the program and waits for its first answer.
func start(t *testing.T, p *prepared) *server {
	t.Helper()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	s := &server{t: t, url: "http://" + address, env: p.environment(), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true}}}
	s.cmd = exec.Command(program, "serve", "--data", p.Data, "--listen", address)
	s.cmd.Env = s.env
	log, err := os.Create(filepath.Join(p.Data, "server.log"))
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	for {
		resp, err := s.client.Get(s.url + "/v2/")
		if err == nil {
			_ = resp.Body.Close()
			s.started = time.Since(began)
			break
		}
		if time.Since(began) > time.Minute {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("the server does not start: %v\n%s", err, text)
		}
		time.Sleep(time.Millisecond)
	}
	api, err := client.New(client.Options{Data: p.Data})
	if err != nil {
		t.Fatal(err)
	}
	token, err := api.CreateToken(t.Context(), "admin", "growth "+began.Format(time.RFC3339Nano), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	s.token = token.Text
	return s
}

func (s *server) stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
	s.cmd = nil
	s.client.CloseIdleConnections()
}

// do asks the server and returns the body. The token is sent along unless the path begins with "/v2/" and the method reads.
func (s *server) do(method, path string, body []byte, want ...int) []byte {
	text, _ := s.exchange(method, path, body, want...)
	return text
}

func (s *server) exchange(method, path string, body []byte, want ...int) ([]byte, http.Header) {
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Accept", oci.ManifestAccept)
	if path == "/v2/_catalog?n=100" || method != http.MethodGet || strings.HasPrefix(path, "/api/") {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	if method == http.MethodPut {
		req.Header.Set("Content-Type", oci.MediaTypeImageManifest)
	} else if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Error(err)
		return nil, nil
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || !slices.Contains(want, resp.StatusCode) {
		s.t.Errorf("%s %s: %d %.300s %v", method, path, resp.StatusCode, text, err)
	}
	return text, resp.Header
}

// cost is what a number of like requests took.
type cost struct {
	n           int
	wall, cpu   time.Duration
	worst, half time.Duration
}

func (c cost) String() string {
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(c.n) }
	return fmt.Sprintf("%.2f ms (median %.1f, worst %.1f)", each(c.cpu), float64(c.half.Microseconds())/1000, float64(c.worst.Microseconds())/1000)
}

// measure has workers do n requests.
func (s *server) measure(n, workers int, request func(i int)) cost {
	before, began := s.cpu(), time.Now()
	took := make([]time.Duration, n)
	var wait sync.WaitGroup
	next := make(chan int)
	for range workers {
		wait.Go(func() {
			for i := range next {
				at := time.Now()
				request(i)
				took[i] = time.Since(at)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wait.Wait()
	slices.Sort(took)
	return cost{n: n, wall: time.Since(began), cpu: s.cpu() - before, worst: took[n-1], half: took[n/2]}
}

// cpu is what the kernel has booked for the server; PostgreSQL's processes are not counted.
func (s *server) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// memory is VmRSS or VmHWM in MB.
func (s *server) memory(name string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), name+":")
	kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	return kb / 1000 * 1.024
}

func (s *server) search(query string) (found int, next string) {
	var page struct{ Items []json.RawMessage }
	text, header := s.exchange("GET", "/api/v1/groups/"+group+"/search?"+query, nil, 200)
	if err := json.Unmarshal(text, &page); err != nil {
		s.t.Errorf("search %s: %v", query, err)
	}
	return len(page.Items), header.Get("Link")
}
