package setup

import (
	"net/url"
	"slices"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
)

// request is what a client asks a door for an image.
type request struct {
	base string // scheme and host
	repo string // as it stands in the path, below /v2/
	ref  string // tag or digest
	ns   string // value of ?ns=; empty: it is not sent
}

func (r request) manifest() string { return r.at("manifests", r.ref) }

// at is the address of a manifest or blob of the image's repository.
func (r request) at(kind, reference string) string {
	u := r.base + "/v2/" + r.repo + "/" + kind + "/" + reference
	if r.ns != "" {
		u += "?" + url.Values{"ns": {r.ns}}.Encode()
	}
	return u
}

// image is an image's name as people write it.
type image struct {
	host  string // docker.io for a name without one
	named bool   // the host was written
	repo  string
	ref   string
}

// parseImage reads a name as docker does: the first part is a host if it has a dot or a port.
func parseImage(text string) image {
	var out image
	name, digest, pinned := strings.Cut(text, "@")
	out.ref = digest
	if colon := strings.LastIndex(name, ":"); colon > strings.LastIndex(name, "/") {
		if !pinned {
			out.ref = name[colon+1:]
		}
		name = name[:colon]
	}
	if out.ref == "" {
		out.ref = "latest"
	}
	first, rest, more := strings.Cut(name, "/")
	if more && strings.ContainsAny(first, ".:") {
		out.host, out.named, name = first, true, rest
	} else {
		out.host = oci.HubHost
	}
	if out.repo = name; isHub(out.host) && !strings.Contains(name, "/") {
		out.repo = "library/" + name
	}
	return out
}

// ask is the request that the client of t sends for an image.
func (t Target) ask(text string) request {
	v := t.view()
	text = strings.TrimPrefix(text, v.Addr+"/"+t.Registry+"/")
	im := parseImage(text)
	r := request{base: v.URL, repo: im.repo, ref: im.ref}
	c := clients[t.Client]
	switch t.Door {
	case Path:
		switch {
		case im.named || c.pins && slices.Contains(t.Images, im.host):
			r.repo = t.Registry + "/" + im.host + "/" + im.repo
		default:
			r.repo = t.Registry + "/" + im.repo
		}
	case NS:
		r.repo, r.ns = t.Registry+"/"+im.repo, im.host
	case Host:
		if c.tellNS {
			r.ns = im.host
		}
	}
	return r
}
