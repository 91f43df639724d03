package conformance

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
)

// response is an answer with its body read.
type response struct {
	*http.Response
	request string // for messages
	body    []byte
}

// option changes a request before it is sent.
type option func(*http.Request)

func header(name, value string) option { return func(r *http.Request) { r.Header.Set(name, value) } }

func body(mediaType string, b []byte) option {
	return func(r *http.Request) {
		r.Header.Set("Content-Type", mediaType)
		r.ContentLength = int64(len(b))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
		r.Body, _ = r.GetBody()
	}
}

func octets(b []byte) option { return body(oci.MediaTypeOctets, b) }

// streamed sends b without a length.
func streamed(b []byte) option {
	return func(r *http.Request) {
		octets(b)(r)
		r.ContentLength = -1
	}
}

// do sends a request. where is a location, or a path below /v2/.
func (s *suite) do(t *testing.T, method, where string, options ...option) *response {
	t.Helper()
	if !strings.HasPrefix(where, "/") && !strings.Contains(where, "://") {
		where = "/v2/" + where
	}
	if strings.HasPrefix(where, "/") {
		where = s.URL + where
	}
	req, err := http.NewRequestWithContext(t.Context(), method, where, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range options {
		o(req)
	}
	s.authorize(req)
	r := s.send(t, req)
	if r.StatusCode == http.StatusUnauthorized && s.login(t, req, r) {
		if req.GetBody != nil {
			req.Body, _ = req.GetBody()
		}
		r = s.send(t, req)
	}
	s.compareHead(t, req, r)
	return r
}

// varying are headers that tell of one answer rather than of what was asked for. A cache may have become warmer in between.
var varying = []string{"Date", "Age", "Cache-Status", "Warning", "Weir-Decision", "X-Request-Id", "Transfer-Encoding"}

// compareHead holds every GET of a manifest or blob against a HEAD of the same: it must answer the same but the body. Ranges are
// for GET alone (RFC 9110, section 14.2).
func (s *suite) compareHead(t *testing.T, req *http.Request, get *response) {
	t.Helper()
	path := req.URL.Path
	if req.Method != http.MethodGet || req.Header.Get("Range") != "" || !strings.Contains(path, "/manifests/") && !strings.Contains(path, "/blobs/") {
		return
	}
	if strings.Contains(path, "/blobs/uploads/") {
		return
	}
	again := req.Clone(req.Context())
	again.Method = http.MethodHead
	head := s.send(t, again)
	if head.StatusCode != get.StatusCode || len(head.body) > 0 {
		t.Errorf("%s: %s and %d bytes of body; GET: %s", head.request, head.Status, len(head.body), get.Status)
	}
	a, b := get.Header.Clone(), head.Header.Clone()
	for _, h := range varying {
		a.Del(h)
		b.Del(h)
	}
	if !maps.EqualFunc(a, b, slices.Equal) {
		t.Errorf("%s: headers %v; GET: %v", head.request, b, a)
	}
}

func (s *suite) send(t *testing.T, req *http.Request) *response {
	t.Helper()
	client := *s.Client
	client.CheckRedirect = nil
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: read body: %v", req.Method, req.URL, err)
	}
	return &response{Response: resp, request: req.Method + " " + req.URL.RequestURI(), body: b}
}

// tokenKey stands for what a token covers: host, repository and kind of method.
func tokenKey(req *http.Request) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/v2/"), "/blobs/")
	name, _, _ = strings.Cut(name, "/manifests/")
	kind := "push"
	switch req.Method {
	case http.MethodGet, http.MethodHead:
		kind = "pull"
	case http.MethodDelete:
		kind = "delete"
	}
	return name + " " + kind
}

func (s *suite) authorize(req *http.Request) {
	if token := s.tokens[tokenKey(req)]; token != "" {
		req.Header.Set("Authorization", token)
	}
}

var challengeParameter = regexp.MustCompile(`(\w+)="([^"]*)"`)

// login answers a challenge: Basic with the password, Bearer with a token from the realm.
func (s *suite) login(t *testing.T, req *http.Request, r *response) bool {
	t.Helper()
	challenge := r.Header.Get("WWW-Authenticate")
	if s.Username != "" && strings.HasPrefix(challenge, "Basic") {
		req.SetBasicAuth(s.Username, s.Password)
		return true
	}
	if !strings.HasPrefix(challenge, "Bearer ") {
		return false
	}
	q, realm := url.Values{}, ""
	for _, m := range challengeParameter.FindAllStringSubmatch(challenge, -1) {
		switch m[1] {
		case "realm":
			realm = m[2]
		case "service", "scope":
			q.Set(m[1], m[2])
		}
	}
	ask, err := http.NewRequestWithContext(t.Context(), http.MethodGet, realm+"?"+q.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Username != "" {
		ask.SetBasicAuth(s.Username, s.Password)
	}
	answer := s.send(t, ask)
	var token struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(answer.body, &token); err != nil || token.Token+token.AccessToken == "" {
		t.Logf("%s: %s: no token", answer.request, answer.Status)
		return false
	}
	if token.Token == "" {
		token.Token = token.AccessToken
	}
	s.tokens[tokenKey(req)] = "Bearer " + token.Token
	s.authorize(req)
	return true
}

// want checks the status.
func (r *response) want(t *testing.T, status ...int) *response {
	t.Helper()
	for _, s := range status {
		if r.StatusCode == s {
			return r
		}
	}
	t.Fatalf("%s: %s, want %v; body %.300q", r.request, r.Status, status, r.body)
	return r
}

// wantCode checks status and error code (distribution specification, "Error Codes").
func (r *response) wantCode(t *testing.T, status int, codes ...oci.Code) *response {
	t.Helper()
	r.want(t, status)
	if r.Request.Method == http.MethodHead {
		return r
	}
	var e struct {
		Errors []struct {
			Code    oci.Code
			Message string
		}
	}
	if err := json.Unmarshal(r.body, &e); err != nil || len(e.Errors) == 0 {
		t.Fatalf("%s: not an error body: %.300q", r.request, r.body)
	}
	for _, c := range codes {
		if e.Errors[0].Code == c {
			return r
		}
	}
	t.Errorf("%s: code %s (%s), want %v", r.request, e.Errors[0].Code, e.Errors[0].Message, codes)
	return r
}

func (r *response) wantHeader(t *testing.T, name, value string) *response {
	t.Helper()
	if got := r.Header.Get(name); got != value {
		t.Errorf("%s: %s: %q, want %q", r.request, name, got, value)
	}
	return r
}

func (r *response) wantBody(t *testing.T, b []byte) *response {
	t.Helper()
	if !bytes.Equal(r.body, b) {
		t.Errorf("%s: body of %d bytes differs from the %d expected", r.request, len(r.body), len(b))
	}
	return r
}

// location returns Location as an absolute URL.
func (r *response) location(t *testing.T) string {
	t.Helper()
	u, err := r.Location()
	if err != nil {
		t.Fatalf("%s: Location: %v", r.request, err)
	}
	return u.String()
}

func (r *response) decode(t *testing.T, v any) *response {
	t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		t.Fatalf("%s: %v in %.300q", r.request, err, r.body)
	}
	return r
}

// with adds a query parameter to a location that may have some.
func with(location, name, value string) string {
	sep := "?"
	if strings.Contains(location, "?") {
		sep = "&"
	}
	return location + sep + url.Values{name: {value}}.Encode()
}
