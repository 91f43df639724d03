package app

import (
	"context"

	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/plan/desired"
	"github.com/weir-registry/weir/internal/serve/api"
)

var _ api.Planner = (*server)(nil)

// Apply implements api.Planner. What it changed is in force here when it returns; other replicas follow within about a second.
func (s *server) Apply(ctx context.Context, d desired.Document, o plan.Options) (*plan.Plan, error) {
	p, err := s.planner.Apply(ctx, d, o)
	if err == nil && !o.DryRun && !p.Empty() {
		s.live.now(ctx)
	}
	return p, err
}
