package faults

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// coldImages is how many images of the upstream are pulled at most: the cache must not outgrow the machine.
const coldImages = 1200

// cached is what the cache has acknowledged: an image counts when all of it was answered as a hit. A client that pulls a cold
// image gets its last bytes when they are verified, which may be a moment before they are kept.
type cached struct {
	upstream *registrytest.Upstream

	mu     sync.Mutex
	next   uint64
	young  []uint64 // pulled, perhaps not kept yet
	images []uint64 // must be served for ever after, without the upstream
}

func coldImage(n uint64) registrytest.Image {
	sizes := []int64{300, 20_000, 150_000, 400_000}
	return registrytest.RandomImage(1_000_000+n, 1+int(n%2), sizes[n%uint64(len(sizes))])
}

func coldName(n uint64) string { return fmt.Sprintf("library/app%d", n) }

// take is the next image to be pulled: one that the cache has never seen, one that it ought to keep by now, or one that it has.
func (c *cached) take(pick func(n int) int) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	kind := pick(3)
	switch {
	case kind == 0 && len(c.young) > 0:
		n := c.young[0]
		c.young = c.young[1:]
		return n
	case kind == 1 && c.next < coldImages || len(c.images) == 0:
		c.upstream.Put(coldName(c.next), []string{"1"}, coldImage(c.next))
		c.next++
		return c.next - 1
	}
	return c.images[pick(len(c.images))]
}

// pulled notes that all of an image came, as hits or not.
func (c *cached) pulled(n uint64, hit bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case slices.Contains(c.images, n):
	case hit:
		c.images = append(c.images, n)
	default:
		c.young = append(c.young, n)
	}
}

// puller pulls through the cache.
type puller struct {
	t       *testing.T
	journal *journal
	rand    *rand.Rand
	cached  *cached
}

// run works until the server is killed.
func (p *puller) run(r stack.Remote) {
	for {
		n := p.cached.take(p.rand.IntN)
		hit, ok := p.pull(r, n, func(registrytest.Content) bool { return true })
		if !ok {
			p.journal.unclear.Add(1)
			return
		}
		p.cached.pulled(n, hit)
		if hit {
			p.journal.pulls.Add(1)
		} else {
			p.journal.fills.Add(1)
		}
	}
}

// pull pulls an image by tag, its manifest by digest, and the blobs that are chosen; hit says that all of it came from the cache.
func (p *puller) pull(r stack.Remote, n uint64, chosen func(registrytest.Content) bool) (hit, ok bool) {
	image, name := coldImage(n), "acme/hub/"+coldName(n)
	hit = true
	same := func(path string, content []byte) bool {
		a := r.Do(p.t, "GET", name+path)
		hit = hit && strings.HasPrefix(a.Header.Get("Cache-Status"), "weir; hit")
		switch {
		case a.Err != nil:
			return false
		case a.Status != 200 || !bytes.Equal(a.Body, content):
			p.t.Errorf("%s: %d, a body of %d bytes, want the %d of the upstream; %.300s", name+path, a.Status, len(a.Body), len(content), a.Body)
			return false
		}
		return true
	}
	if !same("/manifests/1", image.Manifest.Payload) || !same("/manifests/"+string(image.Manifest.Digest), image.Manifest.Payload) {
		return false, false
	}
	for _, b := range image.Blobs {
		if chosen(b) && !same("/blobs/"+string(b.Digest), b.Bytes()) {
			return false, false
		}
	}
	return hit, true
}

// verify pulls everything that was pulled before; blobs only by samples if there are many. Nothing of it may be asked of the upstream.
func (c *cached) verify(t *testing.T, r stack.Remote, all bool, seed uint64) {
	t.Helper()
	c.upstream.Forget()
	known := map[string]bool{}
	var work sync.WaitGroup
	queue := make(chan uint64)
	for i := range 4 {
		p := &puller{t: t, rand: rand.New(rand.NewPCG(seed, uint64(i)))}
		work.Go(func() {
			for n := range queue {
				if hit, ok := p.pull(r, n, func(registrytest.Content) bool { return all || p.rand.IntN(20) == 0 }); !ok || !hit {
					t.Errorf("image %d of the cache is lost or damaged", n)
				}
			}
		})
	}
	for _, n := range c.images {
		image := coldImage(n)
		known[coldName(n)+"/1"] = true
		known[coldName(n)+"/"+string(image.Manifest.Digest)] = true
		for _, b := range image.Blobs {
			known[coldName(n)+"/"+string(b.Digest)] = true
		}
		queue <- n
	}
	close(queue)
	work.Wait()
	for _, q := range c.upstream.Requests() {
		if known[q.Repository+"/"+q.Reference] {
			t.Errorf("the upstream was asked again: %s %s %s", q.Method, q.Repository, q.Reference)
		}
	}
}
