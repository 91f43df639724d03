package faults

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/test/stack"
)

// journal is what the server has acknowledged, counted.
type journal struct {
	pushes, moves, deletes, uploads, pulls, fills atomic.Int64
	unclear                                       atomic.Int64 // requests that a kill cut off
	refused                                       atomic.Int64 // pushes that lost a blob to the collector, and said so
}

func (j *journal) String() string {
	return fmt.Sprintf("%d pushes, %d tags moved, %d deletes, %d parts of uploads, %d pulls, %d cold pulls acknowledged; %d requests cut off, %d pushes to be repeated",
		j.pushes.Load(), j.moves.Load(), j.deletes.Load(), j.uploads.Load(), j.pulls.Load(), j.fills.Load(), j.unclear.Load(), j.refused.Load())
}

// absent is the digest of a tag that does not exist.
const absent oci.Digest = ""

// pusher writes to one repository, which nobody else writes to: so it knows what must be there. It pushes few images over and
// over, which the other pushers push too: their blobs are linked, orphaned, collected and stored anew all the time.
type pusher struct {
	t       *testing.T
	journal *journal
	rand    *rand.Rand
	name    string
	other   string // repository of another pusher, to mount from

	tags      map[string][]oci.Digest           // what a tag may point to: one value but after a cut request
	manifests map[oci.Digest]registrytest.Image // acknowledged, or read after a cut request
	unclear   map[oci.Digest]registrytest.Image // may be there or not
	gone      map[oci.Digest]bool               // acknowledged deletes
	upload    *openUpload                       // that a kill has interrupted
	anew      bool                              // uploads of which no byte was acknowledged may be unknown: nothing but their ids tells of them
	again     bool                              // the server may say that it cannot for now: then nothing is known of what it did
}

// openUpload is an upload session: the server has acknowledged from bytes of it, and may have more.
type openUpload struct {
	location string
	content  registrytest.Content
	from, to int64
}

func newPusher(t *testing.T, j *journal, seed uint64, number, of int) *pusher {
	return &pusher{
		t: t, journal: j, rand: rand.New(rand.NewPCG(seed, uint64(number))),
		name: fmt.Sprintf("acme/push/w%d", number), other: fmt.Sprintf("acme/push/w%d", (number+1)%of),
		tags: map[string][]oci.Digest{}, manifests: map[oci.Digest]registrytest.Image{},
		unclear: map[oci.Digest]registrytest.Image{}, gone: map[oci.Digest]bool{},
	}
}

// run works until the server is killed.
func (p *pusher) run(r stack.Remote) {
	for p.step(r) {
	}
	p.journal.unclear.Add(1)
}

func (p *pusher) step(r stack.Remote) bool {
	switch n := p.rand.IntN(100); {
	case len(p.manifests) > 10:
		return p.deleteManifest(r)
	case n < 45:
		return p.push(r)
	case n < 60:
		return p.move(r)
	case n < 70:
		return p.deleteTag(r)
	case n < 85:
		return p.deleteManifest(r)
	default:
		return p.pull(r)
	}
}

// answered says whether a request was answered, with one of the statuses; any other is a fault of the server, but for those that
// say "again" where that may be.
func (p *pusher) answered(what string, a stack.Answer, statuses ...int) bool {
	if a.Err != nil || p.again && a.Status == 503 && a.Header.Get("Retry-After") != "" {
		return false
	}
	if !slices.Contains(statuses, a.Status) {
		p.t.Errorf("%s: %s: %d, want %v; %.300s", p.name, what, a.Status, statuses, a.Body)
		return false
	}
	return true
}

func (p *pusher) tag() string { return fmt.Sprintf("t%d", p.rand.IntN(6)) }

func (p *pusher) push(r stack.Remote) bool {
	image, tag := pushed(p.rand.Uint64N(pushedImages)), p.tag()
	for attempt := range 5 {
		for _, b := range image.Blobs {
			if !p.pushBlob(r, b, attempt > 0) {
				return false
			}
		}
		a := p.put(r, image, tag)
		if !p.answered("put manifest", a, 201, 404) {
			p.cutOff(image, tag)
			return false
		}
		if a.Status == 201 {
			p.journal.pushes.Add(1)
			p.acknowledged(image, tag)
			return true
		}
		p.journal.refused.Add(1) // a blob that was not pushed again has been collected meanwhile
	}
	return true
}

func (p *pusher) put(r stack.Remote, image registrytest.Image, ref string) stack.Answer {
	return r.Do(p.t, "PUT", p.name+"/manifests/"+ref, stack.Body(image.Manifest.MediaType, image.Manifest.Payload))
}

