package virtual

import (
	"context"
	"errors"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Decision is a walk with its reasons: what explain shows and audit records. It names every member, so it is for those who may
// see the registry's configuration; errors to clients carry ErrorDetail. Durations are in seconds.
type Decision struct {
	ID         string               `json:"id,omitempty"`
	Group      string               `json:"group"`
	Registry   string               `json:"registry"`
	Generation int64                `json:"generation,omitempty"`
	Kind       string               `json:"kind"`
	Repository string               `json:"repository"` // as asked for, without a host
	Reference  string               `json:"reference,omitempty"`
	Narrowed   string               `json:"narrowed,omitempty"` // host that ?ns= or the name narrowed the request to
	Members    []Considered         `json:"members"`
	Result     Result               `json:"result"`
	Status     int                  `json:"status,omitempty"` // HTTP status; 0 if undecided or the client left
	Member     string               `json:"member,omitempty"` // that answered, or in a plan would be asked first with an entry
	Cache      registry.CacheStatus `json:"cache,omitempty"`
	Age        float64              `json:"age_seconds,omitempty"`
	Rule       string               `json:"rule,omitempty"` // that excluded the request
	Message    string               `json:"message,omitempty"`
}

// Considered is one member in a decision.
type Considered struct {
	Member     string               `json:"member"`
	Local      bool                 `json:"local,omitempty"`
	Repository string               `json:"repository"`           // the member's own name
	Verdict    string               `json:"verdict"`              // may_answer, off, other_host, claimed, rule
	Rule       string               `json:"rule,omitempty"`       // verdict rule
	Claimed    string               `json:"claimed_by,omitempty"` // verdict claimed: the owner
	Held       string               `json:"held,omitempty"`       // what its store holds: nothing, fresh, stale, fresh_absent, referenced; hidden from the caller
	HeldAge    float64              `json:"held_age_seconds,omitempty"`
	FreshFor   float64              `json:"fresh_for_seconds,omitempty"` // -1 = for ever
	Digest     oci.Digest           `json:"digest,omitempty"`            // of what it holds
	Would      string               `json:"would,omitempty"`             // plan: serve, revalidate, ask
	Order      int                  `json:"order,omitempty"`             // asked as the nth, or would be
	Answer     registry.Outcome     `json:"answer,omitempty"`
	Cache      registry.CacheStatus `json:"cache,omitempty"`
	Age        float64              `json:"age_seconds,omitempty"`
	Status     int                  `json:"status,omitempty"` // the upstream's
	Reason     string               `json:"reason,omitempty"`
	At         *time.Time           `json:"at,omitempty"`      // when that was, of a failure that is remembered while the upstream is left alone
	Limited    bool                 `json:"limited,omitempty"` // a rate limit or budget is the cause
	RetryAfter float64              `json:"retry_after_seconds,omitempty"`
}

// decide turns the walk into a Decision.
func (w *walk) decide(result Result, err error) Decision {
	d := Decision{
		ID: w.decisionID(), Group: w.r.opt.Group, Registry: w.r.opt.Name, Generation: w.r.opt.Generation, Kind: w.q.Kind.String(),
		Repository: w.q.Repository, Reference: w.q.Reference.String(), Narrowed: w.narrowed, Result: result,
		Members: make([]Considered, len(w.steps)),
	}
	for i := range w.steps {
		d.Members[i] = w.considered(i)
	}
	switch {
	case err != nil:
		if e, ok := errors.AsType[*oci.Error](err); ok {
			d.Status, d.Message = e.Status(), e.Message
			if detail, ok := e.Detail.(ErrorDetail); ok {
				d.Rule = detail.Rule
			}
		}
	case result == ResultFound:
		d.Status = 200
	}
	if w.served >= 0 && err == nil {
		d.Member = d.Members[w.served].Member
		d.Cache, d.Age = d.Members[w.served].Cache, d.Members[w.served].Age
		if w.plan && result == ResultFound {
			d.Cache, d.Age = registry.CacheHit, d.Members[w.served].HeldAge
		}
	}
	return d
}

func (w *walk) considered(i int) Considered {
	s, m := &w.steps[i], &w.r.members[i]
	c := Considered{Member: m.Name, Local: m.Local, Repository: s.name, Verdict: s.out.String(), Rule: s.rule, Order: s.order}
	if s.out == outClaimed || s.out == outExists {
		c.Claimed = w.r.members[s.owner].Name
	}
	if s.peeked {
		c.Held, c.Digest, c.HeldAge, c.FreshFor = s.peek.State.String(), s.peek.Digest, seconds(s.peek.Age), freshSeconds(s.peek.FreshFor)
		if s.peek.Answer == registry.Forbidden {
			c.Held = "hidden"
		}
	}
	if w.plan && s.order > 0 {
		switch s.peek.State {
		case Fresh:
			c.Would = "serve"
		case Stale:
			c.Would = "revalidate"
		default:
			c.Would = "ask"
		}
	}
	if a := s.answer; a != nil {
		c.Answer, c.Cache, c.Age, c.Status, c.Reason = a.Outcome, a.Cache, seconds(a.Age), a.Status, a.Reason
		c.Limited, c.RetryAfter = a.Limited, seconds(a.RetryAfter)
		if !a.At.IsZero() {
			at := a.At.UTC()
			c.At = &at
		}
	}
	return c
}

// publish leaves the walk on the request's trace. A hit costs no more than an id; the whole decision is kept for everything that
// someone might ask about later.
func (w *walk) publish(ctx context.Context, result Result, err error) {
	trace := registry.TraceFrom(ctx)
	if trace == nil {
		return
	}
	var a *Answer
	if w.served >= 0 && err == nil {
		a = w.steps[w.served].answer
	}
	var decision any
	if a == nil || a.Cache != registry.CacheHit && a.Cache != registry.CacheRevalidated {
		decision = w.decide(result, err)
	}
	trace.Update(func(v *registry.TraceValues) {
		v.Group, v.Registry, v.Repository = w.r.opt.Group, w.r.opt.Name, w.q.Repository
		v.DecisionID, v.Decision = w.decisionID(), decision
		if a != nil {
			v.Member, v.Cache, v.Age, v.Reason = w.r.members[w.served].Name, a.Cache, a.Age, a.Reason
		}
	})
}

func (w *walk) decisionID() string {
	if w.id == "" {
		w.id = w.r.opt.NewID()
	}
	return w.id
}

// freshSeconds has one number for ever.
func freshSeconds(d time.Duration) float64 {
	if d < 0 {
		return -1
	}
	return seconds(d)
}

func seconds(d time.Duration) float64 { return d.Seconds() }

// String is the word used in decisions.
func (k Kind) String() string {
	switch k {
	case KindManifest:
		return "manifest"
	case KindBlob:
		return "blob"
	case KindTags:
		return "tags"
	case KindReferrers:
		return "referrers"
	}
	return "none"
}

// String is the word used in decisions.
func (s State) String() string {
	switch s {
	case Fresh:
		return "fresh"
	case Stale:
		return "stale"
	case FreshAbsent:
		return "fresh_absent"
	case Referenced:
		return "referenced"
	}
	return "nothing"
}

// String is the word used in decisions. That a local member holds the name is a claim like any other.
func (o outReason) String() string {
	switch o {
	case outOff:
		return "off"
	case outHost:
		return "other_host"
	case outClaimed, outExists:
		return "claimed"
	case outRule:
		return "rule"
	}
	return "may_answer"
}
