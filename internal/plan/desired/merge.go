package desired

import "fmt"

// Merge joins the declarations of several files: the parts of a group that appears in more than one are put together. It is
// an error when they disagree about the group itself.
func Merge(documents ...Document) (Document, error) {
	var out Document
	index := map[string]int{}
	for _, d := range documents {
		for _, g := range d.Groups {
			i, seen := index[g.Name]
			if !seen {
				index[g.Name] = len(out.Groups)
				out.Groups = append(out.Groups, g)
				continue
			}
			into := &out.Groups[i]
			if into.Enabled != nil && g.Enabled != nil && *into.Enabled != *g.Enabled {
				return Document{}, fmt.Errorf("group %q is declared both enabled and disabled", g.Name)
			}
			if g.Enabled != nil {
				into.Enabled = g.Enabled
			}
			into.Credentials = append(into.Credentials, g.Credentials...)
			into.Upstreams = append(into.Upstreams, g.Upstreams...)
			into.Registries = append(into.Registries, g.Registries...)
			into.Hosted = append(into.Hosted, g.Hosted...)
			into.HostBindings = append(into.HostBindings, g.HostBindings...)
			into.Roles = append(into.Roles, g.Roles...)
			into.Robots = append(into.Robots, g.Robots...)
			into.TrustRules = append(into.TrustRules, g.TrustRules...)
			into.Grants = append(into.Grants, g.Grants...)
		}
	}
	return out, nil
}
