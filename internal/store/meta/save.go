package meta

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

// The Save methods insert a definition whose ID is 0, giving it one, and otherwise update the row of that ID; ErrNotFound
// when it is gone or belongs to another group. The Delete methods return ErrNotFound and, while something else refers to the
// definition, ErrInUse. Each raises the group's generation and notes a Change of kind ChangeDefinition.

// touch notes that the group's definitions have changed.
func (tx *Tx) touch(ctx context.Context, group int64, key string) error {
	if err := tx.Change(ctx, group, ChangeDefinition, key); err != nil {
		return err
	}
	if slices.Contains(tx.touched, group) {
		return nil
	}
	tx.touched = append(tx.touched, group)
	_, err := tx.BumpGeneration(ctx, query.BumpGenerationParams{UpdatedAt: micros(time.Now()), ID: group})
	return err
}

// SaveGroup saves the group's own fields, nothing below it.
func (tx *Tx) SaveGroup(ctx context.Context, g *Group) error {
	now := micros(time.Now())
	var err error
	if g.ID == 0 {
		g.ID = tx.ID()
		err = tx.InsertGroup(ctx, query.InsertGroupParams{ID: g.ID, Name: g.Name, Enabled: g.Enabled, CreatedAt: now, UpdatedAt: now})
	} else {
		err = updated(tx.UpdateGroup(ctx, query.UpdateGroupParams{Name: g.Name, Enabled: g.Enabled, UpdatedAt: now, ID: g.ID}))
	}
	if err != nil {
		return fmt.Errorf("save group %s: %w", g.Name, err)
	}
	return tx.touch(ctx, g.ID, "group")
}

// DeleteGroup deletes a group with its grants, roles, robots, trust rules and empty repositories: ErrInUse while it has definitions, or repositories that hold
// anything. What its upstreams had cached is collected once they are gone.
func (tx *Tx) DeleteGroup(ctx context.Context, id int64) error {
	name, err := tx.groupName(ctx, id)
	if err != nil {
		return err
	}
	g, err := tx.Group(ctx, name)
	if err != nil {
		return err
	}
	if n := len(g.Credentials) + len(g.Upstreams) + len(g.Registries) + len(g.HostedPrefixes) + len(g.HostBindings); n > 0 {
		return fmt.Errorf("delete group %s: %w: it has %d definitions", name, ErrInUse, n)
	}
	content, err := tx.groupContent(ctx, id)
	if err == nil && content != nil {
		err = content
	}
	for _, remove := range []func(context.Context, int64) error{
		tx.DeleteGroupCandidates, tx.DeleteGroupAdmissions, tx.DeleteGroupHistory, tx.DeleteGroupRepositories, tx.DeleteGroupGrants,
		tx.DeleteGroupRoles, tx.DeleteGroupTrustRules, tx.DeleteGroupTokens, tx.DeleteGroupAccountGrants, tx.DeleteGroupAccounts,
	} {
		if err == nil {
			err = remove(ctx, id)
		}
	}
	if err != nil {
		return fmt.Errorf("delete group %s: %w", name, err)
	}
	if err := updated(tx.Queries.DeleteGroup(ctx, id)); err != nil {
		return fmt.Errorf("delete group %s: %w", name, err)
	}
	return tx.Change(ctx, id, ChangeDefinition, "group")
}

// ContentError is ErrInUse for a group whose repositories hold content, or had some until a moment ago.
type ContentError struct {
	Hosted []string // some of those that people push to, or have begun to push to
	More   bool     // there are others
	Cached bool     // content of upstreams, or of upstreams that were deleted, which the collector has not taken away yet
}

// Error implements error.
func (e *ContentError) Error() string {
	return fmt.Sprintf("%v: %d hosted repositories hold content (more: %t, cached: %t)", ErrInUse, len(e.Hosted), e.More, e.Cached)
}

// Unwrap makes it ErrInUse.
func (e *ContentError) Unwrap() error { return ErrInUse }

const namedContent = 5 // repositories that a ContentError names

// groupContent is nil when the group holds nothing.
func (tx *Tx) groupContent(ctx context.Context, id int64) (*ContentError, error) {
	rows, err := tx.ListGroupContent(ctx, query.ListGroupContentParams{GroupID: id, N: namedContent + 1})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	e := &ContentError{}
	for _, row := range rows {
		switch {
		case row.UpstreamID != 0:
			e.Cached = true
		case len(e.Hosted) == namedContent:
			e.More = true
		default:
			e.Hosted = append(e.Hosted, row.Name)
		}
	}
	return e, nil
}

