package setup

import (
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
)

// fake answers as Weir does: it challenges, gives tokens to ann and to nobody, and has one image for those with a token.
type fake struct {
	asked []string
	image int    // status of the manifest
	why   string // in its body
	wrong bool   // blobs are not what they should be
}

const (
	layer    = "the bytes of a layer"
	indexed  = `{"manifests": [{"digest": "sha256:0000", "platform": {"os": "plan9", "architecture": "mips"}}, {"digest": "DIGEST", "platform": {"os": "linux", "architecture": "ARCH"}}]}`
	manifest = `{"config": {"digest": "DIGEST", "size": 20}, "layers": [{"digest": "sha256:0000", "size": 3000}, {"digest": "DIGEST", "size": 20}]}`
)

// documents are the index and the manifest of the one image.
func documents() (index, image string) {
	image = strings.ReplaceAll(manifest, "DIGEST", string(oci.DigestOf(oci.SHA256, []byte(layer))))
	index = strings.NewReplacer("DIGEST", string(oci.DigestOf(oci.SHA256, []byte(image))), "ARCH", runtime.GOARCH).Replace(indexed)
	return index, image
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	index, image := documents()
	text := index
	switch {
	case strings.HasSuffix(r.URL.Path, "/manifests/"+string(oci.DigestOf(oci.SHA256, []byte(image)))):
		text = image
	case strings.Contains(r.URL.Path, "/blobs/") && f.wrong:
		text = "other bytes, as many"
	case strings.Contains(r.URL.Path, "/blobs/"):
		text = layer
	}
	w.Header().Set("Docker-Content-Digest", string(oci.DigestOf(oci.SHA256, []byte(text))))
	_, _ = io.WriteString(w, text)
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.asked = append(f.asked, r.Method+" "+r.URL.RequestURI())
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	switch {
	case r.URL.Path == "/v2/":
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+scheme+`://`+r.Host+`/token",service="here"`)
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == "/token":
		if user, password, ok := r.BasicAuth(); ok && user+":"+password != "ann:secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"token": "good"}`)
	case r.Header.Get("Authorization") == "Bearer good":
		if f.image == http.StatusOK {
			f.serve(w, r)
			return
		}
		w.WriteHeader(f.image)
		_, _ = io.WriteString(w, `{"errors": [{"code": "X", "message": "`+f.why+`"}]}`)
	}
}

func try(t *testing.T, target Target, p Probe) (ok bool, steps []Step) {
	t.Helper()
	ok, err := Check(t.Context(), target, p, func(s Step) { steps = append(steps, s) })
	if err != nil {
		t.Fatal(err)
	}
	if want := !slices.ContainsFunc(steps, func(s Step) bool { return !s.OK }); ok != want {
		t.Errorf("ok is %v with the steps %v", ok, steps)
	}
	return ok, steps
}

func TestCheckAsksAsTheClientDoes(t *testing.T) {
	f := &fake{image: http.StatusOK}
	s := httptest.NewServer(f)
	defer s.Close()
	var come, of int64
	far := func(bytes, total int64) { come, of = bytes, total }
	ok, steps := try(t, Target{Client: "containerd", Server: s.URL, Registry: "acme/hub"}, Probe{User: "ann", Password: "secret", Far: far})
	index, image := documents()
	digest := func(text string) string { return string(oci.DigestOf(oci.SHA256, []byte(text))) }
	const at, ns = " /v2/acme/hub/library/alpine/", "?ns=docker.io"
	want := []string{
		"GET /v2/", "GET /token?scope=repository%3Aacme%2Fhub%2Flibrary%2Falpine%3Apull&service=here", "HEAD" + at + "manifests/latest" + ns,
		"GET" + at + "manifests/" + digest(index) + ns, "GET" + at + "manifests/" + digest(image) + ns, "GET" + at + "blobs/" + digest(layer) + ns, "GET" + at + "blobs/" + digest(layer) + ns,
	}
	if !ok || !slices.Equal(f.asked, want) || len(steps) != 4 || !strings.Contains(steps[2].Result, digest(index)) || !strings.Contains(steps[3].Result, "40 bytes") {
		t.Errorf("asked %v: %+v", f.asked, steps)
	}
	if come != 40 || of != 40 {
		t.Errorf("%d of %d bytes", come, of)
	}
	f.wrong = true
	if ok, steps := try(t, Target{Client: "docker", Server: s.URL, Registry: "acme/hub"}, Probe{}); ok || !strings.Contains(steps[3].Result, "other bytes came") {
		t.Errorf("wrong bytes: %+v", steps)
	}
}

func TestCheckAdvises(t *testing.T) {
	for name, c := range map[string]struct {
		image  int
		probe  Probe
		door   string
		result string
		advice string
	}{
		"wrong login":  {http.StatusOK, Probe{User: "ann", Password: "wrong"}, Path, "401", "token create"},
		"no login":     {http.StatusUnauthorized, Probe{}, Path, "401 Unauthorized: because", "log in"},
		"mirror":       {http.StatusUnauthorized, Probe{User: "ann", Password: "wrong"}, Mirror, "401", "must allow anonymous pull"},
		"a rule":       {http.StatusForbidden, Probe{}, Path, "403 Forbidden: because", "weir explain acme/hub/library/alpine:latest --probe"},
		"no image":     {http.StatusNotFound, Probe{}, Path, "404", "--image"},
		"no upstream":  {http.StatusServiceUnavailable, Probe{}, Path, "503", "upstreams do not answer"},
		"out of order": {http.StatusInternalServerError, Probe{}, Path, "500", "log"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(&fake{image: c.image, why: "because"})
			defer s.Close()
			target := Target{Client: "docker", Door: c.door, Server: s.URL, Registry: "acme/hub", Bound: s.Listener.Addr().String()}
			ok, steps := try(t, target, c.probe)
			last := steps[len(steps)-1]
			if ok || !strings.Contains(last.Result, c.result) || !strings.Contains(last.Advice, c.advice) {
				t.Errorf("%+v", last)
			}
		})
	}
}

func TestCheckTellsWhyNothingAnswers(t *testing.T) {
	secure := httptest.NewUnstartedServer(&fake{image: http.StatusOK})
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(&fake{})
	defer plain.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()

	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	named := strings.Replace(secure.URL, "127.0.0.1", "localhost", 1)
	for server, advice := range map[string]string{
		secure.URL:              "/etc/docker/certs.d/" + secure.Listener.Addr().String(),
		"http://" + nobody:      "nothing listens",
		other.URL:               "not Weir's registry",
		"https" + plain.URL[4:]: "speaks no TLS",
	} {
		ok, steps := try(t, Target{Client: "docker", Server: server, Registry: "acme/hub"}, Probe{})
		if ok || !strings.Contains(steps[0].Advice, advice) {
			t.Errorf("%s: %+v, want %q", server, steps, advice)
		}
	}
	if ok, steps := try(t, Target{Client: "docker", Server: secure.URL, Registry: "acme/hub"}, Probe{Roots: roots}); !ok {
		t.Errorf("with the authority: %+v", steps)
	}
	if ok, steps := try(t, Target{Client: "docker", Server: named, Registry: "acme/hub"}, Probe{Roots: roots}); ok || !strings.Contains(steps[0].Advice, "other names") {
		t.Errorf("by another name: %+v", steps)
	}
}

func TestCheckWantsAnImage(t *testing.T) {
	_, err := Check(t.Context(), Target{Client: "podman", Server: "https://x.test", Registry: "a/b", Images: []string{"ghcr.io"}}, Probe{}, nil)
	if !errors.Is(err, ErrNoImage) {
		t.Error(err)
	}
}
