package content

import "time"

// tellEvery is how often somebody who waits for long work is told how far it is.
const tellEvery = time.Second

// turn is when somebody was last told.
type turn struct{ last time.Time }

// due reports whether to tell now: at once at first, and then now and then.
func (t *turn) due() bool {
	now := time.Now()
	if now.Sub(t.last) < tellEvery {
		return false
	}
	t.last = now
	return true
}

// counting takes the bytes of a blob that is fetched, and tells how many there were.
type counting struct{ *copying }

// Write implements io.Writer.
func (c counting) Write(p []byte) (int, error) {
	c.coming += int64(len(p))
	c.tell()
	return len(p), nil
}

// tell tells how far the copy is, now and then.
func (c *copying) tell() {
	if c.progress == nil || !c.told.due() {
		return
	}
	p := c.of
	p.Manifests, p.Blobs, p.Bytes = c.out.Manifests, c.out.Blobs, c.out.Bytes+c.coming
	p.TotalManifests, p.TotalBlobs, p.TotalBytes = max(p.TotalManifests, p.Manifests), max(p.TotalBlobs, p.Blobs), max(p.TotalBytes, p.Bytes)
	c.progress(p)
}
