package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/weir-registry/weir/internal/registry"
)

var (
	errNoHeaders = errors.New("no answer in time")
	errIdle      = errors.New("the answer stopped")
)

func newTransport(o Options, roots *x509.CertPool) *http.Transport {
	dialer := &net.Dialer{Timeout: min(o.Timeout, 5*time.Second), KeepAlive: 30 * time.Second, ControlContext: Guard(o.AllowPrivateNetworks)}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Transport{
		Proxy:                  nil, // the environment must not decide who sees our credentials
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    min(o.Timeout, 5*time.Second),
		Protocols:              protocols,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        90 * time.Second,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		ReadBufferSize:         32 << 10,
	}
}

// roundTrip makes one HTTP exchange with one host: breaker, time limits, metrics. An error is an *registry.OutcomeError. The
// caller closes the body of the answer.
func (r *Registry) roundTrip(ctx context.Context, kind Kind, req *http.Request) (*http.Response, error) {
	host := req.URL.Host
	breaker := r.breaker(host)
	probe, wait, ok := breaker.allow(registry.IsRevalidation(ctx))
	if !ok {
		cause, at := breaker.last()
		return nil, &registry.OutcomeError{Outcome: registry.Unknown, Reason: cause, At: at, RetryAfter: wait}
	}
	req.Header.Set("User-Agent", "weir/"+r.o.Version)
	req.Header.Set("Accept-Encoding", "identity") // what arrives must be what was pushed

	limited, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(r.o.Timeout, func() { cancel(errNoHeaders) })
	start := time.Now()
	resp, err := r.transport.RoundTrip(req.WithContext(limited))
	if broke(err) && req.Body == nil && limited.Err() == nil { // it changes nothing, and nobody has seen any of an answer
		r.o.Metrics.Request(kind, req.Method, 0, time.Since(start))
		resp, err = r.transport.RoundTrip(req.WithContext(limited))
	}
	timer.Stop()
	took := time.Since(start)
	if err != nil {
		err = causeOf(limited, err)
		cancel(nil)
		r.o.Metrics.Request(kind, req.Method, 0, took)
		outcome := failure(ctx, host, err)
		if ctx.Err() == nil && !errors.Is(err, errAddress) {
			breaker.fail(probe, outcome.Reason)
		}
		if ctx.Err() == nil {
			r.note(host, outcome)
		}
		return nil, outcome
	}
	breaker.succeed()
	r.noteAnswer(host, resp)
	r.o.Metrics.Request(kind, req.Method, resp.StatusCode, took)
	idle := time.AfterFunc(r.o.IdleTimeout, func() { cancel(errIdle) })
	idle.Stop() // it runs only while someone reads: a slow client is not a slow upstream
	resp.Body = &body{rc: resp.Body, parent: ctx, ctx: limited, cancel: cancel, idle: idle, wait: r.o.IdleTimeout, host: host}
	return resp, nil
}

// broke reports an exchange whose connection ended in the middle, as it does when a load balancer is replaced: the next connection
// most likely works. A host that refuses connections or lets them hang is another matter.
func broke(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// body is the body of an answer under an idle timeout. Its errors are outcomes.
type body struct {
	rc     io.ReadCloser
	parent context.Context // the caller's
	ctx    context.Context // of this exchange
	cancel context.CancelCauseFunc
	idle   *time.Timer // cancels the exchange
	wait   time.Duration
	host   string
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.idle.Reset(b.wait)
	n, err := b.rc.Read(p)
	b.idle.Stop()
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, failure(b.parent, b.host, causeOf(b.ctx, err))
}

// Close implements io.Closer. It may be called while a Read is under way, which it ends.
func (b *body) Close() error {
	b.idle.Stop()
	b.cancel(nil)
	return b.rc.Close()
}

// causeOf prefers why a context was ended to the error that it made.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// drain reads the little that is left of a small answer, so that its connection can be used again, and closes it.
func drain(resp *http.Response) {
	defer hurry(resp)()
	_, _ = io.CopyN(io.Discard, resp.Body, maxErrorBody)
	_ = resp.Body.Close()
}

// hurry closes an answer that nobody wants if it is not read soon; the returned function ends the watch.
func hurry(resp *http.Response) (stop func()) {
	timer := time.AfterFunc(2*time.Second, func() { _ = resp.Body.Close() })
	return func() { timer.Stop() }
}

// isHTML reports whether an answer is a web page: a login portal, a proxy's error page, a server that is no registry.
func isHTML(resp *http.Response) bool {
	return strings.HasPrefix(strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Type"))), "text/html")
}
