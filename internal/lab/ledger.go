package lab

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

// Request is a request that an Upstream received.
type Request struct {
	Time       time.Time
	Method     string
	Kind       Kind
	Repository string
	Reference  string
	Host       string // as the client named it
	Proto      string // "HTTP/1.1", "HTTP/2.0"
	Query      string
	Header     http.Header
	Status     int // of the answer; 0 when there was none
}

// Count is how many requests of one sort came, and how many bytes of answers they took. Status 0 is no answer, or none yet.
type Count struct {
	Method   string `json:"method"`
	Kind     Kind   `json:"kind"`
	Status   int    `json:"status"`
	Requests int64  `json:"requests"`
	Bytes    int64  `json:"bytes"`
}

// ledger is what an Upstream remembers of its requests.
type ledger struct {
	open   int // being answered
	total  int
	epoch  int        // grows with every Forget
	recent []*Request // the last ones
	counts map[Count]*Count
	sent   map[oci.Digest]int64
	leaks  int // credentials that reached the storage host
}

func newLedger() ledger { return ledger{counts: map[Count]*Count{}, sent: map[oci.Digest]int64{}} }

// entry is the place in the ledger of one request.
type entry struct {
	request *Request
	bytes   int64
	epoch   int
}

// count moves the entry's figures into the sum of its sort, or out of it with sign -1.
func (l *ledger) count(e *entry, sign int64) {
	key := Count{Method: e.request.Method, Kind: e.request.Kind, Status: e.request.Status}
	c, ok := l.counts[key]
	if !ok {
		of := key
		c = &of
		l.counts[key] = c
	}
	c.Requests += sign
	c.Bytes += sign * e.bytes
	if c.Requests == 0 {
		delete(l.counts, key)
	}
}

// record notes a request.
func (u *Upstream) record(r *http.Request, p remotePath) *entry {
	e := &entry{request: &Request{
		Time: time.Now(), Method: knownMethod(r.Method), Kind: p.kind, Repository: p.repository, Reference: p.reference, Host: r.Host,
		Proto: r.Proto, Query: r.URL.RawQuery, Header: r.Header.Clone(),
	}}
	u.mu.Lock()
	defer u.mu.Unlock()
	l := &u.ledger
	e.epoch = l.epoch
	l.total++
	if len(l.recent) >= u.options.Remember {
		l.recent = slices.Clone(l.recent[(len(l.recent)+1)/2:])
	}
	l.recent = append(l.recent, e.request)
	l.count(e, 1)
	return e
}

// knownMethod keeps the number of sorts small, whatever clients send.
func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return m
	}
	return "other"
}

// status notes how the request is answered.
func (x *exchange) status(status int) { x.note(status, 0) }

// note adds to what is known of the request's answer.
func (x *exchange) note(status, bytes int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.entry.epoch != x.ledger.epoch {
		return // forgotten
	}
	x.ledger.count(x.entry, -1)
	if status != 0 {
		x.entry.request.Status = status
	}
	x.entry.bytes += int64(bytes)
	x.ledger.count(x.entry, 1)
}

// sentBytes counts bytes of the body of content.
func (x *exchange) sentBytes(digest oci.Digest, n int) {
	x.note(0, n)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.path.kind != KindTags && x.path.kind != KindReferrers { // made up for each answer
		x.ledger.sent[digest] += int64(n)
	}
}

// Requests returns a copy of the last requests, oldest first.
func (u *Upstream) Requests() []Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make([]Request, len(u.ledger.recent))
	for i, r := range u.ledger.recent {
		out[i] = *r
	}
	return out
}

// Count counts the requests of a kind among the last ones, refused ones too. An empty method or kind counts all.
func (u *Upstream) Count(method string, kind Kind) int {
	n := 0
	for _, r := range u.Requests() {
		if (method == "" || method == r.Method) && (kind == "" || kind == r.Kind) {
			n++
		}
	}
	return n
}

// Counts returns how many requests of each sort came.
func (u *Upstream) Counts() []Count {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []Count
	for _, c := range u.ledger.counts {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Status, b.Status))
	})
	return out
}

// Open is how many requests are being answered, or held.
func (u *Upstream) Open() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.ledger.open
}

// Sent is how many body bytes of a blob or manifest have been written, over all responses.
func (u *Upstream) Sent(digest oci.Digest) int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.ledger.sent[digest]
}

// Forget drops the requests and every count.
func (u *Upstream) Forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	open, epoch := u.ledger.open, u.ledger.epoch
	u.ledger = newLedger()
	u.ledger.open, u.ledger.epoch = open, epoch+1
}
