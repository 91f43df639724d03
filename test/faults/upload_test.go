package faults

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/test/stack"
)

// TestAbandonedUploads begins uploads by the thousand and never finishes them. Their number is bounded, with an answer that says what
// to do; they are dropped when their time has come; and other groups notice nothing.
func TestAbandonedUploads(t *testing.T) {
	t.Parallel()
	const most = 1500
	s := start(t, fmt.Sprintf("WEIR_LIMITS_UPLOADS_PER_GROUP=%d", most), "WEIR_LOG_LEVEL=info")
	s.Apply(t, `groups: [{name: acme, hosted: [{prefix: "", anonymous_pull: true}]}, {name: other, hosted: [{prefix: "", anonymous_pull: true}]}]`)
	before := s.metrics(t)
	b := registrytest.RandomBlob(1, 1000)
	var last string
	begun, sent := 0, 0
	for n := range 2 * most {
		location := s.Do(t, "POST", fmt.Sprintf("acme/app%d/blobs/uploads/", n%3)).Want(t, 202).Header.Get("Location")
		if n%4 == 0 {
			continue // nothing is kept of one to which nothing is sent
		}
		a := s.Do(t, "PATCH", location, stack.Body(oci.MediaTypeOctets, b.Bytes()[:n%1000+1])).Want(t, 202, 429)
		if a.Status == 429 {
			a.WantCode(t, 429, oci.CodeTooManyRequests)
			if a.Header.Get("Retry-After") == "" || !bytes.Contains(a.Body, []byte("unfinished uploads")) {
				t.Fatalf("the answer does not tell what to do: %v %s", a.Header, a.Body)
			}
			break
		}
		begun++
		last, sent = a.Header.Get("Location"), n%1000+1
	}
	if n := s.stages(t); begun != most || n != most {
		t.Errorf("%d uploads could be begun, want %d; %d files", begun, most, n)
	}
	s.quiet(t, before) // sessions hold no files and no goroutines
	s.PushBlob(t, "other/app", b)
	s.Do(t, "PUT", last+"?digest="+string(b.Digest), stack.Body(oci.MediaTypeOctets, b.Bytes()[sent:])).Want(t, 201) // it can be finished
	s.PushBlob(t, "acme/app0", registrytest.RandomBlob(2, 1000))                                                     // which makes room for another
	token := s.Token
	if code := s.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	jobsAreDue(t, meta.Options{Path: s.Data + "/weir.db"})
	s.Env = append(s.Env, "WEIR_LIMITS_UPLOAD_TTL=5s") // their time has come
	s.Start()
	s.Token = token
	eventually(t, "abandoned uploads are dropped", func() (string, bool) {
		n := s.stages(t)
		return fmt.Sprintf("%d stages are left", n), n == 0
	})
	again := s.Do(t, "POST", "acme/app0/blobs/uploads/").Want(t, 202).Header.Get("Location")
	s.Do(t, "PATCH", again, stack.Body(oci.MediaTypeOctets, b.Bytes())).Want(t, 202)
}