func (p *pusher) acknowledged(image registrytest.Image, tag string) {
	d := image.Manifest.Digest
	p.manifests[d], p.tags[tag] = image, []oci.Digest{d}
	delete(p.gone, d)
	delete(p.unclear, d)
}

func (p *pusher) cutOff(image registrytest.Image, tag string) {
	d := image.Manifest.Digest
	p.tags[tag] = append(p.possible(tag), d)
	delete(p.gone, d)
	if _, there := p.manifests[d]; !there {
		p.unclear[d] = image
	}
}

func (p *pusher) possible(tag string) []oci.Digest {
	if v, ok := p.tags[tag]; ok {
		return slices.Clone(v)
	}
	return []oci.Digest{absent}
}

func (p *pusher) pushBlob(r stack.Remote, b registrytest.Content, again bool) bool {
	uploads := p.name + "/blobs/uploads/"
	n := p.rand.IntN(5)
	if again {
		n = 0
	}
	switch n {
	case 0:
		return p.answered("push a blob", r.Do(p.t, "POST", uploads+"?digest="+string(b.Digest), stack.Body(oci.MediaTypeOctets, b.Bytes())), 201)
	case 1:
		a := r.Do(p.t, "HEAD", p.name+"/blobs/"+string(b.Digest))
		if !p.answered("look for a blob", a, 200, 404) || a.Status == 200 {
			return a.Err == nil
		}
	case 2:
		a := r.Do(p.t, "POST", uploads+"?mount="+string(b.Digest)+"&from="+p.other)
		if !p.answered("mount a blob", a, 201, 202) || a.Status == 201 {
			return a.Err == nil
		}
	}
	return p.sendParts(r, b)
}

func (p *pusher) sendParts(r stack.Remote, b registrytest.Content) bool {
	a := r.Do(p.t, "POST", p.name+"/blobs/uploads/")
	if !p.answered("start an upload", a, 202) {
		return false
	}
	return p.goOn(r, &openUpload{location: a.Header.Get("Location"), content: b})
}

// goOn sends an upload to its end, in a few parts.
func (p *pusher) goOn(r stack.Remote, u *openUpload) bool {
	p.upload = u
	b := u.content.Bytes()
	for u.from < u.content.Size {
		u.to = min(u.content.Size, u.from+2+p.rand.Int64N(u.content.Size)) // the range of one byte looks like that of none
		a := r.Do(p.t, "PATCH", u.location, stack.Body(oci.MediaTypeOctets, b[u.from:u.to]), stack.Header("Content-Range", fmt.Sprintf("%d-%d", u.from, u.to-1)))
		if a.Status == 404 && p.anew && u.from == 0 {
			p.upload = nil
			return p.pushBlob(r, u.content, true)
		}
		if !p.answered("send a part", a, 202) {
			return false
		}
		p.journal.uploads.Add(1)
		u.from, u.location = u.to, a.Header.Get("Location")
	}
	ok := p.answered("finish an upload", r.Do(p.t, "PUT", u.location+"?digest="+string(u.content.Digest)), 201)
	if ok {
		p.upload = nil
	}
	return ok
}

// any picks one of what is there; the order of a map is nobody's seed.
func (p *pusher) any() (oci.Digest, bool) {
	if len(p.manifests) == 0 {
		return "", false
	}
	keys := slices.Sorted(maps.Keys(p.manifests))
	return keys[p.rand.IntN(len(keys))], true
}

func (p *pusher) move(r stack.Remote) bool {
	d, ok := p.any()
	if !ok {
		return true
	}
	image, tag := p.manifests[d], p.tag()
	if !p.answered("move a tag", p.put(r, image, tag), 201) {
		p.cutOff(image, tag)
		return false
	}
	p.journal.moves.Add(1)
	p.acknowledged(image, tag)
	return true
}

func (p *pusher) deleteTag(r stack.Remote) bool {
	tag := p.tag()
	want := 202
	if p.possible(tag)[0] == absent {
		want = 404
	}
	if !p.answered("delete a tag", r.Do(p.t, "DELETE", p.name+"/manifests/"+tag), want) {
		p.tags[tag] = append(p.possible(tag), absent)
		return false
	}
	p.tags[tag] = []oci.Digest{absent}
	p.journal.deletes.Add(1)
	return true
}

