package virtual

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/registry"
)

// Result is how a walk ended.
type Result string

// Results.
const (
	ResultFound       Result = "found"
	ResultNotFound    Result = "not_found"   // 404: every member that was asked said no
	ResultExcluded    Result = "excluded"    // 403: rules exclude every member
	ResultLogin       Result = "login"       // 401: as the two before, but nobody is logged in who might be told more
	ResultLimited     Result = "limited"     // 429: not found, and rate limits kept members from answering
	ResultUnavailable Result = "unavailable" // 503: not found, and some member did not answer
	ResultFailed      Result = "failed"      // the request was wrong, or its client left
	ResultUndecided   Result = "undecided"   // a plan: members would have to be asked
)

// ErrorDetail is the "detail" of the errors that a virtual registry answers with, except 404, which says nothing that
// could tell a name nobody has from one the caller may not see.
type ErrorDetail struct {
	Decision string         `json:"decision,omitempty"`
	Rule     string         `json:"rule,omitempty"`
	Members  []MemberDetail `json:"members,omitempty"`
}

// MemberDetail is what one member answered.
type MemberDetail struct {
	Member string           `json:"member"`
	Answer registry.Outcome `json:"answer"`
	Status int              `json:"status,omitempty"`
	Reason string           `json:"reason,omitempty"`
}

// conclude says how the walk ended and what the client is told; the error is nil for found and undecided.
func (w *walk) conclude(ctx context.Context) (Result, error) {
	broken := w.all && w.limit < len(w.steps) // a member that must answer did not, so the collection is not whole
	switch {
	case w.fault != nil:
		return ResultFailed, w.fault
	case w.served < 0 && ctx.Err() != nil:
		return ResultFailed, ctx.Err()
	case w.hidden:
		result, err := w.asNobody(ctx)
		return w.orLogin(ctx, result, err)
	case w.plan && w.asked > 0:
		if w.asked == 1 && w.served >= 0 && w.steps[w.served].peek.State == Fresh {
			return ResultFound, nil
		}
		return ResultUndecided, nil
	case w.served >= 0 && !broken:
		return ResultFound, nil
	case w.unknowns() > 0:
		return w.unavailable(ctx)
	}
	if of, ok := w.excluded(); ok {
		result, err := w.denied(of)
		return w.orLogin(ctx, result, err)
	}
	return w.orLogin(ctx, ResultNotFound, w.notFound(ctx))
}

// orLogin turns a "no" into 401 where a local member might say more to somebody who is logged in: clients such as containerd
// send credentials only when asked for them. It must not depend on whether the name exists. A verdict of the rules on a tag
// is the same for everybody and stays; one on a digest depends on the admissions, which nobody is told of without the right.
func (w *walk) orLogin(ctx context.Context, result Result, err error) (Result, error) {
	if result != ResultNotFound && (result != ResultExcluded || !w.q.Reference.IsDigest()) {
		return result, err
	}
	for i := range w.steps {
		s, m := &w.steps[i], &w.r.members[i]
		part := s.out == in || s.out == outRule || s.out == outExists && w.hidden
		if !part || !m.Local || m.Member == nil {
			continue
		}
		peek, err := w.look(ctx, i)
		if err != nil {
			w.lose(i, err)
			return w.unavailable(ctx)
		}
		if peek.Login {
			return ResultLogin, oci.NewError(oci.CodeUnauthorized, "log in to pull "+w.subject()+" from registry "+w.r.path()+
				"; without, nothing is found there")
		}
	}
	return result, err
}

// unknowns counts the members that may have the content and count.
func (w *walk) unknowns() int {
	n := 0
	for i := range w.steps {
		if i <= w.limit && w.unknown(i) {
			n++
		}
	}
	return n
}

// excluded reports whether rules exclude every member that could have taken part, and returns the first ruling.
func (w *walk) excluded() (first ruling, ok bool) {
	for i := range w.steps {
		switch s := &w.steps[i]; s.out {
		case in:
			return ruling{}, false
		case outRule:
			if !ok {
				first, ok = ruling{exclusion: s.rule, unadmitted: s.orphan}, true
			}
		}
	}
	return first, ok
}

// asNobody answers for a name that a local member keeps from the caller, exactly as if nobody had it. So rules are judged as
// though local members did not know the name, and the members that its ownership kept out are judged too.
func (w *walk) asNobody(ctx context.Context) (Result, error) {
	var first *ruling
	for i := range w.steps {
		if s := &w.steps[i]; s.out != in && s.out != outExists && s.out != outRule {
			continue
		}
		of, err := w.r.judge(ctx, i, w.steps[i].name, &w.q, !w.r.members[i].Local)
		if err != nil {
			w.lose(i, err)
			return w.unavailable(ctx)
		}
		if of.exclusion == "" {
			return ResultNotFound, w.unknownName()
		}
		if first == nil {
			first = &of
		}
	}
	if first != nil {
		return w.denied(*first)
	}
	return ResultNotFound, w.notFound(ctx)
}

// denied is 403: every member is excluded by rule. It names the first one's rule. HEAD of a blob that came in through no tag
// is 404 instead: pushing clients ask so whether to send it, and a 403 would end the push before the upload is refused with
// the reason.
func (w *walk) denied(of ruling) (Result, error) {
	if of.unadmitted && w.q.Kind == KindBlob && w.q.Mode == ModeHead {
		return ResultNotFound, w.unknownName()
	}
	message := excludes(of.exclusion, w.subject())
	if of.unadmitted {
		message = fmt.Sprintf("%s came in through no tag that the rules allow (%s): pull the image by a tag they allow, "+
			"or set digest_first: allow on registry %s", w.subject(), of.exclusion, w.r.path())
	}
	if id := w.decisionID(); id != "" {
		message += " (decision " + id + ")"
	}
	return ResultExcluded, oci.NewError(oci.CodeDenied, message).WithDetail(ErrorDetail{Decision: w.decisionID(), Rule: of.exclusion})
}

