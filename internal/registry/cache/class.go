package cache

import "time"

// Class tells by which class a tag's freshness goes: its place in the definition, -1 for the default, and how long it is fresh, 0 for
// always to be asked. forever is true when it is never to be asked again.
func (f Freshness) Class(repository, tag string) (class int, fresh time.Duration, forEver bool) {
	for i, c := range f.classes {
		if c.pattern.Match(repository, tag) {
			return i, c.fresh, c.fresh == forever
		}
	}
	return -1, f.def, f.def == forever
}
