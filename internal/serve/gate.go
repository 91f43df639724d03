package serve

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// gate is a listener that keeps its connections below a bound, so that files and upstreams still find descriptors: a process
// without any cannot open what its clients ask for. Who comes later waits, in the system's queue. Connections that do nothing are
// closed to make room, so that idle clients keep nobody out.
type gate struct {
	net.Listener
	log    *slog.Logger
	places chan struct{}
	idle   func() // closes idle connections
	said   time.Time

	once   sync.Once
	closed chan struct{}
}

// sayEvery is how often the same trouble of accepting is logged.
const sayEvery = time.Minute

func newGate(l net.Listener, places int, log *slog.Logger) *gate {
	return &gate{Listener: l, log: log, places: make(chan struct{}, places), closed: make(chan struct{})}
}

// Accept implements net.Listener. One goroutine calls it.
func (g *gate) Accept() (net.Conn, error) {
	if err := g.place(); err != nil {
		return nil, err
	}
	c, err := g.Listener.Accept()
	if err != nil {
		<-g.places
		if isTemporary(err) { // net/http tries again, with a pause that grows to a second
			g.say("cannot accept connections; clients wait", "error", err)
		}
		return nil, err
	}
	return c, nil
}

// place waits for a place for one more connection.
func (g *gate) place() error {
	for {
		select {
		case g.places <- struct{}{}:
			return nil
		default:
		}
		g.say("as many connections as may be open; clients wait until others end", "connections", cap(g.places))
		g.idle()
		again := time.NewTimer(time.Second)
		select {
		case g.places <- struct{}{}:
			again.Stop()
			return nil
		case <-g.closed:
			again.Stop()
			return net.ErrClosed
		case <-again.C: // others may have become idle
		}
	}
}

func (g *gate) say(what string, args ...any) {
	if now := time.Now(); now.Sub(g.said) >= sayEvery {
		g.said = now
		g.log.Warn(what, args...)
	}
}

// Close implements net.Listener.
func (g *gate) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.Listener.Close()
}

// state is http.Server.ConnState.
func (g *gate) state(_ net.Conn, s http.ConnState) {
	if s == http.StateClosed || s == http.StateHijacked {
		<-g.places
	}
}

func isTemporary(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Temporary() //nolint:staticcheck // what net/http itself goes by
}
