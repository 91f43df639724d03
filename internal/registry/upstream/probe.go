package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/weir-registry/weir/internal/credential"
	"github.com/weir-registry/weir/internal/registry"
)

// Step is one step of a Probe.
type Step struct {
	Name   string // name, connect, tls, registry, login, repository
	OK     bool
	Detail string        // what was found, for people
	Advice string        // what to do about it; empty when OK
	Took   time.Duration // of this step
}

// Probe tries what a pull takes, one step after the other up to the first that fails: the host's name, a connection, TLS, the
// registry's API, our login, and with a repository its tags. It goes out whatever the circuit breaker says, through the same
// address guard as every request, and is bounded by a few timeouts; an answer closes the breaker.
func (r *Registry) Probe(ctx context.Context, repository string) []Step {
	ctx, cancel := context.WithTimeout(ctx, 4*r.o.Timeout)
	defer cancel()
	p := &probe{Registry: r, repository: repository}
	for _, s := range []struct {
		name string
		run  func(context.Context) (detail, advice string, err error)
	}{
		{"name", p.lookUp}, {"connect", p.connect}, {"tls", p.handshake}, {"registry", p.ping}, {"login", p.logIn}, {"repository", p.list},
	} {
		if (s.name == "tls" && r.base.Scheme != "https") || (s.name == "repository" && repository == "") {
			continue
		}
		start := time.Now()
		detail, advice, err := s.run(ctx)
		step := Step{Name: s.name, OK: err == nil, Detail: detail, Took: time.Since(start)}
		if err != nil {
			o := failure(ctx, r.base.Host, err)
			step.Detail, step.Advice = o.Reason, adviceOn(o, err, advice)
		}
		p.steps = append(p.steps, step)
		if err != nil {
			break
		}
	}
	if p.conn != nil {
		_ = p.conn.Close()
	}
	return p.steps
}

// adviceOn is the advice on a failure: the step's, unless what went wrong tells more than where it did.
func adviceOn(o *registry.OutcomeError, err error, advice string) string {
	timeout, _ := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, errPrevious):
	case o.Limited || o.Status == http.StatusTooManyRequests:
		return "wait, or give the upstream a credential with a larger limit; nothing is wrong with the one it has"
	case o.Status >= http.StatusInternalServerError:
		return "the upstream has trouble of its own: try again later, or look at it there"
	case errors.Is(err, errNoHeaders) || errors.Is(err, errIdle) || timeout != nil && timeout.Timeout():
		return "nothing comes back: the upstream or something on the way to it hangs; check that firewalls let Weir's machine through, and look at the upstream there"
	}
	return advice
}

// probe is one Probe under way.
type probe struct {
	*Registry
	repository string
	steps      []Step
	conn       net.Conn
	challenge  *http.Response // of the registry's API without a login, its body closed
}

func (p *probe) address() string {
	port := p.base.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[p.base.Scheme]
	}
	return net.JoinHostPort(p.base.Hostname(), port)
}

func (p *probe) lookUp(ctx context.Context) (detail, advice string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.o.Timeout, errNoHeaders)
	defer cancel()
	_, err = net.DefaultResolver.LookupNetIP(ctx, "ip", p.base.Hostname())
	if err != nil {
		return "", "check the host in the upstream's url, and the name servers of the machine that Weir runs on", causeOf(ctx, err)
	}
	return p.base.Hostname() + " has an address", "", nil
}

func (p *probe) connect(ctx context.Context) (detail, advice string, err error) {
	p.conn, err = p.transport.DialContext(ctx, "tcp", p.address())
	if errors.Is(err, errAddress) {
		return "", "an operator allows private addresses with the server setting upstream.allow_private_networks", err
	}
	if err != nil {
		return "", "check the port in the upstream's url, and that firewalls let Weir's machine through", err
	}
	return "connected", "", nil
}

func (p *probe) handshake(ctx context.Context) (detail, advice string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.o.Timeout, errNoHeaders)
	defer cancel()
	config := p.transport.TLSClientConfig.Clone()
	config.ServerName = p.base.Hostname()
	c := tls.Client(p.conn, config)
	if err := c.HandshakeContext(ctx); err != nil {
		return "", "put the certificate authority into the upstream's ca, or correct the url; a plain http registry needs a url with http://", causeOf(ctx, err)
	}
	s := c.ConnectionState()
	until := s.PeerCertificates[0].NotAfter.UTC().Format(time.RFC3339)
	return fmt.Sprintf("%s; the certificate is valid until %s", tls.VersionName(s.Version), until), "", nil
}

// api asks for the registry's API version (distribution specification, end-1), past the breaker.
func (p *probe) api(ctx context.Context, with proof) (*http.Response, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.o.Timeout, errNoHeaders)
	defer cancel()
	u := *p.base
	u.Path = "/v2/"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "weir/"+p.o.Version)
	if with.scheme != schemeNone {
		req.Header.Set("Authorization", with.header.Reveal())
	}
	resp, err := p.transport.RoundTrip(req)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	drain(resp)
	p.breaker(p.base.Host).succeed()
	return resp, nil
}

