package registrytest

import (
	"net/http"
	"testing"

	"github.com/weir-registry/weir/internal/lab"
)

// The upstream of tests is the lab's. These are its words.
type (
	Behavior = lab.Behavior
	Auth     = lab.Auth
	Link     = lab.Link
	Kind     = lab.Kind
	Rule     = lab.Rule
	Fault    = lab.Fault
	Request  = lab.Request
	Content  = lab.Content
	Image    = lab.Image
)

// See package lab.
const (
	AuthNone   = lab.AuthNone
	AuthBasic  = lab.AuthBasic
	AuthBearer = lab.AuthBearer

	LinkRelative = lab.LinkRelative
	LinkAbsolute = lab.LinkAbsolute
	LinkQuery    = lab.LinkQuery
	LinkMissing  = lab.LinkMissing
	LinkBroken   = lab.LinkBroken
	LinkForeign  = lab.LinkForeign
	LinkLoop     = lab.LinkLoop

	KindPing      = lab.KindPing
	KindManifest  = lab.KindManifest
	KindBlob      = lab.KindBlob
	KindTags      = lab.KindTags
	KindReferrers = lab.KindReferrers
	KindToken     = lab.KindToken
	KindStorage   = lab.KindStorage
)

// See package lab.
var (
	Status          = lab.Status
	TooManyRequests = lab.TooManyRequests
	BytesContent    = lab.BytesContent
	RandomBlob      = lab.RandomBlob
	RandomImage     = lab.RandomImage
	RandomIndex     = lab.RandomIndex
	RandomArtifact  = lab.RandomArtifact
)

// Upstream is a lab.Upstream for one test. Credentials that reach its storage host fail the test.
type Upstream struct {
	*lab.Upstream
	t testing.TB
}

// UpstreamOptions are fixed for the life of an Upstream.
type UpstreamOptions struct {
	TLS   bool // with a certificate of its own, see CA
	HTTP2 bool // needs TLS; note that resets become stream resets
}

// NewUpstream starts an Upstream that stops when the test ends.
func NewUpstream(t testing.TB, o UpstreamOptions) *Upstream {
	t.Helper()
	u, err := lab.New(lab.Options{TLS: o.TLS, HTTP2: o.HTTP2, Remember: 1 << 17, Leaked: func(h http.Header) {
		t.Errorf("credentials or a Referer reached the redirect host: %v", h)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	return &Upstream{u, t}
}

// PutFixture adds a fixture.
func (u *Upstream) PutFixture(f Fixture) {
	for _, item := range f {
		u.Put(item.Repository, item.Tags, item.Image)
	}
}

// Restart listens again on the address that Stop freed.
func (u *Upstream) Restart() {
	u.t.Helper()
	if err := u.Upstream.Restart(); err != nil {
		u.t.Fatal(err)
	}
}
