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
	return p, s.inForce(ctx, p, o, err)
}

// Edit implements api.Planner, as Apply does.
func (s *server) Edit(ctx context.Context, group string, change func(*plan.State) error, o plan.Options) (*plan.Plan, error) {
	p, err := s.planner.Edit(ctx, group, change, o)
	return p, s.inForce(ctx, p, o, err)
}

// inForce puts what a plan changed in force.
func (s *server) inForce(ctx context.Context, p *plan.Plan, o plan.Options, err error) error {
	if err == nil && !o.DryRun && !p.Empty() {
		s.live.now(ctx)
	}
	return err
}
