package stack_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// TestKilledPush kills the server between the parts of an upload, and right behind the answer to a push. What was acknowledged is there,
// the upload can be finished, and rows and bytes agree.
func TestKilledPush(t *testing.T) {
	t.Parallel()
	p := stack.StartProcess(t)
	p.Apply(t, `groups: [{name: acme, hosted: [{prefix: "", anonymous_pull: true}]}]`)
	p.Token = p.NewToken(t, "admin")
	token := p.Token
	restart := func() {
		t.Helper()
		p.Kill()
		p.Start()
		p.Token = token
	}
	image := registrytest.RandomIndex(1, 2, 5000)
	p.Push(t, "acme/app", []string{"1", "latest"}, image)
	restart()
	p.Pull(t, "acme/app", "latest", image)

	b := registrytest.RandomBlob(2, 3*mib)
	at := p.Do(t, "POST", "acme/app/blobs/uploads/").Want(t, 202).Header.Get("Location")
	parts := []int64{0, mib, mib + 1, 3 * mib}
	for i, from := range parts[:len(parts)-1] {
		to := parts[i+1]
		at = p.Do(t, "PATCH", at, stack.Body(oci.MediaTypeOctets, b.Bytes()[from:to]), stack.Header("Content-Range", fmt.Sprintf("%d-%d", from, to-1))).
			Want(t, 202).WantHeader(t, "Range", fmt.Sprintf("0-%d", to-1)).Header.Get("Location")
		restart()
		p.Do(t, "GET", at).Want(t, 204).WantHeader(t, "Range", fmt.Sprintf("0-%d", to-1))
	}
	p.Do(t, "PUT", at+"?digest="+string(b.Digest)).Want(t, 201)
	restart()
	p.Do(t, "GET", "acme/app/blobs/"+string(b.Digest)).Want(t, 200).WantBody(t, b.Bytes())

	sum, err := p.API.Check(context.Background(), true, func(f client.Finding) { t.Logf("%+v", f) }, nil)
	if err != nil || sum.Problems > 0 || sum.Blobs == 0 {
		t.Errorf("check: %+v, %v", sum, err)
	}
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestRestart keeps everything over an orderly restart: caches, admissions, tokens and configuration.
func TestRestart(t *testing.T) {
	t.Parallel()
	r := newResolution(t)
	r.Do(t, "HEAD", "acme/tight/library/app/manifests/1.0").Want(t, 200)
	r.Pull(t, "acme/tight/library/app", string(r.images["a"].Manifest.Digest), r.images["a"])
	ann := r.As(t, "ann")
	ann.Pull(t, "acme/closed/library/app", "1.1", r.images["a"])
	r.Stop()
	r.a.Stop()
	r.Start()
	ann.URL = r.URL
	r.Pull(t, "acme/tight/library/app", "1.0", r.images["a"])
	r.Do(t, "GET", "acme/tight/library/app/manifests/nightly").Want(t, 403)
	ann.Pull(t, "acme/closed/library/app", "1.1", r.images["a"])
	r.Do(t, "GET", "acme/closed/library/app/manifests/1.1").Want(t, 401)
}

func stopping(l stack.Line) bool { return l["msg"] == "shutting down" }

// TestDrain asks the server to stop while a client downloads: the client gets everything, and nobody else comes in.
func TestDrain(t *testing.T) {
	t.Parallel()
	p := stack.StartProcess(t)
	p.Apply(t, `groups: [{name: acme, hosted: [{prefix: "", anonymous_pull: true}]}]`)
	b := registrytest.RandomBlob(7, 48*mib) // more than fits between the two ends
	p.Token = p.NewToken(t, "admin")
	p.PushBlob(t, "acme/app", b)
	resp, err := p.Open(t, "GET", "acme/app/blobs/"+string(b.Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got := make([]byte, b.Size)
	if _, err := io.ReadFull(resp.Body, got[:mib]); err != nil {
		t.Fatal(err)
	}
	p.Terminate()
	p.Log.Find(t, "the signal has arrived", stopping)
	if _, err := io.ReadFull(resp.Body, got[mib:]); err != nil || !bytes.Equal(got, b.Bytes()) {
		t.Errorf("the client of a server that stops in order got something else: %v", err)
	}
	if code := p.Wait(); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.Log)
	}
}

// TestSecondSignal does not let a client hold the server up for longer than its operator has patience.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	u, _, path := blobs(t, mib)
	u.Fail(registrytest.Rule{Kind: registrytest.KindBlob, Fault: registrytest.Fault{HangAt: 1000}})
	p := stack.StartProcess(t, "WEIR_SHUTDOWN_TIMEOUT=10m")
	p.Apply(t, fronting(u.URL()))
	resp, err := p.Open(t, "GET", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	p.Terminate()
	p.Log.Find(t, "the first signal has arrived", stopping)
	p.Terminate()
	if code := p.Wait(); code == 0 {
		t.Error("exit code 0 although a transfer was cut off")
	}
}
