package event

// Request is one finished request, for the trail of pulls, refusals and logins. It holds no names of people and no credentials.
type Request struct {
	At        int64 // microseconds since 1970
	Kind      string
	Actor     Actor
	Path      string // "<group>/<…>" that grants cover; empty for what is about no repository
	Reference string // tag or digest
	Operation string // manifest, blob, …
	Method    string
	Status    int
	Bytes     int64 // of the response body
	Cache     string
	Member    string // upstream that answered
	Reason    string // why it is stale, or was refused
	Code      string // of the error
	Decision  any    // becomes JSON; kept unless the answer came fresh from the store
}

// Kinds of Request.
const (
	Pull          = "pull"           // content was sent
	PullChecked   = "pull.checked"   // the same without its bytes: HEAD, or nothing has changed
	PullDenied    = "pull.denied"    // the caller, or a rule, does not allow it
	PullFailed    = "pull.failed"    // there is nothing, or it cannot be had right now
	PushDenied    = "push.denied"    // a change through the registry API that the caller may not make
	APIDenied     = "api.denied"     // an operation of the API that the caller may not use
	LoginAccepted = "login.accepted" // the token endpoint has given a token to an account
	LoginRefused  = "login.refused"  // credentials that are not good
	LoginLimited  = "login.limited"  // too many of them

	RequestLimited = "request.limited" // more requests than one account or address may make

	PullsCounted = "pull.counted" // pulls of one repository by one account that could not be kept one by one
	Gap          = "gap"          // such pulls follow: from when to when, and how many
)

// Hit reports whether the answer came fresh from the store: what must never wait.
func (r *Request) Hit() bool {
	return (r.Kind == Pull || r.Kind == PullChecked) && (r.Cache == "" || r.Cache == "hit")
}