func (tx *Tx) groupName(ctx context.Context, id int64) (string, error) {
	g, err := tx.GetGroup(ctx, id)
	if err != nil {
		return "", fmt.Errorf("group %d: %w", id, noRows(err))
	}
	return g.Name, nil
}

// SaveCredential saves a credential. The caller has sealed Secret for the ID and Version it sets: a new credential
// therefore may come with the ID that the caller took from Tx.ID, and is inserted when no row has it.
func (tx *Tx) SaveCredential(ctx context.Context, group int64, c *Credential) error {
	now := micros(time.Now())
	hosts, err := encode(c.Hosts)
	if err != nil {
		return err
	}
	n := int64(0)
	if c.ID != 0 {
		n, err = tx.UpdateCredential(ctx, query.UpdateCredentialParams{
			Name: c.Name, Kind: c.Kind, Username: c.Username, Secret: bytesOf(c.Secret), Fingerprint: bytesOf(c.Fingerprint), Hosts: hosts,
			Version: c.Version, PreviousSecret: bytesOf(c.Previous.Secret), PreviousVersion: c.Previous.Version, PreviousUntil: toMicros(c.Previous.Until),
			UpdatedAt: now, ID: c.ID, GroupID: group,
		})
	} else {
		c.ID = tx.ID()
	}
	if err == nil && n == 0 {
		err = tx.InsertCredential(ctx, query.InsertCredentialParams{
			ID: c.ID, GroupID: group, Name: c.Name, Kind: c.Kind, Username: c.Username, Secret: bytesOf(c.Secret),
			Fingerprint: bytesOf(c.Fingerprint), Hosts: hosts, Version: c.Version,
			PreviousSecret: bytesOf(c.Previous.Secret), PreviousVersion: c.Previous.Version, PreviousUntil: toMicros(c.Previous.Until),
			CreatedAt: now, UpdatedAt: now,
		})
	}
	if err != nil {
		return fmt.Errorf("save credential %s: %w", c.Name, err)
	}
	return tx.touch(ctx, group, "credential/"+c.Name)
}

// DeleteCredential deletes a credential that no upstream uses.
func (tx *Tx) DeleteCredential(ctx context.Context, group, id int64) error {
	n, err := tx.CountCredentialUse(ctx, id)
	if err == nil && n > 0 {
		err = fmt.Errorf("%w by %d upstreams", ErrInUse, n)
	}
	if err == nil {
		err = updated(tx.Queries.DeleteCredential(ctx, query.DeleteCredentialParams{ID: id, GroupID: group}))
	}
	if err != nil {
		return fmt.Errorf("delete credential %d: %w", id, err)
	}
	return tx.touch(ctx, group, fmt.Sprint("credential/", id))
}

// SaveUpstream saves an upstream with its rules. Epoch 0 starts a new epoch: what is cached is not served any more.
func (tx *Tx) SaveUpstream(ctx context.Context, group int64, u *Upstream) error {
	now := micros(time.Now())
	freshness, err := encode(u.Freshness)
	if err != nil {
		return err
	}
	settings, err := encode(u.Settings)
	if err != nil {
		return err
	}
	if u.Epoch == 0 {
		u.Epoch = tx.ID()
	}
	if u.ID != 0 {
		if err := tx.outdate(ctx, group, u.ID, u.Epoch); err != nil {
			return fmt.Errorf("save upstream %s: %w", u.Name, err)
		}
	}
	if u.ID == 0 {
		u.ID = tx.ID()
		err = tx.InsertUpstream(ctx, query.InsertUpstreamParams{
			ID: u.ID, GroupID: group, Name: u.Name, Url: u.URL, Local: u.Local, CredentialID: u.CredentialID, Epoch: u.Epoch,
			Enabled: u.Enabled, OnUnknown: u.OnUnknown, OnUpstreamDelete: u.OnUpstreamDelete, Freshness: freshness, Settings: settings,
			CreatedAt: now, UpdatedAt: now,
		})
	} else {
		err = updated(tx.UpdateUpstream(ctx, query.UpdateUpstreamParams{
			Name: u.Name, Url: u.URL, Local: u.Local, CredentialID: u.CredentialID, Epoch: u.Epoch, Enabled: u.Enabled,
			OnUnknown: u.OnUnknown, OnUpstreamDelete: u.OnUpstreamDelete, Freshness: freshness, Settings: settings,
			UpdatedAt: now, ID: u.ID, GroupID: group,
		}))
	}
	if err == nil {
		err = tx.DeleteUpstreamRules(ctx, query.DeleteUpstreamRulesParams{GroupID: group, UpstreamID: u.ID})
	}
	if err == nil {
		err = tx.insertRules(ctx, query.InsertRuleParams{GroupID: group, UpstreamID: u.ID}, u.Rules)
	}
	if err != nil {
		return fmt.Errorf("save upstream %s: %w", u.Name, err)
	}
	return tx.touch(ctx, group, "upstream/"+u.Name)
}

