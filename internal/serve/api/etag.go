package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// Conditions are the headers that make a request depend on the present state (RFC 9110, section 13.1). Updates check them
// within their transaction.
type Conditions struct {
	IfMatch     string `header:"If-Match" maxLength:"1024" doc:"Only if the present ETag is one of these; * means: only if it exists"`
	IfNoneMatch string `header:"If-None-Match" maxLength:"1024" doc:"Only if the present ETag is none of these; * means: only if it does not exist"`
}

// etag is a strong validator: the same for equal content, whoever asks. What belongs to the state and is not shown, such as the
// version of a secret, goes into more.
func etag(content any, more ...any) string {
	sum := sha256.New()
	e := json.NewEncoder(sum)
	for _, v := range append([]any{content}, more...) {
		if err := e.Encode(v); err != nil { // answers are plain data
			panic(fmt.Sprintf("api: %T has no JSON form: %v", v, err))
		}
	}
	return `"` + base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:18]) + `"`
}

// update returns the problem that keeps an update from happening; current is the ETag now, empty when there is nothing.
func (c Conditions) update(current string) error {
	if c.IfMatch != "" && !matches(c.IfMatch, current) {
		return huma.NewError(http.StatusPreconditionFailed, "it is not what it was: read it again, and repeat the change with its new ETag in If-Match",
			&huma.ErrorDetail{Location: "header.If-Match", Message: "is not the present ETag"})
	}
	if c.IfNoneMatch != "" && matches(c.IfNoneMatch, current) {
		return huma.NewError(http.StatusPreconditionFailed, "it exists: leave If-None-Match out to replace it",
			&huma.ErrorDetail{Location: "header.If-None-Match", Message: "the present ETag matches"})
	}
	return nil
}

// read returns what answers a read other than the content: 304 or a problem; nil when the content does.
func (c Conditions) read(current string) error {
	if c.IfMatch != "" && !matches(c.IfMatch, current) {
		return Conditions{IfMatch: c.IfMatch}.update(current)
	}
	if c.IfNoneMatch != "" && matches(strings.ReplaceAll(c.IfNoneMatch, "W/", ""), current) {
		return huma.ErrorWithHeaders(huma.Status304NotModified(), http.Header{"ETag": {current}})
	}
	return nil
}

// matches reports whether a list of ETags holds the current one. Comparison is strong: weak ETags are never equal.
func matches(list, current string) bool {
	if current == "" {
		return false
	}
	tags := strings.Split(list, ",")
	return slices.ContainsFunc(tags, func(t string) bool {
		t = strings.TrimSpace(t)
		return t == "*" || t == current
	})
}