func (p *probe) ping(ctx context.Context) (detail, advice string, err error) {
	resp, err := p.api(ctx, proof{}) //nolint:bodyclose // api has closed it
	if err != nil {
		return "", "the host answers, but not as a web server: check scheme and port of the url", err
	}
	p.challenge = resp
	switch {
	case resp.StatusCode == http.StatusOK && !isHTML(resp):
		return "the API answers, without a login", "", nil
	case resp.StatusCode == http.StatusUnauthorized && len(parseChallenges(resp.Header)) > 0:
		return "the API answers, and asks for a login", "", nil
	case resp.StatusCode == http.StatusTooManyRequests:
		return "", "", unknown(resp, "429: its rate limit is used up")
	}
	return "", "GET /v2/ there is not answered as by a container registry: check host and path of the url", unknown(resp, "answered %d, not as a registry", resp.StatusCode)
}

const (
	loginAdvice = "check the user name, and replace the secret of the credential"
	realmAdvice = "if the host of the token endpoint is the provider's own, list it in the upstream's realm_hosts and the credential's hosts"
)

func (p *probe) logIn(ctx context.Context) (detail, advice string, err error) {
	present, rotates := p.o.Credential.(rotated)
	if rotates {
		present.TryPresent()
	}
	identity, err := p.login.identity(ctx, p.repository)
	if err != nil {
		return "", "list the upstream's host in the credential's hosts", err
	}
	if p.challenge.StatusCode == http.StatusOK && !identity.Basic {
		return "none is asked for", "", nil
	}
	want, _, _, found := pickDemand(parseChallenges(p.challenge.Header))
	if !found && !identity.Basic {
		return "", "the registry asks for a way to log in that Weir does not speak", unknown(p.challenge, "asks for neither Basic nor Bearer")
	}
	if want.scheme == schemeBearer && !identity.Basic {
		detail, advice, err = p.logInByToken(ctx, want, identity)
	} else {
		detail, advice, err = p.logInBasic(ctx, identity)
	}
	if err == nil && rotates && present.UsesPrevious() {
		return "", "put the right secret into the credential before its hour is over, when pulls begin to fail", errPrevious
	}
	return detail, advice, err
}

// errPrevious is the outcome of a login for which the secret before the present one had to help out.
var errPrevious error = &registry.OutcomeError{
	Outcome: registry.Unknown,
	Reason:  "the credential's new secret is refused; the one before it is accepted, and is used while it may be",
}

func (p *probe) logInByToken(ctx context.Context, want demand, identity credential.Login) (detail, advice string, err error) {
	if err := p.login.checkRealm(want.realm); err != nil {
		return "", realmAdvice, err
	}
	key := tokenKey{fingerprint: p.o.Credential.Fingerprint(), realm: want.realm, service: want.service}
	if p.repository != "" {
		key.scope = "repository:" + p.remoteName(p.repository) + ":pull"
	}
	t, err := p.login.request(ctx, p.repository, key)
	if o, ok := errors.AsType[*registry.OutcomeError](err); ok && o.Outcome == registry.Denied && identity.IsZero() && p.repository == "" {
		return "anonymous; tokens are given per repository: name one to go on", "", nil
	}
	if err != nil {
		return "", loginAdvice, err
	}
	if identity.IsZero() {
		return "anonymous; a token was given", "", nil
	}
	resp, err := p.api(ctx, proof{scheme: schemeBearer, header: bearerHeader(t)}) //nolint:bodyclose // api has closed it
	return p.accepted(resp, err)
}

// logInBasic tries the login that pulls would use: the secret before the present one, if that may help out.
func (p *probe) logInBasic(ctx context.Context, identity credential.Login) (detail, advice string, err error) {
	if identity.IsZero() {
		return "", "give the upstream a credential", unknown(p.challenge, "asks for a login, and the upstream has no credential")
	}
	resp, err := p.api(ctx, basicProof(identity)) //nolint:bodyclose // api has closed it
	if err == nil && resp.StatusCode == http.StatusUnauthorized &&
		p.o.Credential.Rejected(ctx, credential.Target{Host: p.base.Host, Repository: p.repository}, identity) {
		if identity, err = p.login.identity(ctx, p.repository); err == nil {
			resp, err = p.api(ctx, basicProof(identity)) //nolint:bodyclose // api has closed it
		}
	}
	if err == nil && (resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden) {
		return "", loginAdvice, unknown(resp, "%d: the credentials were refused", resp.StatusCode)
	}
	return p.accepted(resp, err)
}

// accepted reads the answer to a request with our login that was not refused as such.
func (p *probe) accepted(resp *http.Response, err error) (detail, advice string, _ error) {
	switch {
	case err != nil:
		return "", loginAdvice, err
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError:
		return "", "", unknown(resp, "%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return "the credential is accepted", "", nil
}

func (p *probe) list(ctx context.Context) (detail, advice string, err error) {
	q := question{kind: KindTags, method: http.MethodGet, repository: p.repository, path: "tags/list", query: url.Values{"n": {"1"}}}
	if _, _, err := p.read(ctx, q, maxProbeList); err != nil {
		return "", "check the repository's name as the upstream knows it, and that the credential may pull it", err
	}
	return "its tags can be read", "", nil
}

const maxProbeList = 16 << 20 // bytes: some registries answer with all tags whatever is asked
