package oci

import (
	"errors"
	"net/http"
	"time"
)

// Code is an error code of the distribution specification ("Error Codes") or of the Docker Registry HTTP API V2.
type Code string

// Codes in use. TOOMANYREQUESTS carries 429; UNAVAILABLE is Docker's code for 503.
const (
	CodeBlobUnknown         Code = "BLOB_UNKNOWN"
	CodeBlobUploadInvalid   Code = "BLOB_UPLOAD_INVALID"
	CodeBlobUploadUnknown   Code = "BLOB_UPLOAD_UNKNOWN"
	CodeDigestInvalid       Code = "DIGEST_INVALID"
	CodeManifestBlobUnknown Code = "MANIFEST_BLOB_UNKNOWN"
	CodeManifestInvalid     Code = "MANIFEST_INVALID"
	CodeManifestUnknown     Code = "MANIFEST_UNKNOWN"
	CodeNameInvalid         Code = "NAME_INVALID"
	CodeNameUnknown         Code = "NAME_UNKNOWN"
	CodeSizeInvalid         Code = "SIZE_INVALID"
	CodeTagInvalid          Code = "TAG_INVALID"
	CodeRangeInvalid        Code = "RANGE_INVALID"
	CodePaginationInvalid   Code = "PAGINATION_NUMBER_INVALID"
	CodeUnauthorized        Code = "UNAUTHORIZED"
	CodeDenied              Code = "DENIED"
	CodeUnsupported         Code = "UNSUPPORTED"
	CodeTooManyRequests     Code = "TOOMANYREQUESTS"
	CodeUnavailable         Code = "UNAVAILABLE"
	CodeUnknown             Code = "UNKNOWN"
)

// statuses is the one table from code to HTTP status.
var statuses = map[Code]int{
	CodeBlobUnknown:         http.StatusNotFound,
	CodeBlobUploadInvalid:   http.StatusBadRequest,
	CodeBlobUploadUnknown:   http.StatusNotFound,
	CodeDigestInvalid:       http.StatusBadRequest,
	CodeManifestBlobUnknown: http.StatusNotFound,
	CodeManifestInvalid:     http.StatusBadRequest,
	CodeManifestUnknown:     http.StatusNotFound,
	CodeNameInvalid:         http.StatusBadRequest,
	CodeNameUnknown:         http.StatusNotFound,
	CodeSizeInvalid:         http.StatusBadRequest,
	CodeTagInvalid:          http.StatusBadRequest,
	CodeRangeInvalid:        http.StatusRequestedRangeNotSatisfiable,
	CodePaginationInvalid:   http.StatusBadRequest,
	CodeUnauthorized:        http.StatusUnauthorized,
	CodeDenied:              http.StatusForbidden,
	CodeUnsupported:         http.StatusMethodNotAllowed,
	CodeTooManyRequests:     http.StatusTooManyRequests,
	CodeUnavailable:         http.StatusServiceUnavailable,
	CodeUnknown:             http.StatusInternalServerError,
}

// Error is a protocol error: the only error text a client may see. Build one with NewError and refine it with the With
// methods, which copy.
type Error struct {
	Code       Code
	Message    string        // one sentence that says what to do
	Detail     any           // JSON-encoded as "detail"; must hold only what the caller may know
	RetryAfter time.Duration // sent as Retry-After in whole seconds, rounded up, when above zero
	status     int           // overrides the table for the few codes whose status depends on the request
	cause      error         // for the log alone
}

// NewError returns a protocol error.
func NewError(code Code, message string) *Error { return &Error{Code: code, Message: message} }

// Status is the HTTP status of the error.
func (e *Error) Status() int {
	if e.status != 0 {
		return e.status
	}
	if s, ok := statuses[e.Code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// WithStatus overrides the status, for example 413 for a manifest over the size limit.
func (e *Error) WithStatus(status int) *Error { c := *e; c.status = status; return &c }

// WithDetail adds the detail.
func (e *Error) WithDetail(detail any) *Error { c := *e; c.Detail = detail; return &c }

// WithRetryAfter adds a Retry-After.
func (e *Error) WithRetryAfter(d time.Duration) *Error { c := *e; c.RetryAfter = d; return &c }

// WithCause keeps err for the log; clients never see it.
func (e *Error) WithCause(err error) *Error { c := *e; c.cause = err; return &c }

// Error implements error, for logs: code, message and cause.
func (e *Error) Error() string {
	s := string(e.Code) + ": " + e.Message
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is makes errors.Is(err, oci.NewError(code, "")) match on the code alone.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// ErrorCode returns the code of the first protocol error in err's chain, or "".
func ErrorCode(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}