// insertRules stores rules in order; owner has the group and the upstream or registry they belong to.
func (tx *Tx) insertRules(ctx context.Context, owner query.InsertRuleParams, rules []Rule) error {
	for i := range rules {
		r := &rules[i]
		if r.ID == 0 {
			r.ID = tx.ID()
		}
		owner.ID, owner.Position = r.ID, int32(i)
		owner.Action, owner.Pattern, owner.OnlyUpstreamID = r.Action, r.Pattern, r.OnlyUpstreamID
		if err := tx.InsertRule(ctx, owner); err != nil {
			return err
		}
	}
	return nil
}

// outdate has the collector look at what is cached of an upstream from other epochs than this one.
func (tx *Tx) outdate(ctx context.Context, group, upstream, epoch int64) error {
	return tx.PutOutdatedCandidates(ctx, query.PutOutdatedCandidatesParams{
		Digest: []byte{}, ReviewAfter: micros(time.Now()), GroupID: group, UpstreamID: upstream, Epoch: epoch,
	})
}

// DeleteUpstream deletes an upstream that no registry has as a member. Its cached content is no longer served, and collected.
func (tx *Tx) DeleteUpstream(ctx context.Context, group, id int64) error {
	n, err := tx.CountUpstreamUse(ctx, id)
	if err == nil && n > 0 {
		err = fmt.Errorf("%w by %d registries", ErrInUse, n)
	}
	if err == nil {
		err = tx.DeleteUpstreamRules(ctx, query.DeleteUpstreamRulesParams{GroupID: group, UpstreamID: id})
	}
	if err == nil {
		err = tx.outdate(ctx, group, id, 0)
	}
	if err == nil {
		err = updated(tx.Queries.DeleteUpstream(ctx, query.DeleteUpstreamParams{ID: id, GroupID: group}))
	}
	if err != nil {
		return fmt.Errorf("delete upstream %d: %w", id, err)
	}
	return tx.touch(ctx, group, fmt.Sprint("upstream/", id))
}

// SaveRegistry saves a registry with its members, in order, and rules.
func (tx *Tx) SaveRegistry(ctx context.Context, group int64, r *Registry) error {
	now := micros(time.Now())
	var err error
	if r.ID == 0 {
		r.ID = tx.ID()
		err = tx.InsertRegistry(ctx, query.InsertRegistryParams{
			ID: r.ID, GroupID: group, Name: r.Name, Format: r.Format, Enabled: r.Enabled, AnonymousPull: r.AnonymousPull,
			DigestFirst: r.DigestFirst, StrictPrecedence: r.StrictPrecedence, CreatedAt: now, UpdatedAt: now,
		})
	} else {
		err = updated(tx.UpdateRegistry(ctx, query.UpdateRegistryParams{
			Name: r.Name, Format: r.Format, Enabled: r.Enabled, AnonymousPull: r.AnonymousPull,
			DigestFirst: r.DigestFirst, StrictPrecedence: r.StrictPrecedence, UpdatedAt: now, ID: r.ID, GroupID: group,
		}))
	}
	if err == nil {
		err = tx.replaceMembers(ctx, r)
	}
	if err == nil {
		err = tx.DeleteRegistryRules(ctx, query.DeleteRegistryRulesParams{GroupID: group, RegistryID: r.ID})
	}
	if err == nil {
		err = tx.insertRules(ctx, query.InsertRuleParams{GroupID: group, RegistryID: r.ID}, r.Rules)
	}
	if err != nil {
		return fmt.Errorf("save registry %s: %w", r.Name, err)
	}
	return tx.touch(ctx, group, "registry/"+r.Name)
}

