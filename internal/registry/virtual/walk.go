package virtual

import (
	"context"
	"errors"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// walk is one resolution. Pulls, lists, explanations and probes differ in the query's mode and in plan alone.
type walk struct {
	r     *Registry
	q     Query // with the repository as asked for, without a host
	steps []step
	plan  bool // say what would be asked instead of asking
	all   bool // collect every member's answer
	frank bool // for somebody who may see the configuration: errors tell about every member

	narrowed string // host that the request was narrowed to
	limit    int    // members at and after it do not count any more
	asked    int
	served   int   // member that answered found, or -1
	hidden   bool  // a local member has the name and must not tell the caller
	blind    bool  // the store did not answer, which is no upstream's fault
	done     bool  // no further member is to be asked
	fault    error // ends the request as it is: the caller's mistake, or a context error

	id string // of the decision, made when first needed
}

// step is one member on the walk.
type step struct {
	name   string // the member's own name of the repository
	out    outReason
	owner  int    // outClaimed, outExists: the member that owns the name
	rule   string // outRule: which
	orphan bool   // outRule: a digest that no passing tag admitted

	peeked bool
	judged bool
	peek   Peek

	order  int     // 1 for the member asked first; in a plan, that would be asked first
	answer *Answer // from the store or from asking; nil or &given
	given  Answer
}

// outReason says why a member takes no part.
type outReason uint8

const (
	in         outReason = iota
	outOff               // turned off
	outHost              // does not serve the host that the request was narrowed to
	outClaimed           // a pattern gives the name to another member
	outExists            // the repository exists in a local member
	outRule              // excluded by a rule
)

// look peeks into member i's store, once.
func (w *walk) look(ctx context.Context, i int) (Peek, error) {
	s := &w.steps[i]
	if s.peeked {
		return s.peek, nil
	}
	peek, err := w.r.members[i].Member.Peek(ctx, w.query(i))
	if err != nil {
		return Peek{}, err
	}
	s.peek, s.peeked = peek, true
	return peek, nil
}

// query is the walk's query as member i gets it.
func (w *walk) query(i int) Query {
	q := w.q
	q.Repository = w.steps[i].name
	return q
}

// open reports whether member i still can be asked. The first time, it judges the member by the rules and settles it if
// its store has an authoritative no.
func (w *walk) open(ctx context.Context, i int) bool {
	s := &w.steps[i]
	if w.done || s.out != in || s.answer != nil || s.order > 0 {
		return false
	}
	if s.judged {
		return true
	}
	s.judged = true
	if err := w.judge(ctx, i); err != nil {
		w.lose(i, err)
	}
	return s.out == in && s.answer == nil && !w.done
}

func (w *walk) judge(ctx context.Context, i int) error {
	s, m := &w.steps[i], &w.r.members[i]
	known := true
	if m.Local { // before the rules: what is forbidden must look like what does not exist
		peek, err := w.look(ctx, i)
		if err != nil {
			return err
		}
		known = peek.Answer != registry.Forbidden
	}
	if !known {
		w.settle(i, Answer{Outcome: registry.Forbidden, Reason: s.peek.Reason})
		return nil
	}
	of, err := w.r.judge(ctx, i, s.name, &w.q, true)
	if err != nil {
		return err
	}
	if of.exclusion != "" {
		s.out, s.rule, s.orphan = outRule, of.exclusion, of.unadmitted
		return nil
	}
	peek, err := w.look(ctx, i)
	if err != nil {
		return err
	}
	if peek.State == FreshAbsent && !w.q.Refresh {
		outcome := registry.Absent
		if peek.Answer == registry.Denied {
			outcome = registry.Denied
		}
		w.settle(i, Answer{Outcome: outcome, Cache: registry.CacheHit, Age: peek.Age, Reason: peek.Reason})
	}
	return nil
}

// run asks until the walk ends.
func (w *walk) run(ctx context.Context) {
	for !w.done {
		i := w.next(ctx)
		if i < 0 || w.done {
			return
		}
		w.asked++
		w.steps[i].order = w.asked
		if w.plan {
			w.foresee(i)
			continue
		}
		a := w.r.members[i].Member.Ask(ctx, w.query(i))
		if err := ctx.Err(); err != nil && a.Outcome != registry.Found {
			w.fault, w.done = err, true
			return
		}
		w.settle(i, checked(a, &w.q))
	}
}

// next is the member to ask now: the candidate, or the first one left; -1 when there is none.
func (w *walk) next(ctx context.Context) int {
	if !w.all {
		if i := w.candidate(ctx); i >= 0 || w.done {
			return i
		}
	}
	for i := 0; i < w.limit; i++ {
		if w.open(ctx, i) {
			return i
		}
	}
	return -1
}

// candidate is the first member that holds an entry, for digests also the first that refers to it; -1 when there is none.
func (w *walk) candidate(ctx context.Context) int {
	immutable := w.immutable()
	referring := -1
	for i := range w.steps {
		if !immutable && i >= w.limit {
			break
		}
		if !w.open(ctx, i) {
			continue
		}
		switch w.steps[i].peek.State {
		case Fresh, Stale:
			return i
		case Referenced:
			if immutable && referring < 0 {
				referring = i
			}
		}
		if !immutable && w.strict(i) {
			break // it has to answer before anything below counts
		}
	}
	return referring
}

// immutable reports whether the query names content by its digest.
func (w *walk) immutable() bool {
	return w.q.Kind == KindBlob || w.q.Kind == KindManifest && w.q.Reference.IsDigest()
}

// strict reports whether members below i count only once i has answered with authority.
func (w *walk) strict(i int) bool { return w.r.opt.StrictPrecedence || w.r.members[i].StopOnUnknown }

// settle takes in a member's answer.
func (w *walk) settle(i int, a Answer) {
	s := &w.steps[i]
	s.given = a
	s.answer = &s.given
	if clientFault(a.Err) {
		w.fault, w.done = a.Err, true
		return
	}
	switch a.Outcome {
	case registry.Found:
		if w.served < 0 {
			w.served = i
		}
		w.done = !w.all
	case registry.Forbidden:
		w.hidden, w.done = true, true
	case registry.Unknown, registry.Denied:
		if w.unknown(i) && w.strict(i) {
			w.limit = min(w.limit, i)
		}
	}
}

// unknown reports whether member i's answer leaves open whether it has the content.
func (w *walk) unknown(i int) bool {
	a := w.steps[i].answer
	return a != nil && (a.Outcome == registry.Unknown || a.Outcome == registry.Denied && w.r.members[i].StopOnUnknown)
}

// foresee stands in for asking when planning: an entry would be served, anything else would be asked.
func (w *walk) foresee(i int) {
	if st := w.steps[i].peek.State; (st == Fresh || st == Stale) && !w.all {
		w.served, w.done = i, true
	}
}

// lose settles member i, which could not be judged because the store did not answer.
func (w *walk) lose(i int, err error) {
	w.blind = true
	w.settle(i, storeTrouble(err))
}

func storeTrouble(err error) Answer {
	return Answer{Outcome: registry.Unknown, Reason: "the store did not answer", Err: err}
}

// clientFault reports whether err is the caller's mistake, which no other member could put right.
func clientFault(err error) bool {
	switch oci.ErrorCode(err) {
	case oci.CodeRangeInvalid, oci.CodePaginationInvalid:
		return true
	}
	return false
}

var errAnswer = errors.New("the member broke its contract")

// checked turns an answer that breaks the contract of Member into an unknown one, so that no reader meets a nil.
func checked(a Answer, q *Query) Answer {
	ok := a.Outcome >= registry.Found && a.Outcome <= registry.Forbidden
	if a.Outcome == registry.Found {
		switch {
		case q.Kind == KindTags:
			ok = a.Tags != nil
		case q.Kind == KindReferrers:
			ok = a.Referrers != nil
		case q.Mode != ModeGet:
			ok = true
		case q.Kind == KindManifest:
			ok = a.Manifest != nil
		case q.Kind == KindBlob:
			ok = a.Blob != nil
		}
	}
	if ok || clientFault(a.Err) {
		return a
	}
	return Answer{Outcome: registry.Unknown, Reason: "internal error", Err: errors.Join(errAnswer, a.Err)}
}
