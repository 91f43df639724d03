package serve

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

// statusClosed stands in access lines for a client that left before an answer; it is never sent.
const statusClosed = 499

// retryDefault is when to come back after a 503 or 429 that does not say: without a Retry-After some clients take it for final.
const retryDefault = 5 * time.Second

// internalError is all that clients learn of an error that is not a protocol error; the log has the rest under the id.
const internalError = "internal error; the server's log has the details under the request id"

// errFiles is for a process, or a machine, that may open no more files.
var errFiles = oci.NewError(oci.CodeUnavailable, "the server has as many files and connections open as it may; try again soon").WithRetryAfter(time.Second)

// errorBody is the body of an error response (distribution specification, "Error Codes").
type errorBody struct {
	Errors []errorItem `json:"errors"`
}

type errorItem struct {
	Code    oci.Code `json:"code"`
	Message string   `json:"message"`
	Detail  any      `json:"detail,omitempty"`
}

// WriteError answers with err: an *oci.Error as it is, anything else as UNKNOWN with a constant text and the request id.
// Headers set on w before, such as WWW-Authenticate, go out with it. HEAD gets the headers alone.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	status, item := http.StatusInternalServerError, errorItem{Code: oci.CodeUnknown, Message: internalError}
	h := w.Header()
	e, ok := errors.AsType[*oci.Error](err)
	if !ok && (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)) {
		e, ok = errFiles, true
	}
	if ok {
		status, item = e.Status(), errorItem{Code: e.Code, Message: e.Message, Detail: e.Detail}
		retry := e.RetryAfter
		if retry <= 0 && (status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests) {
			retry = retryDefault
		}
		if retry > 0 {
			h.Set("Retry-After", strconv.FormatInt(int64((retry+time.Second-1)/time.Second), 10))
		}
	} else if info := FromContext(r.Context()); info != nil {
		item.Detail = map[string]string{"request_id": info.ID}
	}
	body, merr := json.Marshal(errorBody{Errors: []errorItem{item}})
	if merr != nil { // a detail that JSON cannot express
		item.Detail = nil
		body, _ = json.Marshal(errorBody{Errors: []errorItem{item}})
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that left does not need it
	}
}
