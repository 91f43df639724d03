package distribution

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
	"github.com/weir-registry/weir/internal/serve"
)

// traceHeaders tells the client how the answer came about: the decision's id, and for cached content Age (RFC 9111),
// Cache-Status (RFC 9211), and a Warning in the form of the distribution specification 1.1 when it is stale.
func traceHeaders(w http.ResponseWriter, t registry.TraceValues) {
	if t.DecisionID != "" {
		serve.SetHeader(w, "Weir-Decision", t.DecisionID)
	}
	status := cacheStatus(t.Cache)
	if status == "" {
		return
	}
	serve.SetHeader(w, "Cache-Status", status)
	switch t.Cache {
	case registry.CacheHit, registry.CacheStale, registry.CacheRevalidated:
		serve.SetHeader(w, "Age", strconv.FormatInt(int64(max(0, t.Age)/time.Second), 10))
	}
	if t.Cache == registry.CacheStale {
		serve.SetHeader(w, "Warning", `299 - "served from the cache: the upstream could not confirm that this is current"`)
	}
}

func cacheStatus(s registry.CacheStatus) string {
	switch s {
	case registry.CacheHit:
		return "weir; hit"
	case registry.CacheStale:
		return "weir; hit; detail=stale"
	case registry.CacheRevalidated:
		return "weir; hit; detail=revalidated"
	case registry.CacheMiss:
		return "weir; fwd=miss; stored"
	case registry.CacheJoined:
		return "weir; fwd=miss; stored; collapsed"
	case registry.CachePass:
		return "weir; fwd=miss"
	}
	return ""
}

// contentHeaders describes content; HEAD and GET must both come through here.
func contentHeaders(w http.ResponseWriter, mediaType string, digest oci.Digest, size int64) {
	serve.SetHeader(w, "Content-Type", mediaType)
	serve.SetHeader(w, "Docker-Content-Digest", string(digest))
	serve.SetHeader(w, "Etag", etag(digest))
	if size >= 0 {
		serve.SetHeader(w, "Content-Length", strconv.FormatInt(size, 10))
	}
}

func etag(d oci.Digest) string { return `"` + string(d) + `"` }

// notModified reports whether If-None-Match names digest: as an entity tag, weak or strong, or, as some clients do, bare.
func notModified(r *http.Request, digest oci.Digest) bool {
	for _, line := range r.Header.Values("If-None-Match") {
		for tag := range strings.SplitSeq(line, ",") {
			tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
			if tag == "*" || strings.Trim(tag, `"`) == string(digest) {
				return true
			}
		}
	}
	return false
}

// writeNotModified answers 304 with the headers that describe the content, but its length.
func writeNotModified(w http.ResponseWriter) error {
	w.Header().Del("Content-Length")
	w.Header().Del("Content-Type")
	w.WriteHeader(http.StatusNotModified)
	return nil
}

// maxVia bounds the Via header in bytes, since it goes on to upstreams: room for some twenty hops.
const maxVia = 1 << 10

// viaSelf reports whether a Via header names instance: the request has been here before.
func viaSelf(via, instance string) bool {
	if instance == "" {
		return false
	}
	for hop := range strings.SplitSeq(via, ",") {
		fields := strings.Fields(hop) // protocol, received-by, comment
		if len(fields) >= 2 && fields[1] == instance {
			return true
		}
	}
	return false
}
