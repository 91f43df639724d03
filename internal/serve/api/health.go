package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/plan/desired"
	"github.com/weir-registry/weir/internal/store/meta"
)

// Upstreams knows the connections to upstreams in force on this replica. meta.ErrNotFound for one that is not.
type Upstreams interface {
	TestUpstream(ctx context.Context, group, upstream, repository string) ([]TestStep, error)
	UpstreamHealth(ctx context.Context, group, upstream string) (UpstreamHealth, error)
}

// UpstreamTest is the body of POST …/test.
type UpstreamTest struct {
	Repository string `json:"repository,omitempty" maxLength:"255" doc:"Try to read the tags of this repository too, named as clients of a registry would name it"`
}

// TestReport is what a test found.
type TestReport struct {
	OK    bool       `json:"ok" doc:"Whether every step went well"`
	Steps []TestStep `json:"steps" doc:"In order; the first that fails is the last"`
}

// TestStep is one step of a test.
type TestStep struct {
	Step         string  `json:"step" enum:"name,connect,tls,registry,login,repository"`
	OK           bool    `json:"ok"`
	Detail       string  `json:"detail"`
	Advice       string  `json:"advice,omitempty" doc:"What to do about a failure"`
	Milliseconds float64 `json:"milliseconds"`
}

// UpstreamHealth is what this replica knows of an upstream from its own traffic. Nothing is asked for it.
type UpstreamHealth struct {
	Host           string     `json:"host"`
	Status         string     `json:"status" enum:"ok,limited,failing,unknown" doc:"unknown: not asked for anything since it was configured or this replica has started"`
	BreakerOpen    bool       `json:"breaker_open" doc:"It did not answer repeatedly: requests are held back but for single tries"`
	LoginRefused   bool       `json:"login_refused" doc:"The last login was refused"`
	PreviousSecret bool       `json:"previous_secret" doc:"The credential's present secret was refused, and the one before it was accepted and is used: correct the secret before its hour is over"`
	AnsweredAt     *time.Time `json:"answered_at,omitempty"`
	FailedAt       *time.Time `json:"failed_at,omitempty" doc:"When it last gave no answer, or one that says that it cannot (5xx, 429), or refused a login"`
	Failure        string     `json:"failure,omitempty" doc:"What it was then: the status, what became of name, connection, TLS or patience, or that the credentials were refused"`
	RestsUntil     *time.Time `json:"rests_until,omitempty" doc:"At the latest then a request tries it again. While breaker_open pulls of what is not cached do each half second; after a refused login nothing is asked before"`
	RateLimit      *RateLimit `json:"rate_limit,omitempty" doc:"As the upstream last described it; missing if it never did"`
}

// RateLimit is an upstream's bound on our requests.
type RateLimit struct {
	Limit         int        `json:"limit" doc:"Requests per window; -1: not said"`
	Remaining     int        `json:"remaining" doc:"-1: not said"`
	WindowSeconds int64      `json:"window_seconds,omitempty"`
	HeldUntil     *time.Time `json:"held_until,omitempty" doc:"Requests that count are held back until then"`
}

type testInput struct {
	OneInput
	Body *UpstreamTest
}

func (a *API) registerUpstreamChecks() {
	operation(a, huma.Operation{
		OperationID: "test-upstream", Method: http.MethodPost, Path: "/groups/{group}/upstreams/{name}/test", Tags: []string{"upstreams"},
		Summary:     "Try an upstream step by step",
		Description: "Name, connection, TLS, API, login with its credential and, if one is named, a repository. It goes out from the replica that answers, by the same rules as every pull.",
	}, a.testUpstream)
	operation(a, huma.Operation{
		OperationID: "get-upstream-health", Method: http.MethodGet, Path: "/groups/{group}/upstreams/{name}/health", Tags: []string{"upstreams"},
		Summary: "Tell how an upstream is, as the answering replica knows from its own traffic",
	}, a.upstreamHealth)
}

func (a *API) testUpstream(ctx context.Context, in *testInput) (*body[TestReport], error) {
	if err := a.do(ctx, access.Configure, in.Group); err != nil {
		return nil, err
	}
	if err := a.remote(ctx, in.OneInput); err != nil {
		return nil, err
	}
	repository := ""
	if in.Body != nil {
		repository = in.Body.Repository
	}
	if repository != "" && !oci.ValidRepository(repository) {
		return nil, missing("repository", "want a repository name such as library/alpine, without tag and host")
	}
	steps, err := a.Upstreams.TestUpstream(ctx, in.Group, in.Name, repository)
	if err != nil {
		return nil, notInForce(err)
	}
	return &body[TestReport]{TestReport{OK: len(steps) > 0 && steps[len(steps)-1].OK, Steps: steps}}, nil
}

func (a *API) upstreamHealth(ctx context.Context, in *OneInput) (*body[UpstreamHealth], error) {
	if err := a.remote(ctx, *in); err != nil {
		return nil, err
	}
	h, err := a.Upstreams.UpstreamHealth(ctx, in.Group, in.Name)
	if err != nil {
		return nil, notInForce(err)
	}
	return &body[UpstreamHealth]{h}, nil
}

// remote returns nil for an upstream that the caller may see and that is a remote registry.
func (a *API) remote(ctx context.Context, in OneInput) error {
	s, err := a.state(ctx, in.Group, true)
	if err != nil {
		return err
	}
	i := upstreams.find(&s.Group, in.Name)
	switch {
	case i < 0:
		return notThere(upstreams.one)
	case isLocal(s.Group.Upstreams[i]):
		return conflict("a local upstream is hosted here: there is no connection to tell about")
	}
	return nil
}

func isLocal(u desired.Upstream) bool { return u.Local != "" }

// notInForce is the error for an upstream that is defined and has no connection: it has just come, or cannot be used.
func notInForce(err error) error {
	if errors.Is(err, meta.ErrNotFound) {
		return conflict("the upstream is not in force on this replica: it was configured a moment ago, or its definition cannot be used, which the server's log explains")
	}
	return err
}
