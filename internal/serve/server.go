package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Limits on what a client may send or hold before a handler sees it.
const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
)

// errDeadline is the cause that requests still running at the end of the drain are cancelled with.
var errDeadline = errors.New("the server is shutting down")

// ServerOptions configure a Server.
type ServerOptions struct {
	Log   *slog.Logger
	Drain time.Duration // how long transfers may go on once a shutdown began; default 30 seconds
	Grace time.Duration // how long cancelled requests may take to end after that; default 5 seconds

	// MaxConnections is how many connections each listener has open at most; more wait. 0 = no bound.
	MaxConnections int
}

// Server runs a set of listeners that start and stop together.
type Server struct {
	log          *slog.Logger
	drain, grace time.Duration
	connections  int
	base         context.Context
	cancel       context.CancelCauseFunc
	doors        []*door
}

type door struct {
	name     string
	listener net.Listener
	server   *http.Server
	tls      bool
}

// NewServer returns a server without listeners.
func NewServer(o ServerOptions) *Server {
	s := &Server{log: o.Log, drain: o.Drain, grace: o.Grace, connections: o.MaxConnections}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.drain <= 0 {
		s.drain = 30 * time.Second
	}
	if s.grace <= 0 {
		s.grace = 5 * time.Second
	}
	s.base, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// Add takes over a listener: h answers on it, with TLS if certificate is not nil. It must be called before Serve. The
// listener must give out *net.TCPConn or *net.UnixConn as they are, or blobs cannot leave by sendfile.
func (s *Server) Add(name string, l net.Listener, h http.Handler, certificate *Certificate) {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.With("listener", name).Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return s.base },
		ConnContext:       withConnection,
	}
	if certificate != nil {
		srv.TLSConfig = certificate.Config()
	}
	if s.connections > 0 {
		g := newGate(l, s.connections, s.log.With("listener", name))
		g.idle = func() {
			srv.SetKeepAlivesEnabled(false) // which closes idle connections
			srv.SetKeepAlivesEnabled(true)
		}
		srv.ConnState, l = g.state, g
	}
	s.doors = append(s.doors, &door{name: name, listener: l, server: srv, tls: certificate != nil})
}

// connection is what the requests of one connection share.
type connection struct {
	peer     netip.Addr      // invalid on a unix socket
	address  string          // peer as text
	extended time.Time       // when its write deadline was last moved; of HTTP/1, whose requests come one after the other
	socket   syscall.RawConn // of plain TCP, else nil
}

type connectionKey struct{}

// withConnection is http.Server.ConnContext.
func withConnection(ctx context.Context, c net.Conn) context.Context {
	p, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	shared := &connection{peer: p.Addr().Unmap()}
	shared.address = text(shared.peer)
	if plain, ok := c.(*net.TCPConn); ok {
		shared.socket, _ = plain.SyscallConn() // fails when it is closed already
	}
	return context.WithValue(ctx, connectionKey{}, shared)
}

// Serve answers until ctx ends or a listener fails, then shuts down in stages: no new connections, transfers finish within
// Drain, the rest is cancelled and has Grace to clean up, and what is left is cut. It returns nil after a shutdown
// that ctx asked for; all its goroutines have ended then.
func (s *Server) Serve(ctx context.Context) error {
	defer s.cancel(errDeadline)
	failed := make(chan error, len(s.doors))
	var running sync.WaitGroup
	for _, d := range s.doors {
		running.Go(func() {
			if err := d.serve(); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("listener %s: %w", d.name, err)
			}
		})
		s.log.Info("listening", "listener", d.name, "address", d.listener.Addr().String(), "tls", d.tls)
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.shutdown()
	running.Wait()
	return err
}

func (d *door) serve() error {
	if d.tls {
		return d.server.ServeTLS(d.listener, "", "")
	}
	return d.server.Serve(d.listener)
}

func (s *Server) shutdown() {
	s.log.Info("shutting down", "drain", s.drain)
	if s.wait(s.drain) {
		return
	}
	s.log.Warn("transfers cancelled at the end of the drain")
	s.cancel(errDeadline)
	if s.wait(s.grace) {
		return
	}
	for _, d := range s.doors {
		_ = d.server.Close()
	}
}

// wait closes the listeners and reports whether every request ended within d.
func (s *Server) wait(d time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var all sync.WaitGroup
	late := make(chan error, len(s.doors))
	for _, d := range s.doors {
		all.Go(func() {
			if err := d.server.Shutdown(ctx); err != nil && ctx.Err() != nil {
				late <- err
			}
		})
	}
	all.Wait()
	return len(late) == 0
}
