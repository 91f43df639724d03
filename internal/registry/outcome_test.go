package registry

import (
	"errors"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

func TestAsOutcomeKeepsTheReason(t *testing.T) {
	o := AsOutcome(oci.NewError(oci.CodeUnavailable, "the database does not answer").WithRetryAfter(time.Second))
	if o.Outcome != Unknown || o.Reason != "the database does not answer" || o.RetryAfter != time.Second {
		t.Errorf("%+v", o)
	}
}

// TestOutcomeErrorText: a reason that is the error's own words is not said twice.
func TestOutcomeErrorText(t *testing.T) {
	for want, e := range map[string]*OutcomeError{
		"unknown: far.test: the answer stopped":                 {Outcome: Unknown, Reason: "far.test: the answer stopped", Err: errors.New("the answer stopped")},
		"unknown: far.test: connection refused: dial 192.0.2.1": {Outcome: Unknown, Reason: "far.test: connection refused", Err: errors.New("dial 192.0.2.1")},
		"absent: not found":                                     {Outcome: Absent, Reason: "not found"},
	} {
		if got := e.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