func (tx *Tx) replaceMembers(ctx context.Context, r *Registry) error {
	if err := tx.DeleteMembers(ctx, r.ID); err != nil {
		return err
	}
	for i, m := range r.Members {
		claims, err := encode(m.Claims)
		if err != nil {
			return err
		}
		err = tx.InsertMember(ctx, query.InsertMemberParams{
			RegistryID: r.ID, Position: int32(i), UpstreamID: m.UpstreamID, Enabled: m.Enabled, Claims: claims,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// DeleteRegistry deletes a registry, given by group name and value, that no host binding leads to.
func (tx *Tx) DeleteRegistry(ctx context.Context, group, id int64) error {
	name, err := tx.groupName(ctx, group)
	if err != nil {
		return err
	}
	g, err := tx.Group(ctx, name)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(g.Registries, func(r Registry) bool { return r.ID == id })
	if i < 0 {
		return fmt.Errorf("delete registry %d: %w", id, ErrNotFound)
	}
	n, err := tx.CountRegistryUse(ctx, name+"/"+g.Registries[i].Name)
	if err == nil && n > 0 {
		err = fmt.Errorf("%w by %d host bindings", ErrInUse, n)
	}
	if err == nil {
		err = tx.DeleteRegistryRules(ctx, query.DeleteRegistryRulesParams{GroupID: group, RegistryID: id})
	}
	if err == nil {
		err = updated(tx.Queries.DeleteRegistry(ctx, query.DeleteRegistryParams{ID: id, GroupID: group}))
	}
	if err != nil {
		return fmt.Errorf("delete registry %s: %w", g.Registries[i].Name, err)
	}
	return tx.touch(ctx, group, "registry/"+g.Registries[i].Name)
}

// SaveHostedPrefix saves the settings of a prefix, which is its identity.
func (tx *Tx) SaveHostedPrefix(ctx context.Context, group int64, p *HostedPrefix) error {
	if p.ID == 0 {
		p.ID = tx.ID()
	}
	err := tx.UpsertHostedPrefix(ctx, query.UpsertHostedPrefixParams{
		ID: p.ID, GroupID: group, Prefix: p.Prefix, AnonymousPull: p.AnonymousPull, AllowSparseIndex: p.AllowSparseIndex,
	})
	if err != nil {
		return fmt.Errorf("save hosted prefix %q: %w", p.Prefix, err)
	}
	return tx.touch(ctx, group, "hosted/"+p.Prefix)
}

// DeleteHostedPrefix deletes the settings of a prefix; its repositories stay.
func (tx *Tx) DeleteHostedPrefix(ctx context.Context, group int64, prefix string) error {
	err := updated(tx.Queries.DeleteHostedPrefix(ctx, query.DeleteHostedPrefixParams{GroupID: group, Prefix: prefix}))
	if err != nil {
		return fmt.Errorf("delete hosted prefix %q: %w", prefix, err)
	}
	return tx.touch(ctx, group, "hosted/"+prefix)
}

// SaveHostBinding saves the binding of a host, which is its identity. ErrInUse when another group has bound it.
func (tx *Tx) SaveHostBinding(ctx context.Context, group int64, b *HostBinding) error {
	networks, err := encode(b.Networks)
	if err != nil {
		return err
	}
	n, err := tx.UpsertHostBinding(ctx, query.UpsertHostBindingParams{
		Host: b.Host, GroupID: group, Prefix: b.Prefix, Mirror: b.Mirror, Networks: networks,
	})
	if err == nil && n == 0 {
		err = fmt.Errorf("%w by another group", ErrInUse)
	}
	if err != nil {
		return fmt.Errorf("bind host %s: %w", b.Host, err)
	}
	return tx.touch(ctx, group, "host/"+b.Host)
}

// DeleteHostBinding ends the binding of a host.
func (tx *Tx) DeleteHostBinding(ctx context.Context, group int64, host string) error {
	err := updated(tx.Queries.DeleteHostBinding(ctx, query.DeleteHostBindingParams{GroupID: group, Host: host}))
	if err != nil {
		return fmt.Errorf("unbind host %s: %w", host, err)
	}
	return tx.touch(ctx, group, "host/"+host)
}

// updated turns "no row" into ErrNotFound.
func updated(rows int64, err error) error {
	if err == nil && rows == 0 {
		return ErrNotFound
	}
	return err
}

func encode(v any) (string, error) {
	text, err := json.Marshal(v)
	return string(text), err
}

// bytesOf keeps an empty value from becoming NULL.
func bytesOf(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
