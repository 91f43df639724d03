package access

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Owned are the roles that people made, with those of the instance, and the robots and trust rules of all groups, by name.
type Owned struct {
	Roles      []RoleSet
	Robots     []Machine
	TrustRules []TrustRule
}

// ReadOwned reads them within a transaction of its caller's.
func ReadOwned(ctx context.Context, q *query.Queries) (Owned, error) {
	s := &snapshot{users: map[int64]*user{}, byName: map[string]*user{}, groups: map[string]int64{}, names: map[int64]string{}}
	if err := s.readUsers(ctx, q); err != nil {
		return Owned{}, fmt.Errorf("read roles, robots and trust rules: %w", err)
	}
	var out Owned
	for _, r := range s.roles {
		out.Roles = append(out.Roles, r.public())
	}
	for _, u := range s.users {
		switch {
		case u.kind == Robot:
			out.Robots = append(out.Robots, u.machine())
		case u.rule != nil:
			out.TrustRules = append(out.TrustRules, u.trustRule())
		}
	}
	slices.SortFunc(out.Roles, func(a, b RoleSet) int { return cmp.Or(cmp.Compare(a.GroupID, b.GroupID), cmp.Compare(a.Role, b.Role)) })
	slices.SortFunc(out.Robots, Machine.compare)
	slices.SortFunc(out.TrustRules, func(a, b TrustRule) int { return a.Machine.compare(b.Machine) })
	return out, nil
}

func (m Machine) compare(o Machine) int {
	return cmp.Or(cmp.Compare(m.GroupID, o.GroupID), cmp.Compare(m.Name, o.Name))
}
