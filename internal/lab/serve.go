package lab

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/weir-registry/weir/internal/oci"
)

// remotePath is what a request asks for.
type remotePath struct {
	kind       Kind
	repository string
	reference  string
}

func parsePath(path string) remotePath {
	switch path {
	case "/v2/":
		return remotePath{kind: KindPing}
	case "/token":
		return remotePath{kind: KindToken}
	}
	rest := strings.TrimPrefix(path, "/v2/")
	for segment, kind := range map[string]Kind{
		"/manifests/": KindManifest, "/blobs/": KindBlob, "/tags/": KindTags, "/referrers/": KindReferrers,
	} {
		if i := strings.LastIndex(rest, segment); i > 0 {
			return remotePath{kind: kind, repository: rest[:i], reference: rest[i+len(segment):]}
		}
	}
	return remotePath{kind: KindOther}
}

// exchange is one request being answered.
type exchange struct {
	*Upstream
	w        http.ResponseWriter
	r        *http.Request
	path     remotePath
	behavior Behavior // as it was when the request came
	fault    Fault
	entry    *entry
}

func (u *Upstream) serve(w http.ResponseWriter, r *http.Request) {
	if rest, ok := strings.CutPrefix(r.URL.Path, controlPath); ok {
		u.control(w, r, rest)
		return
	}
	p := parsePath(r.URL.Path)
	x := &exchange{Upstream: u, w: w, r: r, path: p, entry: u.record(r, p)}
	u.mu.Lock()
	x.behavior = u.behavior
	u.mu.Unlock()
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	if p.kind != KindToken && !x.authorized() {
		return
	}
	x.fault = u.match(r.Method, p)
	if !x.begin() {
		return
	}
	switch p.kind {
	case KindPing:
		x.answer(http.StatusOK, "application/json", []byte("{}"))
	case KindToken:
		x.token()
	case KindManifest:
		x.manifest()
	case KindBlob:
		x.blob()
	case KindTags:
		x.tags()
	case KindReferrers:
		x.referrers()
	default:
		x.fail(http.StatusNotFound, "NOT_FOUND")
	}
}

// match finds the fault for a request and uses it up.
func (u *Upstream) match(method string, p remotePath) Fault {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range u.behavior.Rules {
		r := &u.behavior.Rules[i]
		if !r.covers(method, p) || r.usedUp() {
			continue
		}
		if r.seen++; r.seen > r.Skip {
			return r.Fault
		}
	}
	return Fault{}
}

// covers reports whether the rule is about such a request.
func (r *Rule) covers(method string, p remotePath) bool {
	return (r.Method == "" || r.Method == method) && (r.Kind == "" || r.Kind == p.kind) &&
		(r.Repository == "" || r.Repository == p.repository) && (r.Reference == "" || r.Reference == p.reference)
}

func (r *Rule) usedUp() bool { return r.Times > 0 && r.seen >= r.Skip+r.Times }

// begin plays the part of the fault that comes before an answer; false means that the request is done with.
func (x *exchange) begin() bool {
	f := x.fault
	if f.Delay > 0 {
		x.pause(f.Delay)
	}
	if f.Gate != nil && f.GateAt == 0 {
		x.wait(f.Gate)
	}
	if f.Hang {
		x.wait(nil)
		panic(http.ErrAbortHandler)
	}
	if f.Reset {
		x.reset()
	}
	maps.Copy(x.w.Header(), f.Header)
	if f.Status == 0 {
		return true
	}
	if f.Body == "" {
		x.fail(f.Status, strings.ToUpper(strings.ReplaceAll(http.StatusText(f.Status), " ", "")))
		return false
	}
	x.answer(f.Status, "text/plain", []byte(f.Body))
	return false
}

// answer sends a small body in one piece.
func (x *exchange) answer(status int, contentType string, body []byte) {
	if x.w.Header().Get("Content-Type") == "" {
		x.w.Header().Set("Content-Type", contentType)
	}
	x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	x.status(status)
	x.w.WriteHeader(status)
	if x.r.Method != http.MethodHead {
		n, _ := x.w.Write(body)
		x.note(0, n)
	}
}

func (x *exchange) fail(status int, code string) {
	body, _ := json.Marshal(map[string]any{"errors": []map[string]string{{"code": code, "message": http.StatusText(status)}}})
	x.answer(status, "application/json", body)
}

func (x *exchange) manifest() {
	x.mu.Lock()
	repository, ok := x.repositories[x.path.repository]
	var c Content
	var found bool
	if ok {
		digest := oci.Digest(x.path.reference)
		if !strings.Contains(x.path.reference, ":") {
			digest = x.tag(repository)
		}
		c, found = repository.manifests[digest]
	}
	x.mu.Unlock()
	if !x.charge() {
		return
	}
	switch {
	case !ok:
		x.fail(http.StatusNotFound, string(oci.CodeNameUnknown))
	case !found:
		x.fail(http.StatusNotFound, string(oci.CodeManifestUnknown))
	default:
		x.send(c)
	}
}

// tag is what the tag that is asked for leads to; empty if it is not there.
func (x *exchange) tag(r *repository) oci.Digest {
	digest := r.tags[x.path.reference]
	switch {
	case x.fault.TagDeleted:
		return ""
	case !x.fault.TagMoved || digest == "":
		return digest
	}
	names := slices.Sorted(maps.Keys(r.tags))
	at := slices.Index(names, x.path.reference)
	for i := range names {
		if other := r.tags[names[(at+i)%len(names)]]; other != digest {
			return other
		}
	}
	return digest
}

