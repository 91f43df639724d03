package access

import "context"

// Permission is what Check decides about one action.
type Permission struct {
	Action Action
	Decision
}

// Permissions asks Check about every action at a path, the weakest first. public is as in Request. The error is as Check's.
func (d *Directory) Permissions(ctx context.Context, p Principal, path string, public bool) ([]Permission, error) {
	s, err := d.current(ctx)
	if err != nil {
		return nil, err
	}
	all := Actions()
	out := make([]Permission, len(all))
	for i, a := range all {
		r := Request{Action: a, Path: path, Public: public}
		if a == Administer {
			r = Request{Action: a}
		}
		out[i] = Permission{a, s.check(p, r)}
	}
	return out, nil
}
