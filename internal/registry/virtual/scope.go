package virtual

import (
	"context"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// begin prepares a walk: narrowing, then claims.
func (r *Registry) begin(ctx context.Context, q Query) *walk {
	w := &walk{r: r, q: q, steps: make([]step, len(r.members)), limit: len(r.members), served: -1}
	w.narrow(NSFrom(ctx))
	for i := range w.steps {
		w.steps[i].name = r.members[i].name(w.q.Repository)
		if !r.members[i].Enabled {
			w.steps[i].out = outOff
		}
	}
	w.claim(ctx)
	return w
}

// narrow leaves out the members that do not serve ns, or the host that the name starts with. A first segment that looks
// like a host is one if a member serves it. If none does, it is a part of the name, but that of a public registry is then
// a name for local members only.
func (w *walk) narrow(ns string) {
	if ns != "" {
		w.narrowed = oci.CanonicalHost(ns)
		w.keepHost(w.narrowed)
	}
	host, rest, ok := splitHost(w.q.Repository)
	if !ok {
		return
	}
	for i := range w.r.members {
		if w.r.members[i].hosts[host] {
			w.q.Repository, w.narrowed = rest, host
			w.keepHost(host)
			return
		}
	}
	if publicRegistry(host) {
		w.narrowed = host
		for i := range w.steps {
			if !w.r.members[i].Local {
				w.steps[i].out = outHost
			}
		}
	}
}

func (w *walk) keepHost(host string) {
	for i := range w.steps {
		if !w.r.members[i].hosts[host] {
			w.steps[i].out = outHost
		}
	}
}

// claim leaves out every member but the owner of the name, if it has one. All members can own, those out already too.
func (w *walk) claim(ctx context.Context) {
	for i := range w.r.members {
		if w.r.members[i].claims(w.q.Repository) {
			w.own(i, outClaimed)
			return
		}
	}
	for i := range w.r.members {
		m := &w.r.members[i]
		if !m.Local || m.Member == nil {
			continue
		}
		peek, err := w.look(ctx, i)
		if err != nil { // it might own the name: nobody else may be asked
			w.lose(i, err)
			w.done = true
			return
		}
		if peek.Exists || peek.Answer == registry.Forbidden {
			w.own(i, outExists)
			return
		}
	}
}

// own leaves out everyone but the owner. An owner by existence that takes no part itself must not show that it has the name.
func (w *walk) own(owner int, why outReason) {
	if why == outExists && w.steps[owner].out != in {
		w.hidden, w.done = true, true
	}
	for i := range w.steps {
		if s := &w.steps[i]; i != owner && s.out == in {
			s.out, s.owner = why, owner
		}
	}
}
