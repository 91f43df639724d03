package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// maxErrorBody bounds what is read of an answer that is an error.
const maxErrorBody = 64 << 10

// failure is the outcome of an exchange that got no (whole) answer.
func failure(ctx context.Context, host string, err error) *registry.OutcomeError {
	if o, ok := errors.AsType[*registry.OutcomeError](err); ok {
		return o
	}
	o := &registry.OutcomeError{Outcome: registry.Unknown, Err: withoutURL(err)}
	switch {
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errNoHeaders):
		o.Reason, o.Err = "the request was given up", ctx.Err()
	default:
		o.Reason = host + ": " + reasonOf(err)
	}
	return o
}

// withoutURL takes off the layer of an error that repeats the URL: signed URLs are credentials.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// reasonOf says in plain language why a host did not answer. Addresses stay out of it: they belong to the operator.
func reasonOf(err error) string {
	if errors.Is(err, errAddress) {
		return "the host has a private or otherwise refused address (see upstream.allow_private_networks)"
	}
	if errors.Is(err, errNoHeaders) || errors.Is(err, errIdle) {
		return err.Error()
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return "no such host"
		}
		return "the host name could not be looked up"
	}
	if reason := tlsReason(err); reason != "" {
		return reason
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "host unreachable"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed before the answer was complete"
	}
	if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() {
		return "no answer in time"
	}
	return "the connection broke"
}

func tlsReason(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "its TLS certificate is signed by an unknown authority (add the CA to the upstream)"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "its TLS certificate is for another host"
	}
	if c, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if c.Reason == x509.Expired {
			return "its TLS certificate has expired or is not valid yet"
		}
		return "its TLS certificate is not valid"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "it does not speak TLS on this port"
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return "the TLS handshake was refused"
	}
	if strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return "it does not speak TLS on this port"
	}
	return ""
}

// unknown is an answer that makes no sense.
func unknown(resp *http.Response, format string, args ...any) *registry.OutcomeError {
	o := &registry.OutcomeError{Outcome: registry.Unknown, Reason: fmt.Sprintf(format, args...)}
	if resp != nil {
		o.Status = resp.StatusCode
		o.Reason = resp.Request.URL.Host + ": " + o.Reason
	}
	return o
}

// refusal turns an answer that is neither success nor redirect into an outcome, and closes it. p is the proof that the
// refused request carried.
func (r *Registry) refusal(resp *http.Response, p proof) *registry.OutcomeError {
	codes, message := errorCodes(resp)
	_ = resp.Body.Close()
	o := &registry.OutcomeError{
		Outcome: registry.Unknown, Status: resp.StatusCode, Reason: statusReason(resp, codes),
		RetryAfter: parseRetryAfter(resp.Header, r.o.Now()),
	}
	if message != "" {
		o.Err = errors.New(message)
	}
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		r.classifyMissing(o, resp, codes)
	case http.StatusUnauthorized:
		classifyUnauthorized(o, resp, p)
	case http.StatusForbidden:
		o.Outcome = registry.Denied
	case http.StatusTooManyRequests:
		o.Limited = true
		o.RetryAfter = max(o.RetryAfter, limitPause)
	}
	return o
}

// classifyMissing: a 404 is authoritative unless it says something else, or comes from something that is no registry.
func (r *Registry) classifyMissing(o *registry.OutcomeError, resp *http.Response, codes []oci.Code) {
	o.Outcome = registry.Absent
	for _, c := range codes {
		switch c {
		case oci.CodeNameUnknown, oci.CodeManifestUnknown, oci.CodeBlobUnknown:
			return
		case oci.CodeUnauthorized, oci.CodeDenied:
			o.Outcome = registry.Denied
		case oci.CodeTooManyRequests:
			o.Outcome, o.Limited = registry.Unknown, true
		case oci.CodeUnavailable:
			o.Outcome = registry.Unknown
		}
	}
	if isHTML(resp) && resp.Header.Get("Docker-Distribution-Api-Version") == "" {
		o.Outcome = registry.Unknown
		o.Reason = resp.Request.URL.Host + ": answered with a web page, not as a registry"
	}
}

// classifyUnauthorized: a registry that issued a token and then refuses it does not show this repository to us (Docker Hub
// answers so for missing images); one that refuses the login itself has told nothing about the repository.
func classifyUnauthorized(o *registry.OutcomeError, resp *http.Response, p proof) {
	host := resp.Request.URL.Host
	switch p.scheme {
	case schemeBearer:
		o.Outcome = registry.Denied
	case schemeBasic:
		o.Reason = host + ": the credentials were refused"
	default:
		o.Reason = host + ": a login is needed"
	}
}

func statusReason(resp *http.Response, codes []oci.Code) string {
	text := fmt.Sprintf("%s: %d %s", resp.Request.URL.Host, resp.StatusCode, http.StatusText(resp.StatusCode))
	if len(codes) > 0 {
		text += " (" + string(codes[0]) + ")"
	}
	return text
}

// errorCodes reads the codes of an OCI error body, in upper case and only those that look like codes, and the first
// message, made harmless for a log. The text of an upstream is never shown to people.
func errorCodes(resp *http.Response) ([]oci.Code, string) {
	defer hurry(resp)()
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var parsed struct {
		Errors []struct{ Code, Message string } `json:"errors"`
	}
	if json.Unmarshal(raw, &parsed) != nil {
		return nil, ""
	}
	var codes []oci.Code
	message := ""
	for _, e := range parsed.Errors {
		if code := strings.ToUpper(e.Code); isCode(code) {
			codes = append(codes, oci.Code(code))
		}
		if message == "" {
			message = harmless(e.Message)
		}
	}
	return codes, message
}

func isCode(s string) bool {
	for _, c := range s {
		if (c < 'A' || c > 'Z') && c != '_' && (c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 40
}

func harmless(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c == '\u2028' || c == '\u2029' {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}
