// Package stack runs the whole server, as `weir serve` does, against fake and real upstreams, and asks it over HTTP. The helpers
// start it inside the test's process (Start), which is fast, or as a process of its own that can be killed (StartProcess).
package stack

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/app"
	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/store/meta"
)

// Options say how a server differs from one that is started without any settings. Upstreams may be on this machine.
type Options struct {
	Configure func(*config.Config)
	Users     []string // users beside the administrator, without grants and passwords
	Data      string   // data folder of an earlier server; empty = a new one
}

// Server is a running server with a data folder of its own.
type Server struct {
	Remote
	Config config.Config
	Log    *Log
	API    *client.Client // through the local socket, which may do everything

	t       *testing.T
	options Options
	stop    context.CancelFunc
	ended   chan error
}

const adminPassword = "correct horse battery staple"

// Start starts a server that stops when the test ends. Stopping with an error fails the test.
func Start(t *testing.T, o Options) *Server {
	t.Helper()
	if o.Data == "" {
		o.Data = Folder(t)
	}
	s := &Server{t: t, options: o}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Start starts the server again after Stop, at another port.
func (s *Server) Start() {
	s.t.Helper()
	for range 5 { // a free port may be taken when the server wants it
		err := s.start()
		if err == nil {
			return
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			s.t.Fatalf("start: %v\n%s", err, s.Log)
		}
	}
	s.t.Fatal("no free port")
}

func (s *Server) start() error {
	s.t.Helper()
	c := s.settings()
	if _, err := os.Stat(c.Data); errors.Is(err, os.ErrNotExist) {
		if err := seed(c, s.options.Users); err != nil {
			s.t.Fatalf("make users: %v", err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	s.Log = newLog()
	ended := make(chan error, 1)
	go func() { ended <- app.Serve(ctx, c, s.Log) }()
	select {
	case <-s.Log.ready:
	case err := <-ended:
		stop()
		return err
	}
	api, err := client.New(client.Options{Data: c.Data})
	if err != nil {
		s.t.Fatal(err)
	}
	s.Config, s.API, s.stop, s.ended = c, api, stop, ended
	s.Remote = Remote{URL: "http://" + c.Listen}
	return nil
}

func (s *Server) settings() config.Config {
	s.t.Helper()
	c, err := config.Load(config.Source{Override: func(c *config.Config) {
		c.Data = s.options.Data
		c.Listen = freeAddress(s.t)
		c.Ops.Listen = ""
		c.Log.Level = "debug"
		c.ShutdownTimeout = config.Duration(5 * time.Second)
		c.Upstream.AllowPrivateNetworks = true
		if s.options.Configure != nil {
			s.options.Configure(c)
		}
	}})
	if err != nil {
		s.t.Fatalf("settings: %v", err)
	}
	return c
}

// Stop stops the server in order. Stopping twice is fine.
func (s *Server) Stop() {
	s.t.Helper()
	if s.stop == nil {
		return
	}
	s.stop()
	s.stop = nil
	select {
	case err := <-s.ended:
		if err != nil {
			s.t.Errorf("the server stopped with: %v", err)
		}
	case <-time.After(30 * time.Second):
		s.t.Errorf("the server does not stop\n%s", s.Log)
	}
}

// Apply makes a declaration in the form of `weir apply` so.
func (s *Server) Apply(t *testing.T, yaml string) {
	t.Helper()
	apply(t, s.API, yaml)
}

func apply(t *testing.T, api *client.Client, yaml string) {
	t.Helper()
	d, err := client.Reader{Stdin: strings.NewReader(yaml)}.Read([]string{"-"})
	if err != nil {
		t.Fatalf("read the declaration: %v", err)
	}
	if _, err := api.Apply(context.Background(), d, false, false); err != nil {
		t.Fatalf("apply: %v\n%s", err, yaml)
	}
}

// As returns the server as a user sees it who sends a personal token with each request. The empty user is nobody.
func (s *Server) As(t *testing.T, user string) Remote {
	t.Helper()
	if user == "" {
		return Remote{URL: s.URL}
	}
	return Remote{URL: s.URL, Token: s.NewToken(t, user)}
}

// NewToken makes a personal token.
func (s *Server) NewToken(t *testing.T, user string) string {
	t.Helper()
	token, err := s.API.CreateToken(context.Background(), user, "test "+time.Now().Format(time.RFC3339Nano), time.Time{})
	if err != nil {
		t.Fatalf("token of %s: %v", user, err)
	}
	return token.Text
}

// seed makes a data folder with users: nothing but the server's own code can, as long as no command makes users.
func seed(c config.Config, users []string) (err error) {
	ctx := context.Background()
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return err
	}
	db, err := meta.Open(ctx, meta.Options{Engine: c.Database.Engine, Path: c.Database.Path, DSN: c.Database.DSN.Reveal()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	sealer, _, err := seal.OpenFile(c.Keys.KeysetFile)
	if err != nil {
		return err
	}
	cheap := access.Hashing{MemoryKiB: 64, Passes: 1}
	dir, err := access.Open(ctx, access.Options{DB: db, Sealer: sealer, Hashing: cheap})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if _, err := dir.Bootstrap(ctx, adminPassword); err != nil {
		return err
	}
	for _, name := range users {
		if _, err := dir.CreateUser(ctx, access.Actor{}, name, ""); err != nil {
			return err
		}
	}
	return nil
}

// Folder is a new data folder: in memory where there is room, because flushing to a disk is slow and nothing here stops the machine;
// and with a short name, because the path of a socket must be short. It does not exist yet.
func Folder(t *testing.T) string {
	t.Helper()
	parent := ""
	var memory syscall.Statfs_t
	if err := syscall.Statfs("/dev/shm", &memory); err == nil && memory.Bavail*uint64(memory.Bsize) > 1<<30 {
		parent = "/dev/shm"
	}
	dir, err := os.MkdirTemp(parent, "weir-stack-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "data")
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
