package stack_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

const mib = 1 << 20

// blobs returns a fake upstream that has one blob of size bytes in library/app, and the blob's path through acme/hub.
func blobs(t *testing.T, size int64) (*registrytest.Upstream, registrytest.Content, string) {
	t.Helper()
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	b := registrytest.RandomBlob(uint64(size), size)
	u.PutBlob("library/app", b)
	return u, b, "acme/hub/library/app/blobs/" + string(b.Digest)
}

// gets are the GETs of a blob's bytes that the upstream received.
func gets(u *registrytest.Upstream) (out []registrytest.Request) {
	for _, r := range u.Requests() {
		if r.Method == "GET" && r.Kind == registrytest.KindBlob {
			out = append(out, r)
		}
	}
	return out
}

// TestKilledFill kills the server in the middle of a transfer. The next one asks for the rest alone, without anybody having
// to ask it, and clients get the right bytes.
func TestKilledFill(t *testing.T) {
	t.Parallel()
	const size, stop = 40 * mib, 20 * mib
	u, b, path := blobs(t, size)
	gate := make(chan struct{})
	defer close(gate)
	u.Fail(registrytest.Rule{Kind: registrytest.KindBlob, Times: 1, Fault: registrytest.Fault{Gate: gate, GateAt: stop}})
	p := stack.StartProcess(t)
	p.Apply(t, fronting(u.URL()))
	resp, err := p.Open(t, "GET", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.CopyN(io.Discard, resp.Body, 18*mib); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Error("a client of the killed server thinks it has everything")
	}
	p.Start()
	p.Log.Find(t, "the fill goes on by itself", func(l stack.Line) bool { return l["msg"] == "fill ended" && l["result"] == "stored" })
	p.Do(t, "GET", path).Want(t, 200).WantBody(t, b.Bytes())

	all := gets(u)
	if len(all) != 2 {
		t.Fatalf("the upstream was asked %d times", len(all))
	}
	var from int64
	if _, err := fmt.Sscanf(all[1].Header.Get("Range"), "bytes=%d-", &from); err != nil || from < 16*mib {
		t.Errorf("the second request was for %q: at least 16 MiB had been saved", all[1].Header.Get("Range"))
	}
	if sent := u.Sent(b.Digest); sent > size*102/100+stop-from {
		t.Errorf("the upstream sent %d bytes for %d, %d of them saved by the first server", sent, size, from)
	}
}

// TestCutUpstream has every upstream connection break after 2 MiB.
func TestCutUpstream(t *testing.T) {
	t.Parallel()
	u, b, path := blobs(t, 9*mib)
	u.Fail(registrytest.Rule{Kind: registrytest.KindBlob, Fault: registrytest.Fault{CutAt: 2 * mib}})
	s := stack.Start(t, stack.Options{})
	s.Apply(t, fronting(u.URL()))
	s.Do(t, "GET", path).Want(t, 200).WantBody(t, b.Bytes())
	if sent := u.Sent(b.Digest); sent > b.Size*102/100 {
		t.Errorf("the upstream sent %d bytes for %d", sent, b.Size)
	}
	if n := len(gets(u)); n != 5 {
		t.Errorf("%d requests for 9 MiB in parts of 2 MiB", n)
	}
}

