package registry

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

// Outcome is the answer of one member of a virtual registry, or of one remote (docs/explanation/resolution.md).
type Outcome uint8

// The five answers.
const (
	Found     Outcome = iota + 1 // here it is
	Absent                       // authoritative no: 404, or excluded by a rule or claim
	Denied                       // our credentials work, but not for this
	Unknown                      // unreachable, 5xx, 429, timeout, bad credentials, bad bytes
	Forbidden                    // the caller may not (local members only)
)

// String is the word used in decisions, logs and metrics.
func (o Outcome) String() string {
	switch o {
	case Found:
		return "found"
	case Absent:
		return "absent"
	case Denied:
		return "denied"
	case Unknown:
		return "unknown"
	case Forbidden:
		return "forbidden"
	}
	return "none"
}

// MarshalText makes decisions readable as JSON.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads what MarshalText wrote; unknown words are no answer.
func (o *Outcome) UnmarshalText(text []byte) error {
	for *o = Found; *o <= Forbidden; *o++ {
		if o.String() == string(text) {
			return nil
		}
	}
	*o = 0
	return nil
}

// OutcomeError is an upstream's answer that is not "found". Reason is safe to show to people who may see the upstream: no
// secrets, no URLs with queries.
type OutcomeError struct {
	Outcome    Outcome
	Status     int           // HTTP status of the upstream, 0 when there was none
	Reason     string        // "connection refused", "429 Too Many Requests", "budget exhausted", …
	At         time.Time     // when that was, for an answer that is remembered while the upstream is left alone; zero = now
	Limited    bool          // a rate limit is the cause
	RetryAfter time.Duration // how long the upstream, budget or breaker wants to be left alone; 0 if it did not say
	Err        error         // for the log
}

// Error implements error.
func (e *OutcomeError) Error() string {
	if e.Err != nil && !strings.HasSuffix(e.Reason, e.Err.Error()) { // the reason may be the error's own words
		return fmt.Sprintf("%s: %s: %v", e.Outcome, e.Reason, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Outcome, e.Reason)
}

// Unwrap returns the underlying error.
func (e *OutcomeError) Unwrap() error { return e.Err }

// WrongBytesError is the cause of an Unknown answer: what came has another digest than what was asked for, or announced.
type WrongBytesError struct{ Want, Got oci.Digest }

// Error implements error.
func (e *WrongBytesError) Error() string {
	return fmt.Sprintf("wrong bytes: the manifest of digest %s has digest %s", e.Want, e.Got)
}

// AsOutcome turns any error of a Registry into an OutcomeError: protocol errors with a 404 code are Absent, DENIED and
// UNAUTHORIZED are Denied, everything else is Unknown. nil stays nil.
func AsOutcome(err error) *OutcomeError {
	if err == nil {
		return nil
	}
	if o, ok := errors.AsType[*OutcomeError](err); ok {
		return o
	}
	switch oci.ErrorCode(err) {
	case oci.CodeNameUnknown, oci.CodeManifestUnknown, oci.CodeBlobUnknown:
		return &OutcomeError{Outcome: Absent, Status: 404, Reason: "not found", Err: err}
	case oci.CodeDenied, oci.CodeUnauthorized:
		return &OutcomeError{Outcome: Denied, Status: 403, Reason: "denied", Err: err}
	case oci.CodeTooManyRequests:
		return &OutcomeError{Outcome: Unknown, Status: 429, Reason: "too many requests", Limited: true, Err: err}
	case oci.CodeUnavailable:
		if e, ok := errors.AsType[*oci.Error](err); ok {
			return &OutcomeError{Outcome: Unknown, Status: 503, Reason: e.Message, RetryAfter: e.RetryAfter, Err: err}
		}
	}
	return &OutcomeError{Outcome: Unknown, Reason: "error", Err: err}
}
