package setup

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Probe is how to try a setup.
type Probe struct {
	Image          string                // as the client would name it; empty: a small image of Docker Hub
	User, Password string                // the client's login, a token as the password; empty: nobody
	Far            func(bytes, of int64) // hears how much of the pull has come; nil: nobody
	Roots          *x509.CertPool        // nil: the system's
}

// Step is one thing that a client does for a pull, and what came of it.
type Step struct {
	Name   string `json:"name"`
	Result string `json:"result"`
	OK     bool   `json:"ok"`
	Advice string `json:"advice,omitempty"` // what to do when it is not
}

// smallImage is what is asked for unless another image is named: 3 MB, and kept by everybody.
const smallImage = "alpine:latest"

// ErrNoImage is returned when no image is named and the registry has no Docker Hub.
var ErrNoImage = errors.New("name an image that the registry should have")

const maxAnswer = 1 << 20 // bytes

// Check asks for an image as the client of t would: it looks for the server, gets a token and then the manifest, and pulls the
// image's config and its smallest layer. It ends with the first step that goes wrong; report hears of each as it is done. ErrTarget, ErrNoImage.
func Check(ctx context.Context, t Target, p Probe, report func(Step)) (ok bool, err error) {
	if err := t.check(); err != nil {
		return false, err
	}
	if p.Image == "" {
		if len(t.Images) == 0 || !isHub(t.Images[0]) {
			return false, ErrNoImage
		}
		p.Image = smallImage
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.Roots, MinVersion: tls.VersionTLS12}, Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	c := &checker{target: t, probe: p, request: t.ask(p.Image), report: report, http: &http.Client{
		Transport: transport, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // with the login in hand
	}}
	return c.ping(ctx) && c.token(ctx) && c.manifest(ctx) && c.pull(ctx), nil
}

type checker struct {
	target  Target
	probe   Probe
	request request
	report  func(Step)
	http    *http.Client

	realm, service string // of the challenge
	bearer         string
	digest         string // of the image's manifest
}

// said is an answer with as much of its body as says why.
type said struct {
	*http.Response
	body []byte
}

func (c *checker) get(ctx context.Context, method, address string, prepare func(*http.Request)) (said, error) {
	r, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return said{}, err
	}
	r.Header.Set("User-Agent", "weir-setup")
	prepare(r)
	resp, err := c.http.Do(r)
	if err != nil {
		return said{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return said{resp, body}, err
}

func (c *checker) done(name, result string) bool {
	c.report(Step{Name: name, Result: result, OK: true})
	return true
}

func (c *checker) failed(name, result, advice string) bool {
	c.report(Step{Name: name, Result: result, Advice: advice})
	return false
}

// ping is the first thing that every client asks.
func (c *checker) ping(ctx context.Context) bool {
	address := c.request.base + "/v2/"
	name := "GET " + address
	a, err := c.get(ctx, http.MethodGet, address, func(*http.Request) {})
	if err != nil {
		return c.failed(name, reason(err), c.unreachable(err))
	}
	switch a.StatusCode {
	case http.StatusOK:
		return c.done(name, "200, a registry that asks nobody who he is")
	case http.StatusUnauthorized:
		c.realm, c.service = challenge(a.Header.Get("WWW-Authenticate"))
		if c.realm != "" {
			return c.done(name, "401 with a token endpoint, as a registry answers")
		}
	}
	return c.failed(name, status(a), "this is not Weir's registry: look at --server, and at what a proxy before it does with /v2/")
}

// token asks for a token for the image alone, as docker does.
func (c *checker) token(ctx context.Context) bool {
	if c.realm == "" {
		return true
	}
	who := "nobody"
	query := url.Values{"service": {c.service}, "scope": {"repository:" + c.request.repo + ":pull"}}
	login := c.probe.Password != "" && c.target.Door != Mirror // the docker daemon sends mirrors no login of theirs
	if login {
		who = c.probe.User
	}
	name := "token for " + who + " from " + c.realm
	a, err := c.get(ctx, http.MethodGet, c.realm+"?"+query.Encode(), func(r *http.Request) {
		if login {
			r.SetBasicAuth(c.probe.User, c.probe.Password)
		}
	})
	if err != nil {
		return c.failed(name, reason(err), "clients must reach this address too: the server's external_urls say what it is. "+c.unreachable(err))
	}
	var out struct {
		Token string `json:"token"`
	}
	switch {
	case a.StatusCode == http.StatusUnauthorized:
		return c.failed(name, status(a), "the login is wrong or has ended: make a token with `weir token create`")
	case a.StatusCode != http.StatusOK || json.Unmarshal(a.body, &out) != nil || out.Token == "":
		return c.failed(name, status(a), "no token came: look into the server's log")
	}
	c.bearer = out.Token
	return c.done(name, "200")
}

// manifest asks for the image.
func (c *checker) manifest(ctx context.Context) bool {
	address := c.request.manifest()
	name := "HEAD " + address
	a, err := c.get(ctx, http.MethodHead, address, c.asPuller)
	if err != nil {
		return c.failed(name, reason(err), c.unreachable(err))
	}
	if a.StatusCode == http.StatusOK {
		c.digest = a.Header.Get("Docker-Content-Digest")
		result := "200, " + c.digest
		if cached := a.Header.Get("Cache-Status"); cached != "" {
			result += ", " + cached
		}
		return c.done(name, result)
	}
	if full, err := c.get(ctx, http.MethodGet, address, c.asPuller); err == nil {
		a = full // which has the reason in its body
	}
	return c.failed(name, status(a), c.refused(a.StatusCode))
}

func (c *checker) asPuller(r *http.Request) {
	r.Header.Set("Accept", "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "+
		"application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, */*")
	if c.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+c.bearer)
	}
}