// retryDefault is when clients may come back if no member said. Without a Retry-After some take a 503 for final.
const retryDefault = 5 * time.Second

// unavailable is 429 when limits alone kept members from answering, otherwise 503. It names the members that were tried and
// why each did not have the content, as far as the caller may know them.
func (w *walk) unavailable(ctx context.Context) (Result, error) {
	limited := true
	var retry time.Duration
	var causes []error
	detail := ErrorDetail{Decision: w.decisionID()}
	var tried []string
	for i := range w.steps {
		a := w.steps[i].answer
		if a == nil || i > w.limit {
			continue
		}
		if w.unknown(i) {
			limited = limited && a.Limited
			if a.RetryAfter > 0 && (retry == 0 || a.RetryAfter < retry) {
				retry = a.RetryAfter
			}
			causes = append(causes, a.Err)
		}
		if a.Outcome != registry.Found && w.visible(ctx, i) {
			detail.Members = append(detail.Members, w.memberDetail(i))
			tried = append(tried, w.r.members[i].Name+": "+reason(a))
		}
	}
	if retry == 0 {
		retry = retryDefault
	}
	result, code, why := ResultUnavailable, oci.CodeUnavailable, "no upstream could deliver "
	switch {
	case w.blind:
		why = "this server's own database does not answer, so it cannot look up "
		tried, detail.Members = []string{"try again soon"}, nil
	case limited:
		result, code, why = ResultLimited, oci.CodeTooManyRequests, "rate limits keep upstreams from delivering "
	}
	message := why + w.subject()
	if len(tried) > 0 {
		message += ": " + strings.Join(tried, "; ")
	} else if id := w.decisionID(); id != "" {
		message += " (decision " + id + ")" // by which an operator finds the reasons
	}
	err := oci.NewError(code, message).WithDetail(detail).WithRetryAfter(retry)
	if cause := joined(causes); cause != nil {
		err = err.WithCause(cause)
	}
	return result, err
}

// notFound is 404, or the reason why nobody could be asked at all.
func (w *walk) notFound(ctx context.Context) *oci.Error {
	off, host := 0, 0
	var denied []MemberDetail
	for i := range w.steps {
		switch w.steps[i].out {
		case outOff:
			off++
		case outHost:
			host++
		}
		if a := w.steps[i].answer; a != nil && a.Outcome == registry.Denied && w.visible(ctx, i) {
			denied = append(denied, w.memberDetail(i))
		}
	}
	switch {
	case len(w.steps) == 0:
		return oci.NewError(oci.CodeNameUnknown, "registry "+w.r.path()+" has no upstreams yet")
	case off == len(w.steps):
		return oci.NewError(oci.CodeNameUnknown, "every upstream of registry "+w.r.path()+" is turned off")
	case host > 0 && off+host == len(w.steps):
		return oci.NewError(oci.CodeNameUnknown, fmt.Sprintf("no upstream of registry %s serves %q", w.r.path(), w.narrowed))
	case len(denied) > 0:
		return w.unknownName().WithDetail(ErrorDetail{Decision: w.decisionID(), Members: denied})
	}
	return w.unknownName()
}

// unknownName is the 404 of a name nobody has. It must depend on the request alone.
func (w *walk) unknownName() *oci.Error {
	code := oci.CodeNameUnknown
	switch w.q.Kind {
	case KindManifest, KindReferrers:
		code = oci.CodeManifestUnknown
	case KindBlob:
		code = oci.CodeBlobUnknown
	}
	return oci.NewError(code, "no upstream of registry "+w.r.path()+" has "+w.subject())
}

// subject is what the request asks for, in words.
func (w *walk) subject() string {
	switch {
	case w.q.Kind == KindTags || w.q.Reference.IsZero():
		return w.q.Repository
	case w.q.Kind == KindReferrers:
		return "referrers of " + w.q.Repository + "@" + w.q.Reference.String()
	case w.q.Reference.IsDigest():
		return w.q.Repository + "@" + w.q.Reference.String()
	}
	return w.q.Repository + ":" + w.q.Reference.String()
}

func (w *walk) visible(ctx context.Context, i int) bool {
	return w.frank || w.r.opt.Visible == nil || w.r.opt.Visible(ctx, w.r.members[i].Name)
}

func (w *walk) memberDetail(i int) MemberDetail {
	a := w.steps[i].answer
	return MemberDetail{Member: w.r.members[i].Name, Answer: a.Outcome, Status: a.Status, Reason: reason(a)}
}

func reason(a *Answer) string {
	switch {
	case !a.At.IsZero():
		text := a.Reason + " (at " + a.At.UTC().Format(time.TimeOnly) + " UTC"
		if a.RetryAfter > 0 {
			text += ", asked again in " + max(a.RetryAfter.Round(time.Second), time.Second).String()
		}
		return text + ")"
	case a.Reason != "":
		return a.Reason
	case a.Outcome == registry.Absent:
		return "not found"
	}
	return a.Outcome.String()
}

func joined(errs []error) error {
	var kept []error
	for _, err := range errs {
		if err != nil {
			kept = append(kept, err)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return causeError(kept)
}

// causeError keeps the members' errors for the log without letting errors.As find a protocol error among them: the client is
// told what the walk concluded, not what one member said.
type causeError []error

// Error implements error.
func (e causeError) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}
