package upstream

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/registry"
)

// question is one request for the registry, whatever it takes to get it answered.
type question struct {
	kind       Kind
	method     string
	repository string // as the caller names it
	path       string // after the repository name: "manifests/latest"
	query      url.Values
	accept     string
	rng        string // Range header
}

// counted reports whether registries count the request against a rate limit.
func (q question) counted() bool {
	return q.kind == KindManifest || q.kind == KindTags || q.kind == KindReferrers
}

// answer is a success, or 416 to a request with a range.
type answer struct {
	*http.Response
	done func() // gives back what the exchange held
}

// Close ends the exchange.
func (a *answer) Close() error {
	defer a.done()
	return a.Body.Close()
}

// ask gets a question answered: slot, budget, login, redirects. Errors are *registry.OutcomeError. All but a blob must
// arrive as a whole within a limit, so that an upstream that drips cannot keep anyone for ever.
func (r *Registry) ask(ctx context.Context, q question) (*answer, error) {
	if err := r.budget.admit(q, registry.IsRevalidation(ctx)); err != nil {
		return nil, err
	}
	release, err := r.slot(ctx, q.kind)
	if err != nil {
		return nil, err
	}
	cancel := context.CancelFunc(func() {})
	if q.kind != KindBlob {
		ctx, cancel = context.WithTimeoutCause(ctx, 2*r.o.Timeout+r.o.IdleTimeout, errNoHeaders)
	}
	done := func() { cancel(); release() }
	resp, err := r.complete(ctx, q) //nolint:bodyclose // answer.Close does
	if err != nil {
		done()
		return nil, err
	}
	return &answer{Response: resp, done: done}, nil
}

// slot waits for one of the upstream's slots. Blobs have their own, so that long transfers do not hold up manifests, and wait
// longer: as many as are let through by the cache may be on their way to one upstream, and each takes its time.
func (r *Registry) slot(ctx context.Context, kind Kind) (release func(), err error) {
	slots, wait := r.small, r.o.Timeout
	if kind == KindBlob {
		slots, wait = r.large, 3*r.o.Timeout
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case slots <- struct{}{}:
		return sync.OnceFunc(func() { <-slots }), nil
	case <-ctx.Done():
		return nil, failure(ctx, r.base.Host, ctx.Err())
	case <-timer.C:
		return nil, limited("too many requests to "+r.base.Host+" are under way", time.Second)
	}
}

// complete asks the registry and follows where it points. A signed URL that is refused has most likely expired on the way:
// the registry is asked once more for another.
func (r *Registry) complete(ctx context.Context, q question) (*http.Response, error) {
	for try := 0; ; try++ {
		resp, p, err := r.authorized(ctx, q)
		if err != nil {
			return nil, err
		}
		if !isRedirect(resp) {
			return r.checked(resp, q, p)
		}
		host := resp.Request.URL.Host
		if resp, err = r.follow(ctx, q, resp); err != nil {
			return nil, err
		}
		switch {
		case succeeded(resp, q):
			return resp, nil
		case isRegistryMiss(resp, q):
			return nil, r.refusal(resp, proof{})
		case mayHaveExpired(resp.StatusCode):
			drain(resp)
			if try > 0 {
				return nil, unknown(resp, "%d %s after a redirect from %s", resp.StatusCode, http.StatusText(resp.StatusCode), host)
			}
		default:
			o := r.refusal(resp, proof{})
			o.Outcome = registry.Unknown // a storage host says nothing about what the registry holds
			return nil, o
		}
	}
}

// isRegistryMiss tells a registry behind a redirect (registry.k8s.io answers so) that lacks what was asked for from a
// storage host that lacks an object which its registry has just promised.
func isRegistryMiss(resp *http.Response, q question) bool {
	return resp.StatusCode == http.StatusNotFound && (q.kind != KindBlob || resp.Header.Get("Docker-Distribution-Api-Version") != "")
}

// mayHaveExpired reports how storage hosts answer a signed URL that is no longer valid.
func mayHaveExpired(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return true
	}
	return false
}

// authorized asks the registry itself, with as many tries as its way of logging in takes: at most three.
func (r *Registry) authorized(ctx context.Context, q question) (*http.Response, proof, error) {
	p, err := r.login.prepare(ctx, q.repository)
	if err != nil {
		return nil, p, err
	}
	for try := 0; ; try++ {
		resp, err := r.once(ctx, q, p)
		if err != nil {
			return nil, p, err
		}
		r.learn(q, resp)
		justIssued := try > 0 && p.scheme == schemeBearer
		if !rejected(resp, p) || try == 2 || justIssued {
			r.login.judged(resp, p)
			return resp, p, nil
		}
		next, again, err := r.login.challenged(ctx, q.repository, resp, p)
		if err != nil {
			drain(resp)
			return nil, p, err
		}
		if !again {
			r.login.judged(resp, p)
			return resp, p, nil
		}
		drain(resp)
		p = next
	}
}