// refused is what to do about a manifest that does not come.
func (c *checker) refused(code int) string {
	image := strings.TrimPrefix(c.request.repo, c.target.Registry+"/")
	explain := "`weir explain " + c.target.Registry + "/" + image + ":" + c.request.ref + " --probe` tells why"
	switch code {
	case http.StatusUnauthorized:
		if c.target.Door == Mirror {
			return "docker sends its mirrors no login that Weir knows: the registry must allow anonymous pull, and the binding be a mirror"
		}
		return "log in: give the client a token of `weir token create`, or let the registry allow anonymous pull"
	case http.StatusForbidden:
		return "the login may not pull it, or a rule denies it; " + explain
	case http.StatusNotFound:
		return "name an image that is there with --image; " + explain
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return "the upstreams do not answer; " + explain
	}
	return "look into the server's log"
}

// unreachable is what to do about a connection that fails.
func (c *checker) unreachable(err error) string {
	v := c.target.view()
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var lookup *net.DNSError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &authority):
		return "the certificate is of an authority that is not known here: try with --ca FILE, and give the file to the client: " +
			strings.Replace(clients[c.target.Client].trust, "%s", v.Entry, 1)
	case errors.As(err, &name):
		return "the server's certificate is for other names: it needs one for " + v.Entry
	case errors.As(err, &lookup):
		return "no address is known for " + v.Entry + ": enter it in the name service, or look at --server"
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "the server speaks no TLS there: use http:// in --server, or give it a certificate"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: is the server running, and is the port right?"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer came: is a firewall in between?"
	}
	return "look at --server and at the network in between"
}

// reason is an error without the address, which the step has.
func reason(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return err.Error()
}

// status is the status with the reason in the body, if there is one.
func status(a said) string {
	text := fmt.Sprintf("%d %s", a.StatusCode, http.StatusText(a.StatusCode))
	var out struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(a.body, &out) == nil && len(out.Errors) > 0 {
		text += ": " + out.Errors[0].Message
	}
	return text
}

// challenge reads realm and service of a Bearer challenge; empty for any other.
func challenge(header string) (realm, service string) {
	rest, ok := strings.CutPrefix(header, "Bearer ")
	if !ok {
		return "", ""
	}
	for part := range strings.SplitSeq(rest, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch value = strings.Trim(value, `"`); key {
		case "realm":
			realm = value
		case "service":
			service = value
		}
	}
	return realm, service
}
