package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// registerExchange puts the exchange of tokens into the document. Package token answers it: it is a form, and takes no login.
func (a *API) registerExchange() {
	text := func(what string) *huma.Schema { return &huma.Schema{Type: huma.TypeString, Description: what} }
	form := &huma.Schema{
		Type: huma.TypeObject, Required: []string{"grant_type", "subject_token", "subject_token_type"},
		Properties: map[string]*huma.Schema{
			"grant_type":         text("urn:ietf:params:oauth:grant-type:token-exchange"),
			"subject_token":      text("A token of an issuer that a trust rule names"),
			"subject_token_type": text("urn:ietf:params:oauth:token-type:id_token, or …:jwt"),
			"audience":           text("<group>/<trust rule>; needed if several rules accept the token"),
			"scope":              text("What the new token is limited to, such as repository:acme/app:pull"),
		},
	}
	out := &huma.Schema{
		Type: huma.TypeObject, Required: []string{"access_token", "issued_token_type", "token_type", "expires_in"},
		Properties: map[string]*huma.Schema{
			"access_token": text("For Authorization: Bearer, and as the password of docker login with the user name oidc"), "issued_token_type": text(""),
			"token_type": text("Bearer"), "expires_in": {Type: huma.TypeInteger, Description: "Seconds"}, "scope": text(""),
		},
	}
	refusal := &huma.Schema{
		Type: huma.TypeObject, Required: []string{"error", "error_description"},
		Properties: map[string]*huma.Schema{"error": text("As of RFC 6749, section 5.2"), "error_description": text("")},
	}
	a.huma.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "exchange-token", Method: http.MethodPost, Path: "/token/exchange", Tags: []string{"tokens"},
		Summary: "Exchange a workload's token of another issuer for one of this server (RFC 8693)", Security: []map[string][]string{},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/x-www-form-urlencoded": {Schema: form}}},
		Responses: map[string]*huma.Response{
			"200": answer("A token", out), "400": answer("Refused", refusal), "429": answer("Too many attempts; see Retry-After", refusal),
			"503": answer("The issuer does not answer, or the key of the token is not known yet; see Retry-After", refusal),
		},
	})
}
