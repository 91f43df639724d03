package main

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"
)

// sink takes pushes and does only what no durable registry can leave out: it hashes what comes, writes it to a file, makes that
// durable and gives it its name. It knows no users, no rows and no references.
type sink struct {
	root    string
	durable bool     // fsync of each file and of its folder
	uploads sync.Map // id → *receiving
}

// receiving is an upload. Clients send its parts one after the other.
type receiving struct {
	file *os.File
	sum  hash.Hash
}

func (s *sink) serve() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	mux := http.NewServeMux()
	mux.HandleFunc("/v2/", s.route)
	return (&http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}).Serve(l)
}

func (s *sink) route(w http.ResponseWriter, r *http.Request) {
	status, err := http.StatusNotFound, error(nil)
	switch r.Method {
	case http.MethodPost:
		status, err = s.begin(w, r)
	case http.MethodPatch:
		status, err = s.append(w, r)
	case http.MethodPut:
		status, err = s.finish(w, r)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(status)
}

func (s *sink) begin(w http.ResponseWriter, r *http.Request) (int, error) {
	id := rand.Text()
	if _, err := s.create(id); err != nil {
		return 0, err
	}
	w.Header().Set("Location", path.Join(r.URL.Path, id))
	return http.StatusAccepted, nil
}

func (s *sink) create(id string) (*receiving, error) {
	f, err := os.Create(filepath.Join(s.root, id))
	if err != nil {
		return nil, err
	}
	u := &receiving{f, sha256.New()}
	s.uploads.Store(id, u)
	return u, nil
}

func (s *sink) append(w http.ResponseWriter, r *http.Request) (int, error) {
	u, ok := s.uploads.Load(path.Base(r.URL.Path))
	if !ok {
		return http.StatusNotFound, nil
	}
	w.Header().Set("Location", r.URL.Path)
	return http.StatusAccepted, u.(*receiving).read(r.Body)
}

// finish ends an upload, or takes a manifest, which comes whole.
func (s *sink) finish(w http.ResponseWriter, r *http.Request) (int, error) {
	v, ok := s.uploads.LoadAndDelete(path.Base(r.URL.Path))
	var u *receiving
	var err error
	if ok {
		u = v.(*receiving)
	} else if u, err = s.create(rand.Text()); err != nil {
		return 0, err
	}
	defer u.file.Close()
	if err := u.read(r.Body); err != nil {
		return 0, err
	}
	digest := fmt.Sprintf("%x", u.sum.Sum(nil))
	if want := r.URL.Query().Get("digest"); want != "" && want != "sha256:"+digest {
		return http.StatusBadRequest, nil
	}
	w.Header().Set("Location", r.URL.Path)
	return http.StatusCreated, s.keep(u.file, digest)
}

var buffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

func (u *receiving) read(body io.Reader) error {
	buffer := buffers.Get().(*[256 << 10]byte)
	defer buffers.Put(buffer)
	for {
		n, err := body.Read(buffer[:])
		u.sum.Write(buffer[:n])
		if _, err := u.file.Write(buffer[:n]); err != nil {
			return err
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func (s *sink) keep(f *os.File, digest string) error {
	folder := filepath.Join(s.root, digest[:2])
	if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if s.durable {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := os.Rename(f.Name(), filepath.Join(folder, digest)); err != nil || !s.durable {
		return err
	}
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