func (p *pusher) deleteManifest(r stack.Remote) bool {
	d, ok := p.any()
	if !ok {
		return true
	}
	done := p.answered("delete a manifest", r.Do(p.t, "DELETE", p.name+"/manifests/"+string(d)), 202)
	for tag, values := range p.tags {
		switch {
		case !slices.Contains(values, d):
		case done:
			p.tags[tag] = []oci.Digest{absent}
		default:
			p.tags[tag] = append(values, absent)
		}
	}
	if done {
		p.gone[d] = true
		p.journal.deletes.Add(1)
	} else {
		p.unclear[d] = p.manifests[d]
	}
	delete(p.manifests, d)
	return done
}

func (p *pusher) pull(r stack.Remote) bool {
	d, ok := p.any()
	if !ok {
		return true
	}
	p.journal.pulls.Add(1)
	return p.intact(r, d)
}

// intact pulls an image that must be there and compares every byte.
func (p *pusher) intact(r stack.Remote, d oci.Digest) bool {
	image := p.manifests[d]
	ok := p.same(r, p.name+"/manifests/"+string(d), image.Manifest.Payload)
	for _, b := range image.Blobs {
		ok = ok && p.same(r, p.name+"/blobs/"+string(b.Digest), b.Bytes())
	}
	return ok
}

func (p *pusher) same(r stack.Remote, path string, content []byte) bool {
	a := r.Do(p.t, "GET", path)
	if !p.answered("pull "+path, a, 200) {
		return false
	}
	if !bytes.Equal(a.Body, content) {
		p.t.Errorf("%s: %d bytes differ from the %d pushed", path, len(a.Body), len(content))
		return false
	}
	return true
}

// settle compares the repository with what was acknowledged, byte for byte, after a restart, and finds out what became of
// requests that the kill cut off. An interrupted upload goes on.
func (p *pusher) settle(r stack.Remote) {
	for d, image := range p.unclear {
		a := r.Do(p.t, "GET", p.name+"/manifests/"+string(d))
		if p.answered("a manifest whose push or delete was cut off", a, 200, 404) && a.Status == 200 {
			p.manifests[d] = image // seen, so it must stay
		}
		delete(p.unclear, d)
	}
	for d := range p.manifests {
		p.intact(r, d)
	}
	for d := range p.gone {
		p.answered("a deleted manifest", r.Do(p.t, "GET", p.name+"/manifests/"+string(d)), 404)
	}
	for tag, values := range p.tags {
		p.settleTag(r, tag, values)
	}
	if p.upload != nil {
		p.settleUpload(r, p.upload)
	}
}

func (p *pusher) settleTag(r stack.Remote, tag string, values []oci.Digest) {
	a := r.Do(p.t, "GET", p.name+"/manifests/"+tag)
	if !p.answered("read a tag", a, 200, 404) {
		return
	}
	found := absent
	if a.Status == 200 {
		found = oci.DigestOf(oci.SHA256, a.Body)
	}
	if !slices.Contains(values, found) {
		p.t.Errorf("%s:%s is %q, acknowledged was one of %q", p.name, tag, found, values)
	}
	p.tags[tag] = []oci.Digest{found}
}

func (p *pusher) settleUpload(r stack.Remote, u *openUpload) {
	p.upload = nil
	a := r.Do(p.t, "GET", u.location)
	// A session may be gone, if the kill came within its last request, or before its first byte was acknowledged.
	if !p.answered("look for an interrupted upload", a, 204, 404) || a.Status == 404 {
		if a.Status == 404 && u.from > 0 && u.to < u.content.Size {
			p.t.Errorf("%s: an upload of which %d bytes were acknowledged is gone", p.name, u.from)
		}
		return
	}
	var last int64
	if _, err := fmt.Sscanf(a.Header.Get("Range"), "0-%d", &last); err != nil {
		p.t.Errorf("%s: the range of an upload: %q", p.name, a.Header.Get("Range"))
		return
	}
	if last > 0 {
		last++ // the range is inclusive, and an empty one looks like one byte
	}
	if last == 0 && u.from == u.content.Size {
		return // it was finished: an id that has ended looks like one that has not begun
	}
	if last < u.from || last > max(u.to, 1) {
		p.t.Errorf("%s: an upload has %d bytes, %d were acknowledged and %d sent", p.name, last, u.from, u.to)
	}
	u.from = last
	p.goOn(r, u)
}

const pushedImages = 40

var imagesPushed sync.Map

// pushed is an image that pushers push. Its blobs are of very different sizes.
func pushed(seed uint64) registrytest.Image {
	if v, ok := imagesPushed.Load(seed); ok {
		return v.(registrytest.Image)
	}
	sizes := []int64{100, 5000, 70_000, 300_000, 1 << 20}
	image := registrytest.RandomImage(seed, 1+int(seed%3), sizes[seed%uint64(len(sizes))])
	imagesPushed.Store(seed, image)
	return image
}
