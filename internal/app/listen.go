package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/content"
	"github.com/weir-registry/weir/internal/serve"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/serve/distribution"
	"github.com/weir-registry/weir/internal/serve/ops"
	"github.com/weir-registry/weir/internal/serve/signin"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/work"
	"github.com/weir-registry/weir/internal/work/check"
	"github.com/weir-registry/weir/internal/work/gc"
	"github.com/weir-registry/weir/internal/work/uploads"
)

// SocketName is the local socket in the data folder. Whoever may open it may do everything: it has mode 0600.
const SocketName = "weir.sock"

// listeners are the open listeners with what answers on them.
type listeners struct {
	server *serve.Server
	ops    *ops.Handler
	open   []net.Listener
}

// close gives the addresses back when the server does not come to serve on them.
func (l *listeners) close() {
	for _, o := range l.open {
		_ = o.Close()
	}
}

// listen opens every listener, so that a taken port is known before the banner says "ready".
func (s *server) listen(ctx context.Context) (_ *listeners, err error) {
	c := s.config
	front, err := s.front()
	if err != nil {
		return nil, err
	}
	l := &listeners{server: serve.NewServer(serve.ServerOptions{
		Log: s.log, Drain: time.Duration(c.ShutdownTimeout), MaxConnections: maxConnections(),
	})}
	l.ops = ops.New(ops.Options{Metrics: s.metrics.Handler(s.log), Checks: []ops.Check{{Name: "database", Run: s.databaseReady}, {Name: "blobs", Run: s.blobsReady}}})
	var certificate *serve.Certificate
	if c.TLS.CertFile != "" {
		if certificate, err = serve.LoadCertificate(c.TLS.CertFile, c.TLS.KeyFile, s.log, time.Now); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	add := func(name, setting, network, address string, h http.Handler, certificate *serve.Certificate) error {
		nl, err := new(net.ListenConfig).Listen(ctx, network, address)
		if err != nil {
			return fmt.Errorf("listen for %s (%s): %w", name, setting, err)
		}
		l.open = append(l.open, nl)
		l.server.Add(name, nl, h, certificate)
		return nil
	}
	if err := add("registry", "setting listen", "tcp", c.Listen, s.handler(front, false), certificate); err != nil {
		return nil, err
	}
	if c.Ops.Listen != "" {
		if err := add("ops", "setting ops.listen", "tcp", c.Ops.Listen, l.ops, nil); err != nil {
			return nil, err
		}
	}
	socket, err := socketPath(c.Data)
	if err != nil {
		return nil, err
	}
	if err := add("local", "setting data", "unix", socket, s.handler(front, true), nil); err != nil {
		return nil, err
	}
	if err := os.Chmod(socket, 0o600); err != nil { // the data folder is 0700: nobody came in before this
		return nil, fmt.Errorf("local socket: %w", err)
	}
	return l, nil
}

// maxConnections leaves a quarter of the file descriptors of the process to files, the database and upstreams; 0 when there is no limit
// worth speaking of.
func maxConnections() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<24 {
		return 0
	}
	return int(limit.Cur - limit.Cur/4) //nolint:gosec // bounded above
}

// socketPath makes room for the local socket: the lock on the data folder says that a socket left there is a dead server's.
func socketPath(data string) (string, error) {
	path := filepath.Join(data, SocketName)
	if len(path) > 100 { // of the 108 bytes an address has
		if abs, err := filepath.Abs(path); err == nil && len(abs) < len(path) {
			path = abs
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("local socket: %w", err)
	}
	return path, nil
}

// handler mounts the doors. The local socket has the API alone. http.ServeMux would cost a pull more than finding its manifest.
func (s *server) handler(front *serve.Front, local bool) http.Handler {
	rest, none := front.Wrap("api", s.api(local)), front.Wrap("none", http.HandlerFunc(noDoor))
	if local {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, api.Prefix+"/") {
				rest.ServeHTTP(w, r)
				return
			}
			http.NotFound(w, r)
		})
	}
	images := front.Handle("distribution", distribution.New(distribution.Options{
		Namespace: s.doors, Access: s.gate, Instance: s.id, MaxBlob: int64(s.config.Limits.BlobSize),
	}).Serve)
	login, exchange := front.Handle("token", s.gate.Serve), front.Handle("token", s.gate.Exchange)
	people := front.Handle("signin", s.signin.Serve)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case strings.HasPrefix(path, "/v2/"), path == "/v2":
			images.ServeHTTP(w, r)
		case path == "/token":
			login.ServeHTTP(w, r)
		case strings.HasPrefix(path, signin.Prefix):
			people.ServeHTTP(w, r)
		case path == api.Prefix+"/token/exchange":
			exchange.ServeHTTP(w, r)
		case strings.HasPrefix(path, api.Prefix+"/"):
			rest.ServeHTTP(w, r)
		default:
			none.ServeHTTP(w, r)
		}
	})
}