// TestCrowd has fifty clients on one cold blob, each sure to be there before the upstream sends the rest.
func TestCrowd(t *testing.T) {
	t.Parallel()
	u, b, path := blobs(t, 4*mib)
	gate := make(chan struct{})
	u.Fail(registrytest.Rule{Kind: registrytest.KindBlob, Fault: registrytest.Fault{Gate: gate, GateAt: 2 * mib}})
	s := stack.Start(t, stack.Options{})
	s.Apply(t, fronting(u.URL()))
	const clients = 50
	var there, done sync.WaitGroup
	there.Add(clients)
	for n := range clients {
		done.Go(func() {
			arrived := sync.OnceFunc(there.Done)
			defer arrived()
			resp, err := s.Open(t, "GET", path)
			if err != nil {
				t.Errorf("client %d: %v", n, err)
				return
			}
			defer func() { _ = resp.Body.Close() }()
			got := make([]byte, b.Size)
			if _, err := io.ReadFull(resp.Body, got[:mib]); err != nil {
				t.Errorf("client %d: %v", n, err)
				return
			}
			arrived()
			if _, err := io.ReadFull(resp.Body, got[mib:]); err != nil || !bytes.Equal(got, b.Bytes()) {
				t.Errorf("client %d: wrong bytes or %v", n, err)
			}
		})
	}
	there.Wait()
	near := s.Do(t, "GET", path, stack.Header("Range", "bytes=1000-1999")).Want(t, 206)
	near.WantBody(t, b.Bytes()[1000:2000]).WantHeader(t, "Content-Range", fmt.Sprintf("bytes 1000-1999/%d", b.Size))
	close(gate)
	done.Wait()
	if n, sent := len(gets(u)), u.Sent(b.Digest); n != 1 || sent != b.Size {
		t.Errorf("%d upstream requests and %d bytes for one blob of %d", n, sent, b.Size)
	}
}

// TestEveryClientLeaves has the only client go in the middle: the fill ends all the same.
func TestEveryClientLeaves(t *testing.T) {
	t.Parallel()
	u, b, path := blobs(t, 3*mib)
	gate := make(chan struct{})
	u.Fail(registrytest.Rule{Kind: registrytest.KindBlob, Fault: registrytest.Fault{Gate: gate, GateAt: mib}})
	s := stack.Start(t, stack.Options{})
	s.Apply(t, fronting(u.URL()))
	resp, err := s.Open(t, "GET", path)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 1000)
	_ = resp.Body.Close()
	s.Log.Find(t, "the client's access line", func(l stack.Line) bool { return l["msg"] == "request" && l["aborted"] == true })
	close(gate)
	s.Log.Find(t, "the end of the fill", func(l stack.Line) bool { return l["msg"] == "fill ended" && l["result"] == "stored" })
	u.Stop()
	s.Do(t, "GET", path).Want(t, 200).WantBody(t, b.Bytes()).WantHeader(t, "Cache-Status", "weir; hit")
}

// TestShutdownInAFill stops the server in order while an upstream hangs: what has arrived is kept for the next start.
func TestShutdownInAFill(t *testing.T) {
	t.Parallel()
	u, b, path := blobs(t, 3*mib)
	u.Fail(registrytest.Rule{Kind: registrytest.KindBlob, Times: 1, Fault: registrytest.Fault{HangAt: 2 * mib}})
	p := stack.StartProcess(t, "WEIR_SHUTDOWN_TIMEOUT=1s")
	p.Apply(t, fronting(u.URL()))
	resp, err := p.Open(t, "GET", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.CopyN(io.Discard, resp.Body, 2*mib); err != nil {
		t.Fatal(err)
	}
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.Log)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Error("the client of the stopped server thinks it has everything")
	}
	p.Start()
	p.Do(t, "GET", path).Want(t, 200).WantBody(t, b.Bytes())
	if sent := u.Sent(b.Digest); sent != b.Size {
		t.Errorf("the upstream sent %d bytes for %d", sent, b.Size)
	}
}

