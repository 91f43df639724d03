package api

import (
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/weir-registry/weir/internal/oci"
)

const notText = "holds bytes that are no text: want UTF-8 without NUL"

// texts refuses values of the path and the query that no database keeps as text, whatever the operation does with them. Bodies are
// looked through where they are decoded, cursors where they are; no header is kept as it is.
func (a *API) texts(ctx huma.Context, next func(huma.Context)) {
	r, _ := humago.Unwrap(ctx)
	query := r.URL.Query()
	for _, p := range ctx.Operation().Parameters {
		value := ""
		switch p.In {
		case "path":
			value = r.PathValue(p.Name)
		case "query":
			value = strings.Join(query[p.Name], "")
		}
		if !oci.ValidText(value) {
			at := p.In + "." + p.Name
			_ = huma.WriteErr(a.huma, ctx, http.StatusUnprocessableEntity, at+" "+notText, &huma.ErrorDetail{Location: at, Message: notText})
			return
		}
	}
	next(ctx)
}
