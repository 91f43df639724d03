package cache_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/registry/virtual"
)

func (w *world) blob(mode virtual.Mode, repository string, digest oci.Digest) virtual.Answer {
	return w.Ask(w.t.Context(), virtual.Query{Kind: virtual.KindBlob, Mode: mode, Repository: repository, Reference: oci.ByDigest(digest)})
}

// wantBlob checks an answer for a blob and reads it to its end.
func (w *world) wantBlob(a virtual.Answer, c registrytest.Content, status registry.CacheStatus) {
	w.t.Helper()
	if a.Outcome != registry.Found || a.Cache != status || a.Descriptor.Size != c.Size {
		w.t.Errorf("got %s %s of %d bytes (%s %v), want %s of %d", a.Outcome, a.Cache, a.Descriptor.Size, a.Reason, a.Err, status, c.Size)
	}
	if a.Blob == nil {
		return
	}
	defer func() { _ = a.Blob.Body.Close() }()
	if got, err := io.ReadAll(a.Blob.Body); err != nil || !bytes.Equal(got, c.Bytes()) {
		w.t.Errorf("read %d of %d bytes, %v", len(got), c.Size, err)
	}
}

// settled waits until a blob is in the store: its last reader may be a moment ahead of the commit.
func (w *world) settled(repository string, digest oci.Digest) {
	w.t.Helper()
	q := virtual.Query{Kind: virtual.KindBlob, Repository: repository, Reference: oci.ByDigest(digest)}
	for deadline := time.Now().Add(time.Minute); w.peek(q).State != virtual.Fresh; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s does not get into the store", digest)
		}
	}
}

func TestBlobIsFilledOnce(t *testing.T) {
	w := newWorld(t)
	image := w.push(alpine, 1, "latest")
	layer := image.Layers()[0]
	w.ask(virtual.ModeGet, alpine, latest)
	w.remote.total()
	w.wantBlob(w.blob(virtual.ModeHead, alpine, layer.Digest), layer, registry.CachePass)
	w.wantBlob(w.blob(virtual.ModeProbe, alpine, layer.Digest), layer, registry.CachePass)
	w.wantCalls("HEAD blob", 2)
	w.wantBlob(w.blob(virtual.ModeGet, alpine, layer.Digest), layer, registry.CacheMiss)
	w.settled(alpine, layer.Digest)
	w.wantCalls("GET blob", 1)
	w.remote.set(errDown)
	for _, mode := range []virtual.Mode{virtual.ModeGet, virtual.ModeHead, virtual.ModeProbe} {
		w.wantBlob(w.blob(mode, alpine, layer.Digest), layer, registry.CacheHit)
	}
	got := registrytest.ReadBlob(t, w.Registry, alpine, layer.Digest, registry.Range{Offset: -100})
	if !bytes.Equal(got, layer.Bytes()[layer.Size-100:]) {
		t.Error("a range has other bytes")
	}
	w.wantQuiet()
	if got := w.admissions(alpine, layer.Digest); len(got) != 1 || !got["latest"] {
		t.Errorf("admitted %v: a layer inherits from its image", got)
	}
}

func TestBlobFirst(t *testing.T) {
	w := newWorld(t)
	layer := w.push(alpine, 2, "latest").Layers()[0]
	w.wantBlob(w.blob(virtual.ModeGet, alpine, layer.Digest), layer, registry.CacheMiss)
	if got := w.admissions(alpine, layer.Digest); len(got) != 1 || !got[""] {
		t.Errorf("admitted %v", got)
	}
}

func TestKnownBlobIsLinkedAfterTheUpstreamsWord(t *testing.T) {
	w := newWorld(t)
	layer := w.push(alpine, 3, "latest").Layers()[0]
	w.push("library/debian", 3, "latest")
	w.push("library/empty", 4, "latest")
	w.wantBlob(w.blob(virtual.ModeGet, alpine, layer.Digest), layer, registry.CacheMiss)
	w.settled(alpine, layer.Digest)
	w.remote.total()

	w.wantBlob(w.blob(virtual.ModeProbe, "library/debian", layer.Digest), layer, registry.CachePass)
	q := virtual.Query{Kind: virtual.KindBlob, Repository: "library/debian", Reference: oci.ByDigest(layer.Digest)}
	if p := w.peek(q); p.State != virtual.Nothing {
		t.Errorf("a probe left %+v", p)
	}
	w.remote.total()
	w.wantBlob(w.blob(virtual.ModeGet, "library/debian", layer.Digest), layer, registry.CacheRevalidated)
	w.wantCalls("HEAD blob", 1)
	w.wantCalls("GET blob", 0)
	w.wantBlob(w.blob(virtual.ModeGet, "library/debian", layer.Digest), layer, registry.CacheHit)

	if a := w.blob(virtual.ModeGet, "library/empty", layer.Digest); a.Outcome != registry.Absent {
		t.Errorf("a repository that does not have it: %s", a.Outcome)
	}
	w.wantCalls("GET blob", 0)
	w.remote.set(errDown)
	if a := w.blob(virtual.ModeGet, "library/third", layer.Digest); a.Outcome != registry.Unknown {
		t.Errorf("without the upstream's word: %s", a.Outcome)
	}

	// Another group transfers it itself.
	w.remote.set(nil)
	other := newWorld(t)
	other.remote = w.remote
	other.Registry = other.build()
	other.wantBlob(other.blob(virtual.ModeGet, alpine, layer.Digest), layer, registry.CacheMiss)
	w.wantCalls("GET blob", 1)
}

