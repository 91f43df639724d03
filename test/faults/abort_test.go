package faults

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// hangUp ends a connection: every other one in order, the others by a reset, as a client does that is killed.
func hangUp(c *net.TCPConn, n int) {
	if n%2 == 1 {
		_ = c.SetLinger(0)
	}
	_ = c.Close()
}

// cutRequest sends the first n bytes of a request and hangs up.
func (s *server) cutRequest(t *testing.T, request []byte, n int) {
	t.Helper()
	c := s.dial(t)
	if _, err := c.Write(request[:n]); err != nil {
		t.Errorf("send %d bytes: %v", n, err)
	}
	hangUp(c, n)
}

// cutAnswer sends a request, reads n bytes of the answer and hangs up.
func (s *server) cutAnswer(t *testing.T, request []byte, n int) {
	t.Helper()
	c := s.dial(t)
	if _, err := c.Write(request); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(c, make([]byte, n)); err != nil {
		t.Errorf("read %d bytes of the answer: %v", n, err)
	}
	hangUp(c, n)
}

// TestAbort has clients hang up after every single byte of their request and of the answer. Nothing of them is left, what
// they pushed in full is there, what they pushed in part is not, and what they began can be finished.
func TestAbort(t *testing.T) {
	t.Parallel()
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	s := start(t)
	s.Apply(t, fmt.Sprintf(`groups: [{name: acme, hosted: [{prefix: "", anonymous_pull: true}],
  upstreams: [{name: far, url: %q}], registries: [{name: hub, anonymous_pull: true, members: [{upstream: far}]}]}]`, u.URL()))
	image := registrytest.RandomImage(1, 1, 300)
	s.Push(t, "acme/app", []string{"1"}, image)
	s.Pull(t, "acme/app", "1", image)
	before := s.metrics(t)
	for name, run := range map[string]func(*testing.T, *server){
		"push a manifest": abortManifest, "push a blob": abortBlob, "send a part": abortPart, "pull": abortPull,
	} {
		t.Run(name, func(t *testing.T) { run(t, s) })
	}
	t.Run("pull what is not cached", func(t *testing.T) { abortFill(t, s, u) })
	s.quiet(t, before)
	if n := s.stages(t); n != 0 {
		t.Errorf("%d staged files are left", n)
	}
	s.Pull(t, "acme/app", "1", image)
}

func abortManifest(t *testing.T, s *server) {
	image := registrytest.RandomImage(1, 1, 300)
	put := func(tag string) []byte {
		return s.request("PUT", "/v2/acme/app/manifests/"+tag, image.Manifest.Payload, "Content-Type", image.Manifest.MediaType)
	}
	size := len(put("t0000"))
	for n := range size {
		s.cutRequest(t, put(fmt.Sprintf("t%04d", n)), n)
	}
	answer := len(s.answer(t, put("a0000")))
	for n := range answer {
		s.cutAnswer(t, put(fmt.Sprintf("a%04d", n)), n)
	}
	eventually(t, "tags", func() (string, bool) {
		a := s.Do(t, "GET", "acme/app/tags/list?n=5000").Want(t, 200)
		whole, part := bytes.Count(a.Body, []byte(`"a`)), bytes.Count(a.Body, []byte(`"t0`))
		return fmt.Sprintf("%d pushed in full, want %d; %d pushed in part", whole, answer, part), whole >= answer && part == 0
	})
}

func abortBlob(t *testing.T, s *server) {
	post := func(n int) (request []byte, digest oci.Digest) {
		b := registrytest.RandomBlob(uint64(10_000+n), 300)
		return s.request("POST", "/v2/acme/app/blobs/uploads/?digest="+string(b.Digest), b.Bytes()), b.Digest
	}
	look := func(digest oci.Digest, status int) {
		t.Helper()
		s.Do(t, "HEAD", "acme/app/blobs/"+string(digest)).Want(t, status)
	}
	whole, _ := post(0)
	var digests []oci.Digest
	for n := range whole {
		request, digest := post(n)
		s.cutRequest(t, request, n)
		digests = append(digests, digest)
	}
	for _, d := range digests {
		look(d, 404)
	}
	request, _ := post(20_000)
	for n := range s.answer(t, request) {
		request, digest := post(30_000 + n)
		s.cutAnswer(t, request, n)
		if n == 0 {
			continue // who does not wait for the answer has no promise: the server may notice in time to give up
		}
		eventually(t, "a blob that was pushed in full", func() (string, bool) {
			a := s.Do(t, "HEAD", "acme/app/blobs/"+string(digest))
			return fmt.Sprint(a.Status), a.Status == 200
		})
	}
}

