package access

import "context"

// Permission is what Check decides about one action.
type Permission struct {
	Action Action
	Decision
}

// Permissions asks Check about every action at a path, the weakest first; with an empty path about those that have none. public is
// as in Request. The error is as Check's.
func (d *Directory) Permissions(ctx context.Context, p Principal, path string, public bool) ([]Permission, error) {
	s, err := d.current(ctx)
	if err != nil {
		return nil, err
	}
	var out []Permission
	for _, a := range Actions() {
		r := Request{Action: a, Path: path, Public: public}
		switch {
		case a == Administer:
			r = Request{Action: a}
		case path == "" && a != Catalog:
			continue
		}
		out = append(out, Permission{a, s.check(p, r)})
	}
	return out, nil
}
