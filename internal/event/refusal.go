package event

import "errors"

// Refusal is what the trail is told of a request that was turned away, beside what the request itself shows. It is kept for good, so
// nothing in it may name a person or be what was sent in place of a secret: people are their ids.
type Refusal struct {
	Kind      string // of Request; empty: what the answer says
	Account   int64  // whom a login was for, 0 = nobody that there is
	Operation string
	Path      string // what it was about; "<group>/<…>" if the group is to know of it
	Reason    string
	Decision  any // becomes JSON
}

// RefusalOf is what an error says of the refusal that it is; false for an error that says nothing.
func RefusalOf(err error) (Refusal, bool) {
	e, ok := errors.AsType[*RefusedError](err)
	if !ok {
		return Refusal{}, false
	}
	return e.Refusal, true
}

// RefusedError carries a Refusal in the chain of an error whose text is for clients.
type RefusedError struct {
	Refusal
	Cause error // may be nil
}

// Error implements error.
func (e *RefusedError) Error() string {
	if e.Cause != nil {
		return e.Cause.Error()
	}
	return e.Reason
}

// Unwrap returns the cause.
func (e *RefusedError) Unwrap() error { return e.Cause }
