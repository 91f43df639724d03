package registry

import (
	"errors"
	"testing"
)

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