// api makes the API when somebody asks for it: its schemas are more memory than all else of a server that only serves images.
func (s *server) api(local bool) http.Handler {
	made := sync.OnceValue(func() http.Handler { return s.newAPI(local) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { made().ServeHTTP(w, r) })
}

func (s *server) newAPI(local bool) http.Handler {
	desk := content.New(content.Options{
		Store: s.store, DB: s.db, Directory: s.dir, Table: s.doors.table, Group: s.live.named, Loopback: s.doors.private, Changed: s.live.now,
	})
	return api.New(api.Options{
		Authorize: func(r *http.Request) (api.Caller, error) { return s.caller(r, local) },
		Directory: s.dir, Sessions: s.session, Public: s.doors.public, Definitions: s.db, Planner: s, Checker: s, Version: Version, Log: s.log,
		Content: desk, Explainer: desk, Refresher: desk, Searcher: desk,
		Upstreams:    s,
		Jobs:         &work.Desk{DB: s.db, Now: time.Now},
		Trail:        s.keeper(),
		Capabilities: s.capabilities(), SignIn: s.signin.Names(),
	})
}

func (s *server) capabilities() api.Capabilities {
	c := s.config
	return api.Capabilities{
		Addresses: addresses(c), Formats: []string{"container"}, CredentialKinds: []string{"static"},
		Limits: api.Limits{
			MembersPerRegistry: c.Limits.MembersPerRegistry, RegistriesPerGroup: c.Limits.RegistriesPerGroup, BlobSize: int64(c.Limits.BlobSize),
		},
		Features: map[string]bool{
			"private_upstreams": c.Upstream.AllowPrivateNetworks, "cache_budget": c.Cache.Budget > 0, "external_urls": len(c.ExternalURLs) > 0,
		},
	}
}

// databaseReady says whether rows can be read and written and what is held in memory follows the other replicas.
func (s *server) databaseReady(ctx context.Context) error {
	if err := s.db.Err(); err != nil {
		return err
	}
	if behind := s.db.Behind(); behind > maxBehind {
		return fmt.Errorf("the change feed is %s behind", behind.Round(time.Second))
	}
	return s.db.Ping(ctx)
}

// maxBehind is how late the change feed may be before the server asks for no more clients; the store reads through long before.
const maxBehind = 30 * time.Second

func (s *server) blobsReady(ctx context.Context) error {
	_, err := s.blobs.Space(ctx)
	return err
}

// runner is the work that happens later.
func (s *server) runner() *work.Runner {
	c := s.config
	collector := gc.New(s.store, s.blobs, gc.Options{
		Log: s.log, Metrics: collectorMetrics{s.metrics, s.budget},
		HighBytes: s.budget.high, LowBytes: s.budget.low,
	})
	sweeper := uploads.New(s.store, s.blobs, uploads.Options{Log: s.log, Age: time.Duration(c.Limits.UploadTTL)})
	checker := check.New(s.store, s.blobs, check.Options{Log: s.log, DropOrphans: true})
	handlers := append(collector.Handlers(), sweeper.Handler(), checker.Handler(7*24*time.Hour))
	handlers = append(handlers, s.keeper().Handlers()...)
	return work.NewRunner(s.db, work.Options{Log: s.log, Metrics: s.metrics.Work}, handlers...)
}

// ownHosts are the host names that lead to this instance.
func ownHosts(c config.Config) []string {
	hosts := []string{c.Listen}
	for _, text := range c.ExternalURLs {
		if u, err := url.Parse(text); err == nil && u.Host != "" {
			hosts = append(hosts, u.Host)
		}
	}
	return hosts
}

// addresses are the URLs by which clients reach this instance, as far as it was told; else where it listens.
func addresses(c config.Config) []string {
	if len(c.ExternalURLs) > 0 {
		return c.ExternalURLs
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return []string{}
	}
	if a, err := netip.ParseAddr(host); host == "" || err == nil && a.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http://"
	if c.TLS.CertFile != "" {
		scheme = "https://"
	}
	return []string{scheme + net.JoinHostPort(host, port)}
}

// isLoopback reports whether an address to listen on can be reached from this machine alone.
func isLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.IsLoopback()
}

func isNotFound(err error) bool { return errors.Is(err, meta.ErrNotFound) }

func randomID() string { return strings.ToLower(rand.Text()) }
