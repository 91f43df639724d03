package access

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// TrustRule lets workloads in by tokens of another issuer: whoever brings one that fulfils it is the rule's account.
type TrustRule struct {
	Machine
	Issuer     string        // URL, exactly as the token's iss claim has it
	Audience   string        // that the token must be for
	Conditions []Condition   // all of them must hold
	Keys       string        // the issuer's keys as a JWKS; empty = found by discovery
	Lifetime   time.Duration // of the tokens that an exchange gives
	SingleUse  bool          // a token can be exchanged once, and is no password
}

// Condition is one thing that a token's claims must have. A claim within another is written with a slash:
// "kubernetes.io/namespace". Of a list, one element must do. Exactly one of Equals and Matches is set.
type Condition struct {
	Claim   string `json:"claim"`
	Equals  string `json:"equals,omitempty" doc:"The claim is this, in the same letters"`
	Matches string `json:"matches,omitempty" doc:"The claim matches this: * stands for any characters, ? for one"`
}

// Bounds of a trust rule.
const (
	DefaultLifetime = time.Hour
	MinLifetime     = time.Minute
	MaxLifetime     = 24 * time.Hour
	maxConditions   = 20
	maxKeys         = 64 << 10
	maxText         = 1024
)

// trustRule is a rule as requests need it. It is never changed.
type trustRule struct {
	query.TrustRule
	account    *user
	conditions []Condition
}

func (s *snapshot) readTrustRules(ctx context.Context, q *query.Queries) error {
	rows, err := q.AccessTrustRules(ctx)
	if err != nil {
		return err
	}
	s.issuers = map[string][]*trustRule{}
	for _, row := range rows {
		u := s.users[row.AccountID]
		if u == nil {
			continue
		}
		r := &trustRule{TrustRule: row, account: u}
		if err := json.Unmarshal([]byte(row.Conditions), &r.conditions); err != nil || len(r.conditions) == 0 {
			continue // a rule that cannot be read lets nobody in
		}
		// What it let in ends when the rule is changed: as with a password.
		u.rule, u.stamp = r, stampOf(strings.Join([]string{row.Issuer, row.Audience, row.Conditions, row.Keys, strconv.FormatBool(row.SingleUse)}, "\x00"))
		if !u.disabled {
			s.issuers[row.Issuer] = append(s.issuers[row.Issuer], r)
		}
	}
	return nil
}

func (u *user) trustRule() TrustRule {
	return u.rule.public(u.machine())
}

func (r *trustRule) public(m Machine) TrustRule {
	return TrustRule{
		Machine: m, Issuer: r.Issuer, Audience: r.Audience, Conditions: slices.Clone(r.conditions), Keys: r.Keys,
		Lifetime: time.Duration(r.Lifetime) * time.Second, SingleUse: r.SingleUse,
	}
}

// check names what is wrong with a rule: *FieldError. It fills in what has a default.
func (r *TrustRule) check() error {
	if err := r.Machine.check(); err != nil {
		return err
	}
	r.Lifetime = cmp.Or(r.Lifetime, DefaultLifetime)
	u, err := url.Parse(r.Issuer)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(r.Issuer) > maxText:
		return &FieldError{"issuer", "want the URL that the tokens have as their iss claim, such as https://gitlab.example.com"}
	case r.Keys == "" && !Untouched(u):
		return &FieldError{"issuer", "want https: who is on the way could put in keys of their own. Without it, only what runs on this machine, or an issuer whose keys you give"}
	case r.Audience == "" || len(r.Audience) > maxText:
		return &FieldError{"audience", "want what the tokens have as their aud claim: ask the issuer for tokens that are for this server alone"}
	case r.Lifetime < MinLifetime || r.Lifetime > MaxLifetime:
		return &FieldError{"lifetime_seconds", fmt.Sprintf("want %d to %d", int(MinLifetime.Seconds()), int(MaxLifetime.Seconds()))}
	case len(r.Conditions) == 0 || len(r.Conditions) > maxConditions:
		return &FieldError{"conditions", fmt.Sprintf("want 1 to %d: without any, everybody with a token of the issuer would come in", maxConditions)}
	case r.Keys != "" && !validKeys(r.Keys):
		return &FieldError{"keys", "not a JWKS (RFC 7517) with public keys"}
	}
	for i, c := range r.Conditions {
		where := fmt.Sprintf("conditions[%d]", i)
		switch {
		case c.Claim == "" || len(c.Claim) > maxText || len(c.Equals) > maxText || len(c.Matches) > oci.MaxPatternLength:
			return &FieldError{where, "want the name of a claim, and what it is"}
		case (c.Equals == "") == (c.Matches == ""):
			return &FieldError{where, "want exactly one of equals and matches"}
		case c.Matches != "" && strings.Trim(c.Matches, "*?") == "":
			return &FieldError{where + ".matches", "matches everything: say more, or leave the condition out"}
		}
	}
	return nil
}