// TestLostBytes: rows may promise bytes that a broken disk has not; the upstream still has them.
func TestLostBytes(t *testing.T) {
	w := newWorld(t)
	layer := w.push(alpine, 30, "latest").Layers()[0]
	w.wantBlob(w.blob(virtual.ModeGet, alpine, layer.Digest), layer, registry.CacheMiss)
	w.settled(alpine, layer.Digest)
	known, err := w.store.KnownBlob(t.Context(), w.group, layer.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.blobs.Delete(t.Context(), known.Key); err != nil {
		t.Fatal(err)
	}
	w.wantBlob(w.blob(virtual.ModeGet, alpine, layer.Digest), layer, registry.CachePass)
}

func TestAbsentBlobIsRemembered(t *testing.T) {
	w := newWorld(t)
	w.push(alpine, 1, "latest")
	missing := registrytest.RandomBlob(99, 1000)
	for i, mode := range []virtual.Mode{virtual.ModeGet, virtual.ModeHead, virtual.ModeProbe} {
		if a := w.blob(mode, alpine, missing.Digest); a.Outcome != registry.Absent {
			t.Errorf("%s %v", a.Outcome, a.Err)
		}
		if n := w.remote.total(); (n > 0) != (i == 0) {
			t.Errorf("question %d: the upstream was asked %d times", i, n)
		}
	}
}

func TestRangeOutside(t *testing.T) {
	w := newWorld(t)
	layer := w.push(alpine, 5, "latest").Layers()[0]
	for range 2 {
		a := w.Ask(t.Context(), virtual.Query{
			Kind: virtual.KindBlob, Mode: virtual.ModeGet, Repository: alpine, Reference: oci.ByDigest(layer.Digest),
			Range: registry.Range{Offset: layer.Size + 10, Length: 10},
		})
		if oci.ErrorCode(a.Err) != oci.CodeRangeInvalid {
			t.Errorf("%s %v", a.Outcome, a.Err)
		}
		w.settled(alpine, layer.Digest)
	}
}

func TestLists(t *testing.T) {
	w := newWorld(t)
	image := w.push(alpine, 1, "a", "b", "c", "d")
	subject := image.Manifest.Descriptor
	artifact := registrytest.RandomArtifact(7, subject, "application/spdx+json")
	registrytest.Push(t, w.remote.Memory, alpine, nil, artifact)

	l, err := w.Tags(t.Context(), alpine, registry.Page{N: 2, Last: "a"})
	if err != nil || len(l.Tags) != 2 || l.Tags[0] != "b" || !l.More {
		t.Errorf("%+v, %v", l, err)
	}
	refs, err := w.Referrers(t.Context(), alpine, subject.Digest, "application/spdx+json")
	if err != nil || len(refs.Manifests) != 1 || refs.Manifests[0].Digest != artifact.Manifest.Digest {
		t.Errorf("%+v, %v", refs, err)
	}
	none, err := w.Referrers(t.Context(), alpine, artifact.Manifest.Digest, "")
	if err != nil || none.Manifests == nil || len(none.Manifests) != 0 {
		t.Errorf("%+v, %v", none, err)
	}
	w.remote.total()
	again := func() {
		t.Helper()
		if l, err := w.Tags(t.Context(), alpine, registry.Page{Last: "c"}); err != nil || len(l.Tags) != 1 || l.More {
			t.Errorf("%+v, %v", l, err)
		}
		if refs, err := w.Referrers(t.Context(), alpine, subject.Digest, "other"); err != nil || len(refs.Manifests) != 0 {
			t.Errorf("%+v, %v", refs, err)
		}
		if none, err := w.Referrers(t.Context(), alpine, artifact.Manifest.Digest, ""); err != nil || len(none.Manifests) != 0 {
			t.Errorf("%+v, %v", none, err)
		}
	}
	again()
	w.wantQuiet()

	w.remote.set(errDown)
	w.pass(2 * time.Hour)
	again() // stale, on error
	if n := w.remote.total(); n != 3 {
		t.Errorf("the upstream was asked %d times", n)
	}
	again()
	w.wantQuiet()

	w.remote.set(nil)
	w.push(alpine, 1, "e")
	w.pass(2 * time.Hour)
	if l, err := w.Tags(t.Context(), alpine, registry.Page{}); err != nil || len(l.Tags) != 5 {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := w.Tags(t.Context(), "library/none", registry.Page{}); registry.AsOutcome(err).Outcome != registry.Absent {
		t.Errorf("no such repository: %v", err)
	}
	if p := w.peek(virtual.Query{Kind: virtual.KindTags, Repository: "library/none"}); p.State != virtual.FreshAbsent {
		t.Errorf("peek %+v", p)
	}
}

func TestSuite(t *testing.T) {
	registrytest.Run(t, registrytest.Options{Tags: true, Referrers: true}, func(t *testing.T, fixture registrytest.Fixture) registry.Registry {
		w := newWorld(t)
		fixture.PushTo(t, w.remote.Memory)
		return w.Registry
	})
}

func TestSuiteOfACacheOfACache(t *testing.T) {
	registrytest.Run(t, registrytest.Options{Tags: true, Referrers: true}, func(t *testing.T, fixture registrytest.Fixture) registry.Registry {
		w := newWorld(t)
		fixture.PushTo(t, w.remote.Memory)
		inner := w.Registry
		return w.build(func(o *cache.Options) { o.UpstreamID, o.Remote = 3, inner })
	})
}
