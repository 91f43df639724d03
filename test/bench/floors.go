package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

// roleVariable makes a process of this program a floor: "memory FOLDER", "sink FOLDER" or "sink+fsync FOLDER".
const roleVariable = "WEIR_BENCH_ROLE"

// beFloor serves as a floor if the environment says so. It prints its addresses first and ends with its standard input.
func beFloor() bool {
	role, dir, ok := strings.Cut(os.Getenv(roleVariable), " ")
	if !ok {
		return false
	}
	var err error
	switch role {
	case "memory":
		err = (&memory{root: dir}).serve()
	default:
		err = (&sink{root: dir, durable: role == "sink+fsync"}).serve()
	}
	fmt.Fprintln(os.Stderr, err)
	return true
}

// memory answers the files of a folder from memory, with the headers of a registry: the floor of every server in Go, and with
// latency, bandwidth and faults set, the upstream of pull-through rows.
type memory struct {
	root    string
	content sync.Map                // path → *stored
	nature  atomic.Pointer[nature]  // nil: as fast as it can
	public  atomic.Pointer[endless] // nil: down

	busy     atomic.Int64 // answers under way
	mu       sync.Mutex
	requests int64
	bytes    int64
}

// nature is how an upstream behaves.
type nature struct {
	latency time.Duration // before each answer
	limit   *limiter      // of all answers together; nil: none
	fault   string        // "hang", or a status
	after   string        // Retry-After beside a status
	over    chan struct{} // closed when another nature takes its place
}

type stored struct {
	mediaType, digest string
	body              []byte
}

func (m *memory) serve() error {
	open, err := m.listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := open.listener.Addr().String()
	fmt.Println("http://"+address, "http://"+control.Addr().String())
	mux := http.NewServeMux()
	mux.HandleFunc("POST /nature", func(w http.ResponseWriter, r *http.Request) { m.behave(w, r, address) })
	mux.HandleFunc("POST /counters", m.counters)
	return (&http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}).Serve(control)
}

// endless is a listener with its server, to be closed and opened again.
type endless struct {
	listener net.Listener
	server   *http.Server
}

func (m *memory) listen(address string) (*endless, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	e := &endless{l, &http.Server{Handler: m, ReadHeaderTimeout: time.Minute}}
	m.public.Store(e)
	go func() { _ = e.server.Serve(l) }()
	return e, nil
}

// behave sets the nature: ?latency=50ms&bandwidth=BYTES_PER_SECOND&fault=down|hang|STATUS&after=SECONDS.
func (m *memory) behave(w http.ResponseWriter, r *http.Request, address string) {
	q := r.URL.Query()
	n := &nature{fault: q.Get("fault"), after: q.Get("after"), over: make(chan struct{})}
	n.latency, _ = time.ParseDuration(q.Get("latency"))
	if rate, _ := strconv.ParseFloat(q.Get("bandwidth"), 64); rate > 0 {
		n.limit = &limiter{rate: rate}
	}
	down := n.fault == "down"
	if e := m.public.Load(); down && e != nil {
		_ = e.server.Close()
		m.public.Store(nil)
	}
	if n.latency == 0 && n.limit == nil && (n.fault == "" || down) {
		n = nil
	}
	if old := m.nature.Swap(n); old != nil {
		close(old.over)
	}
	if !down && m.public.Load() == nil {
		if _, err := m.listen(address); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
}

// counters answers what was asked for since the last time: requests, and bytes of bodies. A client may have
// its last byte a moment before it is counted.
func (m *memory) counters(w http.ResponseWriter, _ *http.Request) {
	for late := time.Now().Add(time.Second); m.busy.Load() > 0 && time.Now().Before(late); {
		time.Sleep(time.Millisecond)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	fmt.Fprintln(w, m.requests, m.bytes)
	m.requests, m.bytes = 0, 0
}

func (m *memory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := m.nature.Load()
	if n != nil {
		m.busy.Add(1)
		defer m.busy.Add(-1)
	}
	if n != nil && !n.begin(w, r) {
		m.count(0)
		return
	}
	s := m.find(r.URL.Path)
	if s == nil {
		m.count(0)
		w.WriteHeader(http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", s.mediaType)
	h.Set("Docker-Content-Digest", s.digest)
	body := s.body
	if from, ok := rangeStart(r, int64(len(body))); ok {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
		body = body[from:]
		h.Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	if r.Method == http.MethodHead {
		body = nil
	}
	if n == nil || n.limit == nil {
		sent, _ := w.Write(body)
		if n != nil {
			m.count(int64(sent))
		}
		return
	}
	m.count(n.limit.send(w, r, body))
}

func (m *memory) count(sent int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests++
	m.bytes += sent
}

// begin waits as the nature says; false if the answer is a fault.
func (n *nature) begin(w http.ResponseWriter, r *http.Request) bool {
	if n.latency > 0 {
		time.Sleep(n.latency)
	}
	switch n.fault {
	case "":
		return true
	case "hang":
		select {
		case <-r.Context().Done():
		case <-n.over:
		}
		panic(http.ErrAbortHandler)
	}
	status, _ := strconv.Atoi(n.fault)
	if n.after != "" {
		w.Header().Set("Retry-After", n.after)
	}
	w.WriteHeader(status)
	return false
}

func (m *memory) find(p string) *stored {
	if s, ok := m.content.Load(p); ok {
		return s.(*stored)
	}
	body, err := os.ReadFile(filepath.Join(m.root, filepath.FromSlash(path.Clean("/"+p))))
	if p == "/v2/" {
		body, err = []byte("{}"), nil
	}
	if err != nil {
		return nil
	}
	s := &stored{mediaType: oci.MediaTypeOctets, digest: string(oci.DigestOf(oci.SHA256, body)), body: body}
	if strings.Contains(p, "/manifests/") {
		s.mediaType = oci.MediaTypeImageManifest
	}
	m.content.Store(p, s)
	return s
}

// rangeStart reads the one form of range that registries send: "bytes=N-".
func rangeStart(r *http.Request, size int64) (int64, bool) {
	text, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
	from, err := strconv.ParseInt(strings.TrimSuffix(text, "-"), 10, 64)
	return from, ok && err == nil && from < size
}

// limiter gives all answers together a bandwidth.
type limiter struct {
	rate float64 // bytes a second
	mu   sync.Mutex
	next time.Time
}

// burst is how far the limiter may catch up after a sleep that was too long, or nobody asking.
const burst = 5 * time.Millisecond

func (l *limiter) send(w http.ResponseWriter, r *http.Request, body []byte) (sent int64) {
	for piece := range slices.Chunk(body, 64<<10) {
		l.mu.Lock()
		if least := time.Now().Add(-burst); l.next.Before(least) {
			l.next = least
		}
		l.next = l.next.Add(time.Duration(float64(len(piece)) / l.rate * float64(time.Second)))
		wait := time.Until(l.next)
		l.mu.Unlock()
		if wait > 0 {
			time.Sleep(wait)
		}
		n, err := w.Write(piece)
		sent += int64(n)
		if err != nil || r.Context().Err() != nil {
			return sent
		}
	}
	return sent
}