// rejected reports whether another login may change the answer. Cloud registries with Basic logins say 403 when the
// password has expired.
func rejected(resp *http.Response, p proof) bool {
	return resp.StatusCode == http.StatusUnauthorized || (resp.StatusCode == http.StatusForbidden && p.scheme == schemeBasic)
}

// once sends one request to the registry's own host: the only place that attaches a proof.
func (r *Registry) once(ctx context.Context, q question, p proof) (*http.Response, error) {
	u := *r.base
	u.Path = "/v2/" + r.remoteName(q.repository) + "/" + q.path
	u.RawQuery = q.query.Encode()
	req, err := newRequest(ctx, q, &u)
	if err != nil {
		return nil, err
	}
	if p.scheme != schemeNone {
		req.Header.Set("Authorization", p.header.Reveal())
	}
	if r.o.InstanceID != "" {
		via := "1.1 " + r.o.InstanceID
		if before := registry.CallerFrom(ctx).Via; before != "" {
			via = before + ", " + via
		}
		req.Header.Set("Via", via)
	}
	return r.roundTrip(ctx, q.kind, req)
}

func newRequest(ctx context.Context, q question, u *url.URL) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, q.method, u.String(), nil)
	if err != nil {
		return nil, unknown(nil, "the request's URL makes no sense")
	}
	if q.accept != "" {
		req.Header.Set("Accept", q.accept)
	}
	if q.rng != "" {
		req.Header.Set("Range", q.rng)
	}
	return req, nil
}

func (r *Registry) learn(q question, resp *http.Response) {
	r.budget.learn(q, resp)
	if resp.Header.Get("Ratelimit-Remaining") != "" {
		s := r.budget.state()
		r.o.Metrics.Budget(s.Limit, s.Remaining)
	}
}

// checked passes on a success and turns everything else into an outcome.
func (r *Registry) checked(resp *http.Response, q question, p proof) (*http.Response, error) {
	if !succeeded(resp, q) {
		return nil, r.refusal(resp, p)
	}
	if isHTML(resp) {
		_ = resp.Body.Close()
		o := unknown(resp, "answered with a web page, not as a registry")
		o.Err = errWebPage
		return nil, o
	}
	return resp, nil
}

func succeeded(resp *http.Response, q question) bool {
	switch resp.StatusCode {
	case http.StatusOK:
		return true
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		return q.rng != ""
	}
	return false
}

// maxRedirects bounds a chain of redirects.
const maxRedirects = 5

func isRedirect(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// follow goes where a redirect points, and on from there. Each hop is a fresh request: no proof, no Referer, nothing but
// what is being asked for.
func (r *Registry) follow(ctx context.Context, q question, resp *http.Response) (*http.Response, error) {
	for range maxRedirects {
		next, err := nextHop(resp)
		drain(resp)
		if err != nil {
			return nil, err
		}
		req, err := newRequest(ctx, q, next)
		if err != nil {
			return nil, err
		}
		if resp, err = r.roundTrip(ctx, q.kind, req); err != nil {
			return nil, err
		}
		if !isRedirect(resp) {
			return resp, nil
		}
	}
	drain(resp)
	return nil, unknown(resp, "too many redirects")
}

// nextHop reads and checks Location. Where the address leads is checked when it is dialled.
func nextHop(resp *http.Response) (*url.URL, error) {
	from := resp.Request.URL
	next, err := from.Parse(resp.Header.Get("Location"))
	switch {
	case err != nil || resp.Header.Get("Location") == "" || next.Host == "":
		return nil, unknown(resp, "redirects to nowhere")
	case next.User != nil:
		return nil, unknown(resp, "redirects to a URL with a login in it")
	case next.Scheme != "https" && (next.Scheme != "http" || from.Scheme != "http"):
		return nil, unknown(resp, "redirects to something that is not https")
	}
	next.Fragment = ""
	return next, nil
}

// read asks a question and reads the whole answer, of up to limit bytes. When the connection breaks within it, the question is
// asked once more: nobody has seen any of the answer.
func (r *Registry) read(ctx context.Context, q question, limit int64) (*answer, []byte, error) {
	for try := 0; ; try++ {
		a, err := r.ask(ctx, q)
		if err != nil {
			return nil, nil, err
		}
		raw, err := readAll(a, limit)
		if try > 0 || !broke(err) || ctx.Err() != nil {
			return a, raw, err
		}
	}
}

// readAll reads a bounded body and closes the answer.
func readAll(a *answer, limit int64) ([]byte, error) {
	defer func() { _ = a.Close() }()
	raw, err := io.ReadAll(io.LimitReader(a.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, unknown(a.Response, "the answer is larger than %d bytes", limit)
	}
	return raw, nil
}
