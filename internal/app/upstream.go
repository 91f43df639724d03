package app

import (
	"context"
	"time"

	"github.com/weir-registry/weir/internal/registry/upstream"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/store/meta"
)

var _ api.Upstreams = (*server)(nil)

// remote returns the connection to an upstream in force; meta.ErrNotFound when there is none.
func (s *server) remote(group, name string) (*upstream.Registry, error) {
	g := s.live.named(group)
	if g == nil || g.Remotes[name] == nil {
		return nil, meta.ErrNotFound
	}
	return g.Remotes[name], nil
}

// TestUpstream implements api.Upstreams.
func (s *server) TestUpstream(ctx context.Context, group, name, repository string) ([]api.TestStep, error) {
	r, err := s.remote(group, name)
	if err != nil {
		return nil, err
	}
	var out []api.TestStep
	for _, step := range r.Probe(ctx, repository) {
		out = append(out, api.TestStep{
			Step: step.Name, OK: step.OK, Detail: step.Detail, Advice: step.Advice, Milliseconds: float64(step.Took.Microseconds()) / 1000,
		})
	}
	return out, ctx.Err()
}

// UpstreamHealth implements api.Upstreams.
func (s *server) UpstreamHealth(_ context.Context, group, name string) (api.UpstreamHealth, error) {
	r, err := s.remote(group, name)
	if err != nil {
		return api.UpstreamHealth{}, err
	}
	h := r.Health()
	out := api.UpstreamHealth{
		Host: h.Host, Status: status(h), BreakerOpen: h.Open, LoginRefused: h.LoginRefused, PreviousSecret: h.PreviousSecret,
		AnsweredAt: when(h.Answered), FailedAt: when(h.Failed), Failure: h.Failure, RestsUntil: when(h.TriedAgain),
	}
	if h.Budget.Limit >= 0 || !h.Budget.Until.IsZero() {
		out.RateLimit = &api.RateLimit{Limit: h.Budget.Limit, Remaining: h.Budget.Remaining, WindowSeconds: int64(h.Budget.Window / time.Second), HeldUntil: when(h.Budget.Until)}
	}
	return out, nil
}

// status is health in one word.
func status(h upstream.Health) string {
	switch {
	case h.Open || h.LoginRefused || h.PreviousSecret || h.Failing:
		return "failing"
	case !h.Budget.Until.IsZero():
		return "limited"
	case h.Answered.IsZero():
		return "unknown"
	}
	return "ok"
}

func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
