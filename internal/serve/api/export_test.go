package api

import "github.com/danielgtaylor/huma/v2"

// Operations are those of the API's document, for tests that must not leave one out.
func (a *API) Operations() []*huma.Operation { return operations(a.huma.OpenAPI()) }

// Document is the API's document.
func (a *API) Document() *huma.OpenAPI { return a.huma.OpenAPI() }

// Harmless is harmless.
var Harmless = harmless
