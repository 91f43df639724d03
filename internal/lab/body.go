package lab

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

// signedURL is a URL of the storage host that needs no other proof.
type signedURL struct {
	content Content
	uses    int // left; negative = any number
	expires time.Time
}

func (x *exchange) sign(c Content) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.issued++
	id := strconv.Itoa(x.issued)
	s := &signedURL{content: c, uses: -1, expires: until(x.behavior.SignedLife)}
	if x.behavior.SignedUses != 0 {
		s.uses = max(0, x.behavior.SignedUses)
	}
	makeRoom(x.signed)
	x.signed[id] = s
	return x.storageBase(x.r) + "/data/" + id + "?" + url.Values{"X-Signature": {"secret-" + id}}.Encode()
}

func (u *Upstream) serveStorage(w http.ResponseWriter, r *http.Request) {
	p := remotePath{kind: KindStorage}
	id := strings.TrimPrefix(r.URL.Path, "/data/")
	u.mu.Lock()
	s := u.signed[id]
	if s != nil {
		p.reference = string(s.content.Digest)
	}
	b := u.behavior
	u.mu.Unlock()
	x := &exchange{Upstream: u, w: w, r: r, path: p, behavior: b, entry: u.record(r, p)}
	if r.Header.Get("Authorization") != "" || r.Header.Get("Referer") != "" || r.Header.Get("Cookie") != "" {
		u.leak(r.Header)
		x.answer(http.StatusBadRequest, "application/xml", []byte("<Error><Code>InvalidArgument</Code></Error>"))
		return
	}
	if s == nil || r.URL.Query().Get("X-Signature") != "secret-"+id || !u.use(s) {
		x.answer(http.StatusForbidden, "application/xml", []byte("<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"))
		return
	}
	if x.fault = u.match(r.Method, p); x.begin() {
		x.w.Header().Set("Content-Type", oci.MediaTypeOctets)
		x.send(s.content)
	}
}

// leak notes credentials that have come where they must not.
func (u *Upstream) leak(h http.Header) {
	u.mu.Lock()
	u.ledger.leaks++
	u.mu.Unlock()
	if u.options.Leaked != nil {
		u.options.Leaked(h.Clone())
	}
}

func (u *Upstream) use(s *signedURL) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if s.uses == 0 || expired(s.expires) {
		return false
	}
	s.uses--
	return true
}

// send answers with content, or the range of it that was asked for, and everything that is wrong with it.
func (x *exchange) send(c Content) {
	h := x.w.Header()
	h.Set("Content-Type", c.MediaType)
	if x.path.kind == KindManifest || x.path.kind == KindBlob {
		x.digestHeader(c.Digest)
	}
	offset, length, status := int64(0), c.Size, http.StatusOK
	if spec := x.r.Header.Get("Range"); spec != "" && !x.behavior.IgnoreRange {
		var ok bool
		if offset, length, ok = parseRange(spec, c.Size); !ok {
			h.Set("Content-Range", fmt.Sprintf("bytes */%d", c.Size))
			x.fail(http.StatusRequestedRangeNotSatisfiable, string(oci.CodeRangeInvalid))
			return
		}
		status = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, offset+length-1, c.Size))
	}
	if !x.fault.NoLength && h.Get("Content-Length") == "" {
		h.Set("Content-Length", strconv.FormatInt(length+x.fault.Extra+x.fault.Length, 10))
	}
	for key, values := range x.fault.Header { // what the fault says wins
		h[key] = values
	}
	x.status(status)
	x.w.WriteHeader(status)
	if x.r.Method == http.MethodHead {
		return
	}
	body := io.MultiReader(io.NewSectionReader(c.Source, offset, length), io.LimitReader(filler{}, x.fault.Extra))
	if x.fault.Length < 0 { // the server would refuse to send more than it declared
		body = io.LimitReader(body, length+x.fault.Extra+x.fault.Length)
	}
	x.write(c.Digest, body, offset)
}

