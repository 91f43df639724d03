package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
)

// CheckRequest is the body of POST /check.
type CheckRequest struct {
	Deep     bool `json:"deep,omitempty" doc:"Read all bytes and compare their digests"`
	Progress bool `json:"progress,omitempty" doc:"Tell about once a second how far it is, too"`
}

// CheckLine is one line of the answer: a finding, how far it is, or at the end the summary, with the problem if the check could not go on.
type CheckLine struct {
	Finding  *Finding         `json:"finding,omitempty"`
	Progress *CheckProgress   `json:"progress,omitempty"`
	Summary  *CheckSummary    `json:"summary,omitempty"`
	Problem  *huma.ErrorModel `json:"problem,omitempty"`
}

// CheckProgress is how far a check is.
type CheckProgress struct {
	Blobs      int64 `json:"blobs"`
	TotalBlobs int64 `json:"total_blobs"`
	Bytes      int64 `json:"bytes"`
	TotalBytes int64 `json:"total_bytes"`
}

// Finding is something that must not be.
type Finding struct {
	Kind     string `json:"kind"`
	Subject  string `json:"subject"`
	Detail   string `json:"detail"`
	Advice   string `json:"advice"`
	Warning  bool   `json:"warning,omitempty"`
	Repaired bool   `json:"repaired,omitempty"`
}

// CheckSummary counts what was looked at and what was found.
type CheckSummary struct {
	Blobs    int64 `json:"blobs"`
	Bytes    int64 `json:"bytes"`
	Objects  int64 `json:"objects"`
	Stages   int64 `json:"stages"`
	Problems int64 `json:"problems"`
	Warnings int64 `json:"warnings"`
	Repaired int64 `json:"repaired"`
}

// Checker compares rows with bytes. report is called for each finding as it is made, and progress now and then if the request wants it.
type Checker interface {
	Check(ctx context.Context, r CheckRequest, report func(Finding), progress func(CheckProgress)) (CheckSummary, error)
}

func (a *API) registerCheck() {
	operation(a, exports(huma.Operation{
		OperationID: "check", Method: http.MethodPost, Path: "/check", Tags: []string{"store"},
		Summary:     "Compare rows with bytes",
		Description: "Answers JSON lines as findings are made: objects with a finding each, or with how far it is, then one with the summary, and with the problem if it could not go on.",
	}, "JSON lines", schemaOf[CheckLine](a)), a.check)
}

// check streams, because a check of many bytes takes long and its findings are wanted at once.
func (a *API) check(ctx context.Context, in *body[CheckRequest]) (*huma.StreamResponse, error) {
	if err := a.may(ctx, access.Administer, ""); err != nil {
		return nil, err
	}
	var sum CheckSummary
	return stream(ctx, a, func(tell func(CheckLine)) (err error) {
		sum, err = a.Checker.Check(ctx, in.Body, func(f Finding) { tell(CheckLine{Finding: &f}) }, func(p CheckProgress) { tell(CheckLine{Progress: &p}) })
		return err
	}, func(p *huma.ErrorModel) CheckLine { return CheckLine{Summary: &sum, Problem: p} })
}
