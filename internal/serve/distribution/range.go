package distribution

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

var errRange = oci.NewError(oci.CodeRangeInvalid, "the Range header cannot be satisfied")

// parseRange reads the Range header of a GET of digest (RFC 9110 §14.2). ok is false when the whole content is to be sent: no
// header, another unit, several ranges, an If-Range that names other content, or what is no range at all. One that ends before
// it begins is no range either, but the distribution specification's conformance suite wants 416 for it.
func parseRange(r *http.Request, digest oci.Digest) (rng registry.Range, ok bool, err error) {
	spec, found := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
	if !found || strings.ContainsRune(spec, ',') {
		return rng, false, nil
	}
	if cond := r.Header.Get("If-Range"); cond != "" && cond != etag(digest) {
		return rng, false, nil
	}
	first, last, found := strings.Cut(strings.TrimSpace(spec), "-")
	if !found {
		return rng, false, nil
	}
	if first == "" {
		n, err := parseOffset(last)
		if err != nil {
			return rng, false, nil //nolint:nilerr // not a range
		}
		if n == 0 {
			return rng, false, errRange
		}
		return registry.Range{Offset: -n}, true, nil
	}
	start, err := parseOffset(first)
	if err != nil {
		return rng, false, nil //nolint:nilerr // not a range
	}
	if last == "" {
		return registry.Range{Offset: start}, true, nil
	}
	end, err := parseOffset(last)
	if err != nil {
		return rng, false, nil //nolint:nilerr // not a range
	}
	if end < start {
		return rng, false, errRange
	}
	return registry.Range{Offset: start, Length: end - start + 1}, true, nil
}

// parseOffset reads digits only: no sign, no space. What does not fit is beyond the end of any blob.
func parseOffset(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 62) // and the largest number beside ErrRange
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, errRange
	}
	return int64(n), nil
}

// parseContentRange reads "<start>-<end>" of a chunk (distribution specification, "Pushing a blob in chunks"); a "bytes "
// before and a "/<size>" after it, as HTTP has them, are accepted.
func parseContentRange(s string) (start, length int64, err error) {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "bytes "), "bytes=")
	s, _, _ = strings.Cut(s, "/")
	first, last, found := strings.Cut(s, "-")
	if !found {
		return 0, 0, errRange
	}
	if start, err = parseOffset(first); err != nil {
		return 0, 0, err
	}
	end, err := parseOffset(last)
	if err != nil || end < start {
		return 0, 0, errRange
	}
	return start, end - start + 1, nil
}