// otherDigest is of content that nobody has.
const otherDigest = oci.Digest("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")

func (x *exchange) digestHeader(digest oci.Digest) {
	switch {
	case x.behavior.NoDigestHeader:
		return
	case x.behavior.WrongDigestHeader:
		digest = otherDigest
	}
	x.w.Header().Set("Docker-Content-Digest", string(digest))
}

// write copies the body in steps that end where something is to go wrong. start is the body's offset in the content.
func (x *exchange) write(digest oci.Digest, body io.Reader, start int64) {
	f, rate := x.fault, x.behavior.BytesPerSecond
	if f.BytesPerSecond > 0 {
		rate = f.BytesPerSecond
	}
	buf := make([]byte, 32<<10)
	if rate > 0 {
		buf = buf[:max(1, min(int64(len(buf)), rate/50))]
	}
	for done := int64(0); ; {
		x.interrupt(done)
		step := int64(len(buf))
		for _, at := range []int64{f.CutAt, f.HangAt, f.ResetAt, f.GateAt} {
			if at > done {
				step = min(step, at-done)
			}
		}
		n, err := io.ReadFull(body, buf[:step])
		if i := f.FlipAt - 1 - start - done; f.FlipAt > 0 && i >= 0 && i < int64(n) {
			buf[i] ^= 0x40
		}
		written, werr := x.w.Write(buf[:n])
		done += int64(written)
		x.sentBytes(digest, written)
		if err != nil || werr != nil {
			return
		}
		if rate > 0 {
			x.flush()
			x.pause(time.Duration(n) * time.Second / time.Duration(rate))
		}
	}
}

// interrupt plays what is to happen after done bytes.
func (x *exchange) interrupt(done int64) {
	if done == 0 {
		return
	}
	switch done {
	case x.fault.CutAt:
		x.flush()
		panic(http.ErrAbortHandler)
	case x.fault.ResetAt:
		x.flush()
		x.reset()
	case x.fault.HangAt:
		x.flush()
		x.wait(nil)
		panic(http.ErrAbortHandler)
	case x.fault.GateAt:
		x.flush()
		x.wait(x.fault.Gate)
	}
}

func (x *exchange) flush() { _ = http.NewResponseController(x.w).Flush() }

// wait blocks until gate is closed, the client leaves or the test ends.
func (x *exchange) wait(gate <-chan struct{}) {
	select {
	case <-gate:
	case <-x.r.Context().Done():
	case <-x.done:
	}
}

func (x *exchange) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-x.r.Context().Done():
	case <-x.done:
	}
}

// reset ends the connection with a TCP reset and does not return.
func (x *exchange) reset() {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil { // HTTP/2: the nearest is a stream reset
		panic(http.ErrAbortHandler)
	}
	inner := conn
	for {
		t, ok := inner.(interface{ NetConn() net.Conn }) // TLS, and the count of connections
		if !ok {
			break
		}
		inner = t.NetConn()
	}
	if tcp, ok := inner.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
	_ = inner.Close()
	panic(http.ErrAbortHandler)
}

// parseRange reads the one form of Range that clients of a registry send.
func parseRange(spec string, size int64) (offset, length int64, ok bool) {
	spec, ok = strings.CutPrefix(spec, "bytes=")
	from, to, dash := strings.Cut(spec, "-")
	if !ok || !dash {
		return 0, 0, false
	}
	if from == "" {
		n, err := strconv.ParseInt(to, 10, 64)
		n = min(n, size)
		return size - n, n, err == nil && n > 0
	}
	offset, err := strconv.ParseInt(from, 10, 64)
	if err != nil || offset >= size {
		return 0, 0, false
	}
	end := size - 1
	if to != "" {
		if end, err = strconv.ParseInt(to, 10, 64); err != nil || end < offset {
			return 0, 0, false
		}
	}
	return offset, min(end, size-1) - offset + 1, true
}

type filler struct{}

func (filler) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}
