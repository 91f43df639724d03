package lab

import (
	"net/http"
	"time"
)

// Behavior is how an Upstream behaves: its login, its vendor's defects, and rules that make single requests fail. The zero
// value is a well-behaved public registry. Change it with Upstream.Set.
type Behavior struct {
	Auth             Auth
	Username         string // with a username, anonymous requests (Basic) and anonymous token requests (Bearer) are refused
	Password         string
	IdentityToken    string        // accepted by POST to the token endpoint, grant_type=refresh_token
	Realm            string        // instead of the Upstream's own token endpoint
	ExpiresIn        int           // seconds, in the answer of the token endpoint; 0 leaves the field out
	TokenLife        time.Duration // a token is good for so long, whatever ExpiresIn says; 0 = for ever
	AccessTokenField bool          // "access_token" instead of "token"
	NoScope          bool          // challenges name no scope
	NoTokenPOST      bool          // the token endpoint answers POST with 404
	RejectTokens     bool          // 401 whatever the token: the login loop
	Denied           []string      // repositories that no token opens: 401 insufficient_scope, as Docker Hub answers
	Forbidden        []string      // repositories that answer 403 DENIED once a token is shown

	NoDigestHeader    bool // Docker-Content-Digest is missing
	WrongDigestHeader bool // Docker-Content-Digest names other content
	NoReferrers       bool // the referrers API answers 404
	Unfiltered        bool // the artifactType filter is ignored
	IgnoreRange       bool // 200 with everything instead of 206
	PageCap           int  // names on a page of tags (or referrers), whatever n says; 0 = no cap
	Link              Link // how the next page is announced

	Redirect   bool          // blobs are answered by 307 to a signed URL on another host
	SignedUses int           // a signed URL answers this many requests, then 403; 0 = any number, -1 = none
	SignedLife time.Duration // a signed URL is good for so long; 0 = for ever

	RateLimit     int // sends ratelimit-limit; manifest GETs count against it
	RateRemaining int // what is left; 429 at 0
	RateWindow    int // seconds

	BytesPerSecond int64 // of every body; 0 = as fast as it goes
	Rules          []Rule

	lines []string // faults of the whole upstream as people wrote them, see Play
}

// Auth is how an Upstream asks for a login.
type Auth uint8

// Ways to ask for a login.
const (
	AuthNone Auth = iota
	AuthBasic
	AuthBearer
)

// Link is how an Upstream announces the next page.
type Link uint8

// Ways to announce the next page.
const (
	LinkRelative Link = iota // </v2/…?last=…>; rel="next"
	LinkAbsolute             // <http://host/v2/…?last=…>; rel="next"
	LinkQuery                // <?last=…>; rel="next"
	LinkMissing              // there is more, but no header says so
	LinkBroken               // a header that is not a link
	LinkForeign              // a link to another host
	LinkLoop                 // a link to the same page
)

// Kind is what a request to an Upstream asks for.
type Kind string

// Kinds of request.
const (
	KindPing      Kind = "ping"
	KindManifest  Kind = "manifest"
	KindBlob      Kind = "blob"
	KindTags      Kind = "tags"
	KindReferrers Kind = "referrers"
	KindToken     Kind = "token"
	KindStorage   Kind = "storage" // the host that blobs are redirected to
	KindOther     Kind = "other"
)

// Rule makes matching requests fail. Rules apply to requests that passed the login. The first one that matches and is not
// used up counts.
type Rule struct {
	Method     string // empty = any, as are the empty values of the next three
	Kind       Kind
	Repository string
	Reference  string // tag or digest
	Skip       int    // let this many matching requests pass first
	Times      int    // then fail this many; 0 = all
	Fault      Fault

	seen int
	line string // as people wrote it, see Play
}

// Fault is what goes wrong with a request. Bytes are counted within the body of one response.
type Fault struct {
	Delay          time.Duration   // wait so long before anything else
	Status         int             // answer this instead
	Header         http.Header     // set on the answer, with or without Status
	Body           string          // of the answer with Status; a plain OCI error if empty
	Gate           <-chan struct{} // wait until it is closed
	GateAt         int64           // wait for Gate after this many bytes; 0 = before the headers
	Hang           bool            // no answer until the client goes away
	HangAt         int64           // as Hang, after this many bytes
	Reset          bool            // TCP reset instead of an answer
	ResetAt        int64           // TCP reset after this many bytes
	CutAt          int64           // connection closed after this many bytes
	FlipAt         int64           // the byte of this number, counted from 1 within the content, is wrong
	Extra          int64           // this many bytes too many, Content-Length included
	Length         int64           // Content-Length is off by this much; what goes beyond it is not sent
	NoLength       bool            // no Content-Length: chunked
	BytesPerSecond int64           // slow drip
	TagMoved       bool            // a tag leads to the manifest of the next tag that has another one
	TagDeleted     bool            // a tag is not there, nor in the list
}

// Status is a fault that answers status with an OCI error.
func Status(status int) Fault { return Fault{Status: status} }

// TooManyRequests is a 429. retryAfter is sent unless it is empty.
func TooManyRequests(retryAfter string) Fault {
	f := Fault{Status: http.StatusTooManyRequests, Header: http.Header{}}
	if retryAfter != "" {
		f.Header.Set("Retry-After", retryAfter)
	}
	return f
}