// TestWrongBytes has upstreams send what is not the blob. No client may take it for the blob, and nothing of it stays.
func TestWrongBytes(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{})
	for name, fault := range map[string]registrytest.Fault{
		"flipped":           {FlipAt: mib},
		"flipped at end":    {FlipAt: 2 * mib},
		"short":             {Length: -100},
		"extra":             {Extra: 100},
		"extra and chunked": {Extra: 100, NoLength: true},
		"other size":        {Length: 100, CutAt: 2 * mib},
	} {
		for _, size := range []int64{2 * mib, 1000} {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				t.Parallel()
				u, b, _ := blobs(t, size)
				fault := fault
				if size < mib {
					fault.CutAt = 0
					fault.FlipAt = min(fault.FlipAt, 500)
				}
				u.Fail(registrytest.Rule{Kind: registrytest.KindBlob, Method: "GET", Fault: fault})
				group := strings.ReplaceAll(fmt.Sprint("w-", name, "-", size), " ", "-")
				s.Apply(t, strings.ReplaceAll(fronting(u.URL()), "acme", group))
				path := group + "/hub/library/app/blobs/" + string(b.Digest)
				for range 3 {
					a := s.Do(t, "GET", path)
					if a.Err == nil && a.Status == 200 {
						t.Fatalf("a client completed %d bytes", len(a.Body))
					}
					if a.Err == nil && (a.Status != 503 || a.Header.Get("Retry-After") == "") {
						t.Errorf("%d %v %s", a.Status, a.Header, a.Body)
					}
				}
				if sent := u.Sent(b.Digest); sent > 2*size+1000 {
					t.Errorf("%d bytes were sent: wrong bytes are asked for again and again", sent)
				}
				if n := u.Count("GET", registrytest.KindBlob); n > 2 && name != "other size" {
					t.Errorf("the upstream was asked %d times", n)
				}
			})
		}
	}
}

// TestWrongManifest has an upstream lie about a manifest.
func TestWrongManifest(t *testing.T) {
	t.Parallel()
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	image := registrytest.RandomImage(1, 1, 100)
	u.Put("library/app", []string{"1"}, image)
	u.Set(func(b *registrytest.Behavior) { b.WrongDigestHeader = true })
	s := stack.Start(t, stack.Options{})
	s.Apply(t, fronting(u.URL()))
	s.Do(t, "GET", "acme/hub/library/app/manifests/1").Want(t, 503)
	u.Set(func(b *registrytest.Behavior) { b.WrongDigestHeader = false })
	u.Fail(registrytest.Rule{Kind: registrytest.KindManifest, Fault: registrytest.Fault{FlipAt: 10}})
	s.Do(t, "GET", "acme/hub/library/app/manifests/"+string(image.Manifest.Digest)).Want(t, 503)
	u.Heal()
	s.Do(t, "GET", "acme/hub/library/app/manifests/1").Want(t, 200).WantBody(t, image.Manifest.Payload)
}

// TestFarRange asks for the end of a blob before its beginning, which is further ahead than a client waits for.
func TestFarRange(t *testing.T) {
	t.Parallel()
	u, b, path := blobs(t, 40*mib)
	gate := make(chan struct{})
	u.Fail(registrytest.Rule{Kind: registrytest.KindBlob, Times: 1, Fault: registrytest.Fault{Gate: gate, GateAt: mib}})
	s := stack.Start(t, stack.Options{})
	s.Apply(t, fronting(u.URL()))
	first, err := s.Open(t, "GET", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Body.Close() }()
	_, _ = io.CopyN(io.Discard, first.Body, 1000)
	a := s.Do(t, "GET", path, stack.Header("Range", "bytes=41900000-41900999")).Want(t, 206)
	a.WantBody(t, b.Bytes()[41900000:41901000]).WantHeader(t, "Cache-Status", "weir; fwd=miss")
	close(gate)
	if _, err := io.Copy(io.Discard, first.Body); err != nil {
		t.Error(err)
	}
	if sent := u.Sent(b.Digest); sent > b.Size*102/100 {
		t.Errorf("%d bytes sent for %d", sent, b.Size)
	}
}

// TestSignedURLExpires has blobs come from another host, by URLs good for one request each, and break.
func TestSignedURLExpires(t *testing.T) {
	t.Parallel()
	u, b, path := blobs(t, 5*mib)
	u.Set(func(b *registrytest.Behavior) { b.Redirect, b.SignedUses = true, 1 })
	u.Fail(registrytest.Rule{Kind: registrytest.KindStorage, Fault: registrytest.Fault{CutAt: 2 * mib}})
	s := stack.Start(t, stack.Options{})
	s.Apply(t, fronting(u.URL()))
	s.Do(t, "GET", path).Want(t, 200).WantBody(t, b.Bytes())
	if sent := u.Sent(b.Digest); sent > b.Size*102/100 {
		t.Errorf("%d bytes sent for %d", sent, b.Size)
	}
}
