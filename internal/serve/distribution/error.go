package distribution

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Errors that need nothing of the request.
var (
	errNotFound      = oci.NewError(oci.CodeUnsupported, "no such resource of the distribution API").WithStatus(http.StatusNotFound)
	errDigestInvalid = oci.NewError(oci.CodeDigestInvalid, "not a digest: want sha256:<64 hex digits> or sha512:<128 hex digits>")
	errTagInvalid    = oci.NewError(oci.CodeTagInvalid, "not a tag: want a letter, digit or '_', then up to 127 letters, digits, '_', '.' or '-'")
	// Nothing is stored under what cannot be a tag. The conformance suite of the distribution specification 1.1 asks for 404 there.
	errNoManifest    = oci.NewError(oci.CodeManifestUnknown, "there is no such manifest: this is not a tag, nor a digest")
	errUploadUnknown = oci.NewError(oci.CodeBlobUploadUnknown, "there is no such upload in this repository; start a new one")
	errLoop          = oci.NewError(oci.CodeUnsupported, "this request has passed through this registry before: an upstream leads back here").
				WithStatus(http.StatusLoopDetected)
)

// readOnly refuses a change through a virtual registry and says where it can be made.
func readOnly(action Action, t Target) *oci.Error {
	at := t.Group + "/" + t.Virtual
	if action == Delete {
		return oci.NewError(oci.CodeUnsupported, fmt.Sprintf("%s is a virtual registry, nothing can be deleted through it: "+
			"delete in the hosted repository, such as %s/%s, or use weir refresh for what is cached", at, t.Group, t.Name))
	}
	return oci.NewError(oci.CodeUnsupported, fmt.Sprintf("%s is a virtual registry and takes no pushes: "+
		"push to a hosted repository of the group, such as %s/%s", at, t.Group, t.Name))
}

// beforePush is the error of a HEAD. A client that has come to push to a virtual registry asks so whether to send a layer or a manifest,
// and gives up on a 403 by the rules and on a 503, which have no body to say why: it is told that it is not here, and then, with a body,
// that it cannot be pushed here, and where it can.
func (c *call) beforePush(err error) error {
	switch code := oci.ErrorCode(err); {
	case c.target.Virtual == "" || code != oci.CodeDenied && registry.AsOutcome(err).Outcome != registry.Unknown:
		return err
	case code == oci.CodeUnauthorized || !c.Access.ForPush(c.ctx(), c.target):
		return err
	}
	return oci.NewError(c.unknown(), "not found, or not to be had now; nothing can be pushed here").WithCause(err)
}

// translate makes an error of a Registry what a client may see. Upstreams' answers are spoken for by the virtual registry;
// one that gets here raw is told by its class alone.
func translate(req request, err error) error {
	if oci.ErrorCode(err) != "" {
		return err
	}
	o, ok := errors.AsType[*registry.OutcomeError](err)
	if !ok {
		return err
	}
	if o.Outcome != registry.Unknown {
		return oci.NewError(req.unknown(), "not found").WithCause(err)
	}
	if o.Limited {
		return oci.NewError(oci.CodeTooManyRequests, "the upstream limits requests; try again later").WithRetryAfter(o.RetryAfter).WithCause(err)
	}
	return oci.NewError(oci.CodeUnavailable, "the upstream cannot answer at the moment").WithRetryAfter(o.RetryAfter).WithCause(err)
}

// unknown is the code that says "there is no such thing" for what was asked.
func (req request) unknown() oci.Code {
	switch req.kind {
	case kindManifest, kindReferrers:
		return oci.CodeManifestUnknown
	case kindBlob:
		return oci.CodeBlobUnknown
	case kindUpload:
		return oci.CodeBlobUploadUnknown
	}
	return oci.CodeNameUnknown
}

// absent reports whether err says that something is not there.
func absent(err error) bool {
	return err != nil && registry.AsOutcome(err).Outcome == registry.Absent
}