func abortPart(t *testing.T, s *server) {
	b := registrytest.RandomBlob(50_000, 200)
	patch := func() (location string, request []byte) {
		location = s.Do(t, "POST", "acme/app/blobs/uploads/").Want(t, 202).Header.Get("Location")
		return location, s.request("PATCH", location, b.Bytes(), "Content-Type", oci.MediaTypeOctets)
	}
	location, request := patch()
	answer := s.answer(t, request)
	s.finish(t, location, b)
	for n := range request {
		location, request := patch()
		s.cutRequest(t, request, n)
		s.finish(t, location, b)
	}
	for n := range answer {
		location, request := patch()
		s.cutAnswer(t, request, n)
		s.finish(t, location, b)
	}
}

// finish goes on with an upload from where the server says that it is. Of "0-0" it cannot say whether that is one byte or none:
// the protocol has no word for an empty range.
func (s *server) finish(t *testing.T, location string, b registrytest.Content) {
	t.Helper()
	one := false
	eventually(t, "an upload goes on", func() (string, bool) {
		a := s.Do(t, "GET", location).Want(t, 204, 409)
		if a.Status == 409 {
			return "the request that broke off still holds it", false
		}
		var last, from int
		if _, err := fmt.Sscanf(a.Header.Get("Range"), "0-%d", &last); err != nil || last >= int(b.Size) {
			t.Fatalf("range %q", a.Header.Get("Range"))
		}
		if last > 0 || one {
			from = last + 1
		}
		changes := []stack.Change{stack.Body(oci.MediaTypeOctets, b.Bytes()[from:])}
		if from < int(b.Size) {
			changes = append(changes, stack.Header("Content-Range", fmt.Sprintf("%d-%d", from, b.Size-1)))
		}
		a = s.Do(t, "PUT", location+"?digest="+string(b.Digest), changes...)
		one = last == 0 && a.Status == 416 && !one
		return fmt.Sprintf("from %d: %d %s", from, a.Status, a.Body), a.Status == 201
	})
}

func abortPull(t *testing.T, s *server) {
	image := registrytest.RandomImage(1, 1, 300)
	for _, path := range []string{"/v2/acme/app/manifests/1", "/v2/acme/app/blobs/" + string(image.Layers()[0].Digest)} {
		request := s.request("GET", path, nil, "Accept", oci.ManifestAccept)
		for n := range request {
			s.cutRequest(t, request, n)
		}
		for n := range s.answer(t, request) {
			s.cutAnswer(t, request, n)
		}
	}
}

// abortFill hangs up within the first pull of content: the transfer goes on without the client.
func abortFill(t *testing.T, s *server, u *registrytest.Upstream) {
	blob := func(n int) registrytest.Content {
		b := registrytest.RandomBlob(uint64(60_000+n), 200)
		u.PutBlob("library/app", b)
		return b
	}
	get := func(b registrytest.Content) []byte {
		return s.request("GET", "/v2/acme/hub/library/app/blobs/"+string(b.Digest), nil)
	}
	for n := range s.answer(t, get(blob(0))) {
		b := blob(n + 1)
		s.cutAnswer(t, get(b), n)
		a := s.Do(t, "GET", "acme/hub/library/app/blobs/"+string(b.Digest)).Want(t, 200)
		if !bytes.Equal(a.Body, b.Bytes()) {
			t.Errorf("%d bytes differ from what the upstream has", len(a.Body))
		}
	}
}
