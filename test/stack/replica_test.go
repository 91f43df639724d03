package stack_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/test/stack"
)

// replicas starts two servers on one database, one folder of blobs and one keyset, as behind a load balancer.
func replicas(t *testing.T) (a, b stack.Remote) {
	t.Helper()
	dsn, shared := metatest.Options(t, meta.PostgreSQL).DSN, filepath.Dir(stack.Folder(t))
	start := func(data string) *stack.Server {
		return stack.Start(t, stack.Options{Data: data, Configure: func(c *config.Config) {
			c.Database = config.Database{Engine: meta.PostgreSQL, DSN: config.DSN(dsn)}
			c.Storage.Path, c.Keys.KeysetFile = filepath.Join(shared, "blobs"), filepath.Join(shared, "keyset")
		}})
	}
	first := start(filepath.Join(shared, "a"))
	first.Apply(t, `groups: [{name: acme, hosted: [{prefix: ""}]}]`)
	data := filepath.Join(shared, "b")
	if err := os.Mkdir(data, 0o700); err != nil { // it is there: the users are not made again
		t.Fatal(err)
	}
	a, b = first.As(t, "admin"), stack.Remote{}
	b.URL, b.Token = start(data).URL, a.Token
	return a, b
}

// TestUploadAcrossReplicas sends each request of an upload to the other replica than the one before.
func TestUploadAcrossReplicas(t *testing.T) {
	a, b := replicas(t)
	content := bytes.Repeat([]byte("0123456789"), 30_000)
	at := begin(t, a)
	sendChunk(t, b, at, content, 0, 100_000)
	sendChunk(t, a, at, content, 100_000, 200_000)
	sendChunk(t, b, at, content, 200_000, 300_000)
	status(t, a, at).want(t, http.StatusNoContent, "0-299999")
	late := do(t, b, http.MethodPatch, at, bytes.NewReader(content[:5]), "Content-Range", "100000-100004")
	late.want(t, http.StatusRequestedRangeNotSatisfiable, "0-299999")
	do(t, a, http.MethodPut, at+"?digest="+string(oci.DigestOf(oci.SHA256, content)), nil).want(t, http.StatusCreated, "")
	for _, r := range []stack.Remote{a, b} {
		got := r.Do(t, http.MethodGet, "acme/app/blobs/"+string(oci.DigestOf(oci.SHA256, content)))
		if got.Status != http.StatusOK || !bytes.Equal(got.Body, content) {
			t.Errorf("%s: %d, %d bytes", r.URL, got.Status, len(got.Body))
		}
	}
}

// TestUploadAtTwoReplicasAtOnce asks one replica to go on with a session that the other is in the middle of.
func TestUploadAtTwoReplicasAtOnce(t *testing.T) {
	a, b := replicas(t)
	at := begin(t, a)
	do(t, a, http.MethodPatch, at, strings.NewReader("one ")).want(t, http.StatusAccepted, "0-3")

	held, body := make(chan struct{}), make(chan struct{})
	answered := make(chan result, 1)
	r, w := io.Pipe()
	go func() {
		answered <- send(t, a, http.MethodPatch, at, r, func(r *http.Request) *http.Request {
			r.Header.Set("Expect", "100-continue") // comes when the handler reads: it has the session then
			return r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got100Continue: func() { close(held) }}))
		})
	}()
	go func() {
		defer close(body)
		_, _ = w.Write([]byte("two"))
	}()
	<-held
	for method, body := range map[string]io.Reader{http.MethodPatch: strings.NewReader("THREE"), http.MethodGet: nil, http.MethodDelete: nil} {
		busy := do(t, b, method, at, body)
		busy.want(t, http.StatusConflict, "")
		if !strings.Contains(busy.text, string(oci.CodeBlobUploadInvalid)) {
			t.Errorf("%s of a session in other hands: %s", method, busy.text)
		}
	}
	<-body
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	(<-answered).want(t, http.StatusAccepted, "0-6")
	digest := string(oci.DigestOf(oci.SHA256, []byte("one two three")))
	do(t, b, http.MethodPut, at+"?digest="+digest, strings.NewReader(" three")).want(t, http.StatusCreated, "")
	if got := a.Do(t, http.MethodGet, "acme/app/blobs/"+digest); string(got.Body) != "one two three" {
		t.Errorf("the blob is %q", got.Body)
	}
}

type result struct {
	status int
	ranged string
	text   string
}

func (r result) want(t *testing.T, status int, ranged string) {
	t.Helper()
	if r.status != status || ranged != "" && r.ranged != ranged {
		t.Fatalf("%d, Range %q: want %d, %q\n%s", r.status, r.ranged, status, ranged, r.text)
	}
}

func begin(t *testing.T, r stack.Remote) (path string) {
	t.Helper()
	a := r.Do(t, http.MethodPost, "acme/app/blobs/uploads/")
	if a.Status != http.StatusAccepted {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	return a.Header.Get("Location")
}

func status(t *testing.T, r stack.Remote, at string) result {
	t.Helper()
	return do(t, r, http.MethodGet, at, nil)
}

func sendChunk(t *testing.T, r stack.Remote, at string, content []byte, from, to int) {
	t.Helper()
	do(t, r, http.MethodPatch, at, bytes.NewReader(content[from:to])).want(t, http.StatusAccepted, "")
}

func do(t *testing.T, r stack.Remote, method, path string, body io.Reader, header ...string) result {
	t.Helper()
	return send(t, r, method, path, body, func(r *http.Request) *http.Request {
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return r
	})
}

// send does not follow the path to another server: Location may be absolute.
func send(t *testing.T, r stack.Remote, method, path string, body io.Reader, change func(*http.Request) *http.Request) result {
	t.Helper()
	if i := strings.Index(path, "/v2/"); i > 0 {
		path = path[i:]
	}
	request, err := http.NewRequestWithContext(t.Context(), method, r.URL+path, body)
	if err != nil {
		t.Error(err)
		return result{}
	}
	request.Header.Set("Authorization", "Bearer "+r.Token)
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute, DisableKeepAlives: true}}
	resp, err := client.Do(change(request))
	if err != nil {
		t.Error(err)
		return result{}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return result{resp.StatusCode, resp.Header.Get("Range"), string(text)}
}
