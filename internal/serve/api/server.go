package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
)

// Version is the body of GET /version.
type Version struct {
	Version string `json:"version"`
}

// Capabilities are what a server can do, and how much of it. Clients look here instead of guessing from the version.
type Capabilities struct {
	Version         string          `json:"version"`
	Addresses       []string        `json:"addresses" doc:"URLs by which clients reach the server: external_urls, else where it listens, as this machine reaches it"`
	Formats         []string        `json:"formats" doc:"Formats of virtual registries"`
	CredentialKinds []string        `json:"credential_kinds"`
	Limits          Limits          `json:"limits"`
	Features        map[string]bool `json:"features" doc:"What can be on or off, by name"`
	MayAdminister   bool            `json:"may_administer" doc:"Whether the caller may administer the instance"`
}

// Limits are the server's upper bounds; 0 is no limit.
type Limits struct {
	MembersPerRegistry int   `json:"members_per_registry"`
	RegistriesPerGroup int   `json:"registries_per_group"`
	BlobSize           int64 `json:"blob_size" doc:"Bytes of one pushed blob"`
	PageSize           int   `json:"page_size" doc:"Items on a page of a list, at most"`
	DeclarationSize    int64 `json:"declaration_size" doc:"Bytes of the body of POST /apply"`
}

const maxPage = 1000

func (a *API) registerServer() {
	operation(a, huma.Operation{
		OperationID: "get-version", Method: http.MethodGet, Path: "/version", Tags: []string{"server"},
		Summary: "Read the version of the server",
	}, func(context.Context, *struct{}) (*body[Version], error) {
		return &body[Version]{Version{a.Version}}, nil
	})
	operation(a, huma.Operation{
		OperationID: "get-capabilities", Method: http.MethodGet, Path: "/capabilities", Tags: []string{"server"},
		Summary: "Read what the server can do, and its limits",
	}, func(ctx context.Context, _ *struct{}) (*body[Capabilities], error) {
		c := a.Capabilities
		c.Version, c.Limits.PageSize, c.Limits.DeclarationSize = a.Version, maxPage, maxDeclaration
		c.MayAdminister = a.may(ctx, access.Administer, "") == nil
		return &body[Capabilities]{c}, nil
	})
}
