package oci

import (
	"errors"
	"net/http"
	"testing"
)

func TestErrorsMatchOnTheCode(t *testing.T) {
	cause := errors.New("cause")
	err := error(NewError(CodeDenied, "no").WithCause(cause).WithDetail("d"))
	if !errors.Is(err, NewError(CodeDenied, "")) || errors.Is(err, NewError(CodeUnknown, "")) || !errors.Is(err, cause) {
		t.Errorf("%v matches wrongly", err)
	}
	if ErrorCode(err) != CodeDenied || ErrorCode(cause) != "" {
		t.Error("ErrorCode reads the wrong code")
	}
}

func TestWithCopies(t *testing.T) {
	base := NewError(CodeSizeInvalid, "too big")
	if base.WithStatus(http.StatusRequestEntityTooLarge).Status() != 413 || base.Status() != 400 {
		t.Error("WithStatus changed its receiver")
	}
}

func TestEveryCodeHasAStatus(t *testing.T) {
	for code, status := range statuses {
		if got := NewError(code, "").Status(); got != status || status < 400 {
			t.Errorf("%s: %d", code, got)
		}
	}
	if NewError("NEW", "").Status() != 500 {
		t.Error("an unlisted code must be 500")
	}
}