// Untouched reports whether nobody on the way can change what is at a URL: it comes over https, or from this machine.
func Untouched(u *url.URL) bool {
	a, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && a.Unmap().IsLoopback())
}

func validKeys(text string) bool {
	var keys jose.JSONWebKeySet
	if len(text) > maxKeys || json.Unmarshal([]byte(text), &keys) != nil || len(keys.Keys) == 0 {
		return false
	}
	return !slices.ContainsFunc(keys.Keys, func(k jose.JSONWebKey) bool { return !k.Valid() || !k.IsPublic() })
}

// FieldError names the field of a request that is not what it should be.
type FieldError struct{ Field, Message string }

// Error implements error.
func (e *FieldError) Error() string { return e.Field + ": " + e.Message }

// TrustRules lists the trust rules of a group by name.
func (d *Directory) TrustRules(ctx context.Context, group int64) ([]TrustRule, error) {
	s, err := d.current(ctx)
	if err != nil {
		return nil, err
	}
	var out []TrustRule
	for _, u := range s.users {
		if u.rule != nil && u.group == group {
			out = append(out, u.trustRule())
		}
	}
	slices.SortFunc(out, func(a, b TrustRule) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// TrustRule returns a trust rule by name; ErrNotFound.
func (d *Directory) TrustRule(ctx context.Context, group int64, name string) (TrustRule, error) {
	u, err := d.machineUser(ctx, group, name, Workload)
	if err == nil && u.rule == nil {
		err = fmt.Errorf("trust rule %q: %w", name, ErrNotFound)
	}
	if err != nil {
		return TrustRule{}, err
	}
	return u.trustRule(), nil
}

// PutTrustRule makes a trust rule, or changes one: then the tokens that it gave before end, unless only its grants and lifetime
// changed. check is as in PutRobot. *FieldError, ErrMachineName, ErrPath, ErrRole, ErrGrants, ErrExists (a robot has the name), ErrNotFound (group).
func (d *Directory) PutTrustRule(ctx context.Context, by Actor, r TrustRule, check func(now *TrustRule) error) (out TrustRule, err error) {
	err = d.edit(ctx, by, func(ctx context.Context, e Edit) error {
		out, err = e.PutTrustRule(ctx, r, check)
		return err
	})
	return out, err
}

// DeleteTrustRule removes a trust rule; the tokens that it gave end. ErrNotFound.
func (d *Directory) DeleteTrustRule(ctx context.Context, by Actor, group int64, name string, check func(now *TrustRule) error) error {
	return d.edit(ctx, by, func(ctx context.Context, e Edit) error { return e.DeleteTrustRule(ctx, group, name, check) })
}

// PutTrustRule is Directory.PutTrustRule.
func (e Edit) PutTrustRule(ctx context.Context, r TrustRule, check func(now *TrustRule) error) (TrustRule, error) {
	if err := r.check(); err != nil {
		return TrustRule{}, err
	}
	now, err := trustRuleNow(ctx, e.Tx, r.GroupID, r.Name)
	if err == nil {
		err = checked(check, now)
	}
	if err == nil {
		err = e.putTrustRule(ctx, &r, now)
	}
	if err == nil {
		err = e.machineEvent(ctx, "trust_rule.put", r.Machine, now.plain(), r.plain())
	}
	if err == nil {
		err = e.changed(ctx, keyDirectory)
	}
	if err != nil {
		return TrustRule{}, fmt.Errorf("put trust rule %q: %w", r.Name, err)
	}
	return r, nil
}

func (e Edit) putTrustRule(ctx context.Context, r, now *TrustRule) (err error) {
	conditions, err := json.Marshal(r.Conditions)
	if err != nil {
		return err
	}
	var before *Machine
	if now != nil {
		before = &now.Machine
	}
	if r.Machine, err = e.putMachine(ctx, Workload, r.Machine, before); err != nil {
		return err
	}
	return e.Tx.PutTrustRule(ctx, query.PutTrustRuleParams{
		AccountID: r.ID, Issuer: r.Issuer, Audience: r.Audience, Conditions: string(conditions), Keys: r.Keys,
		Lifetime: int64(r.Lifetime / time.Second), SingleUse: r.SingleUse,
	})
}

// DeleteTrustRule is Directory.DeleteTrustRule.
func (e Edit) DeleteTrustRule(ctx context.Context, group int64, name string, check func(now *TrustRule) error) error {
	now, err := trustRuleNow(ctx, e.Tx, group, name)
	if err == nil && now == nil {
		err = ErrNotFound
	}
	if err == nil {
		err = checked(check, now)
	}
	if err == nil {
		err = deleteAccount(ctx, e.Tx, now.ID)
	}
	if err == nil {
		err = e.machineEvent(ctx, "trust_rule.deleted", now.Machine, now.plain(), nil)
	}
	if err == nil {
		err = e.changed(ctx, keyDirectory)
	}
	if err != nil {
		return fmt.Errorf("delete trust rule %q: %w", name, err)
	}
	return nil
}

func trustRuleNow(ctx context.Context, tx *meta.Tx, group int64, name string) (*TrustRule, error) {
	m, err := machineNow(ctx, tx, group, name, Workload)
	if m == nil || err != nil {
		return nil, err
	}
	row, err := tx.GetTrustRule(ctx, m.ID)
	if errors.Is(err, sql.ErrNoRows) {
		return &TrustRule{Machine: *m}, nil
	}
	if err != nil {
		return nil, err
	}
	r := &trustRule{TrustRule: row}
	if err := json.Unmarshal([]byte(row.Conditions), &r.conditions); err != nil {
		r.conditions = nil
	}
	out := r.public(*m)
	return &out, nil
}

func (r *TrustRule) plain() map[string]any {
	if r == nil {
		return nil
	}
	out := plain(&r.Machine)
	out["issuer"], out["audience"], out["conditions"], out["lifetime_seconds"] = r.Issuer, r.Audience, r.Conditions, int64(r.Lifetime.Seconds())
	out["single_use"], out["own_keys"] = r.SingleUse, r.Keys != ""
	return out
}

// Test tells whether claims fulfil the rule at a time, and if not, each thing that they lack. It is what decides at a login, after the
// token's signature is checked.
func (r TrustRule) Test(claims map[string]any, now time.Time) (lacks []string) {
	lacks = untimely(claims, now)
	if s, _ := claims["iss"].(string); s != r.Issuer {
		lacks = append(lacks, "the claim iss is not "+r.Issuer)
	}
	if !holds(claims["aud"], func(s string) bool { return s == r.Audience }) {
		lacks = append(lacks, "the claim aud does not have "+r.Audience)
	}
	for _, c := range r.Conditions {
		if lack := c.test(claims); lack != "" {
			lacks = append(lacks, lack)
		}
	}
	return lacks
}

// untimely tells what is wrong with the times of claims.
func untimely(claims map[string]any, now time.Time) (lacks []string) {
	issued, expires, begins := seconds(claims["iat"]), seconds(claims["exp"]), seconds(claims["nbf"])
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	if issued.IsZero() {
		lacks = append(lacks, "there is no claim iat: when the token was issued")
	}
	switch {
	case expires.IsZero():
		lacks = append(lacks, "there is no claim exp: when the token expires")
	case !now.Before(expires):
		lacks = append(lacks, "the token has expired: its exp is "+at(expires))
	case !issued.IsZero() && expires.Sub(issued) > maxForeignLife:
		lacks = append(lacks, fmt.Sprintf("the token lives longer than %d hours: from iat to exp", maxForeignLife/time.Hour))
	}
	switch early := now.Add(foreignSkew); {
	case issued.After(early):
		lacks = append(lacks, "the token is from the future: its iat is "+at(issued))
	case begins.After(early):
		lacks = append(lacks, "the token is not valid yet: its nbf is "+at(begins))
	}
	return lacks
}

// Holds reports whether claims fulfil the condition.
func (c Condition) Holds(claims map[string]any) bool { return c.test(claims) == "" }

func (c Condition) test(claims map[string]any) (lack string) {
	value, ok := claim(claims, c.Claim)
	switch {
	case !ok:
		return "there is no claim " + c.Claim
	case c.Equals != "" && !holds(value, func(s string) bool { return s == c.Equals }):
		return "the claim " + c.Claim + " is not " + c.Equals
	case c.Matches != "" && !holds(value, oci.Pattern{Repository: c.Matches}.MatchRepository):
		return "the claim " + c.Claim + " does not match " + c.Matches
	}
	return ""
}

// claim finds a claim by its whole name, then by the parts between slashes.
func claim(claims map[string]any, name string) (any, bool) {
	if v, ok := claims[name]; ok {
		return v, true
	}
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		if inner, ok := claims[name[:i]].(map[string]any); ok {
			if v, ok := claim(inner, name[i+1:]); ok {
				return v, true
			}
		}
	}
	return nil, false
}

// holds reports whether a value, or one element of a list, is text, a number or a truth value that ok accepts.
func holds(value any, ok func(string) bool) bool {
	switch v := value.(type) {
	case string:
		return ok(v)
	case bool:
		return ok(strconv.FormatBool(v))
	case json.Number:
		return ok(v.String())
	case float64:
		return ok(strconv.FormatFloat(v, 'f', -1, 64))
	case []any:
		return slices.ContainsFunc(v, func(e any) bool {
			_, list := e.([]any)
			return !list && holds(e, ok)
		})
	}
	return false
}