// charge counts a manifest request against the rate limit; false when it was refused.
func (x *exchange) charge() bool {
	x.mu.Lock()
	b := &x.Upstream.behavior
	limited := b.RateLimit > 0
	refused := limited && b.RateRemaining <= 0
	if limited && !refused && x.r.Method == http.MethodGet {
		b.RateRemaining--
	}
	if limited {
		x.w.Header().Set("Ratelimit-Limit", fmt.Sprintf("%d;w=%d", b.RateLimit, b.RateWindow))
		x.w.Header().Set("Ratelimit-Remaining", fmt.Sprintf("%d;w=%d", b.RateRemaining, b.RateWindow))
	}
	x.mu.Unlock()
	if refused && x.r.Method == http.MethodGet {
		x.fail(http.StatusTooManyRequests, string(oci.CodeTooManyRequests))
		return false
	}
	return true
}

func (x *exchange) blob() {
	x.mu.Lock()
	var c Content
	var found bool
	if r, ok := x.repositories[x.path.repository]; ok {
		c, found = r.blobs[oci.Digest(x.path.reference)]
	}
	x.mu.Unlock()
	switch {
	case !found:
		x.fail(http.StatusNotFound, string(oci.CodeBlobUnknown))
	case x.behavior.Redirect:
		x.w.Header().Set("Location", x.sign(c))
		x.answer(http.StatusTemporaryRedirect, "text/plain", nil)
	default:
		x.send(c)
	}
}

func (x *exchange) tags() {
	x.mu.Lock()
	r, ok := x.repositories[x.path.repository]
	var names []string
	if ok {
		names = slices.DeleteFunc(slices.Sorted(maps.Keys(r.tags)), x.deleted)
	}
	x.mu.Unlock()
	if !ok {
		x.fail(http.StatusNotFound, string(oci.CodeNameUnknown))
		return
	}
	names = paged(x, names, func(s string) string { return s })
	body, _ := json.Marshal(map[string]any{"name": x.path.repository, "tags": names})
	x.send(BytesContent("application/json", body))
}

// deleted reports whether a rule says that a tag is gone. x.mu must be held.
func (x *exchange) deleted(tag string) bool {
	p := remotePath{kind: KindManifest, repository: x.path.repository, reference: tag}
	for i := range x.Upstream.behavior.Rules {
		if r := &x.Upstream.behavior.Rules[i]; r.Fault.TagDeleted && r.covers(http.MethodGet, p) && !r.usedUp() {
			return true
		}
	}
	return false
}

func (x *exchange) referrers() {
	if x.behavior.NoReferrers {
		x.fail(http.StatusNotFound, string(oci.CodeNameUnknown))
		return
	}
	index := v1.Index{MediaType: oci.MediaTypeImageIndex, Manifests: []oci.Descriptor{}}
	index.SchemaVersion = 2
	filter := x.r.URL.Query().Get("artifactType")
	x.mu.Lock()
	if r, ok := x.repositories[x.path.repository]; ok {
		for _, d := range slices.Sorted(maps.Keys(r.manifests)) {
			if referrer, ok := referrerTo(r.manifests[d], oci.Digest(x.path.reference)); ok &&
				(filter == "" || x.behavior.Unfiltered || referrer.ArtifactType == filter) {
				index.Manifests = append(index.Manifests, referrer)
			}
		}
	}
	x.mu.Unlock()
	if filter != "" && !x.behavior.Unfiltered {
		x.w.Header().Set("Oci-Filters-Applied", "artifactType")
	}
	index.Manifests = paged(x, index.Manifests, func(d oci.Descriptor) string { return string(d.Digest) })
	x.send(BytesContent(oci.MediaTypeImageIndex, encode(index)))
}

func referrerTo(c Content, subject oci.Digest) (oci.Descriptor, bool) {
	parsed, err := oci.ParseManifest(c.MediaType, c.Bytes())
	if err != nil || parsed.Subject == nil || parsed.Subject.Digest != subject {
		return oci.Descriptor{}, false
	}
	d := c.Descriptor
	d.ArtifactType, d.Annotations = parsed.ArtifactType, parsed.Annotations
	return d, true
}

// paged cuts the page that the request asks for out of all, which is sorted by name, and announces the next one.
func paged[T any](x *exchange, all []T, name func(T) string) []T {
	q := x.r.URL.Query()
	last := q.Get("last")
	all = slices.DeleteFunc(slices.Clone(all), func(v T) bool { return last != "" && name(v) <= last })
	n, _ := strconv.Atoi(q.Get("n"))
	if c := x.behavior.PageCap; c > 0 && (n == 0 || n > c) {
		n = c
	}
	if n <= 0 || len(all) <= n {
		return all
	}
	if x.behavior.Link != LinkLoop {
		q.Set("last", name(all[n-1]))
	}
	x.link(x.r.URL.Path, q)
	return all[:n]
}

func (x *exchange) link(path string, q url.Values) {
	format := `<%s?%s>; rel="next"`
	switch x.behavior.Link {
	case LinkAbsolute:
		path = x.base(x.r) + path
	case LinkQuery:
		path = ""
	case LinkForeign:
		path = x.storageBase(x.r) + path
	case LinkBroken:
		format = `%s?%s; next`
	case LinkMissing:
		return
	}
	x.w.Header().Set("Link", fmt.Sprintf(format, path, q.Encode()))
}
