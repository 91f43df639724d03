package meta

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Groups returns all groups with everything below them, from one consistent state, by name.
func (db *DB) Groups(ctx context.Context) (groups []Group, err error) {
	err = db.Snapshot(ctx, func(q *query.Queries) error {
		groups, err = loadGroups(ctx, q)
		return err
	})
	return groups, err
}

// Group returns one group by name; ErrNotFound.
func (db *DB) Group(ctx context.Context, name string) (g Group, err error) {
	err = db.Snapshot(ctx, func(q *query.Queries) error {
		g, err = loadGroup(ctx, q, name)
		return err
	})
	return g, err
}

// GroupsPage returns up to limit groups by name, without what is below them: those after the given one, or backwards, those
// before it. Empty is the beginning.
func (db *DB) GroupsPage(ctx context.Context, after string, backwards bool, limit int) ([]Group, error) {
	n := int32(min(limit, math.MaxInt32))
	var rows []query.Group
	var err error
	if backwards {
		const last = "~" // no name has it
		rows, err = db.Read().ListGroupsBefore(ctx, query.ListGroupsBeforeParams{Before: cmp.Or(after, last), N: n})
	} else {
		rows, err = db.Read().ListGroupsAfter(ctx, query.ListGroupsAfterParams{After: after, N: n})
	}
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	groups := make([]Group, len(rows))
	for i, row := range rows {
		groups[i] = Group{ID: row.ID, Name: row.Name, Enabled: row.Enabled, Generation: row.Generation}
	}
	return groups, nil
}

// Groups is DB.Groups within the transaction.
func (tx *Tx) Groups(ctx context.Context) ([]Group, error) { return loadGroups(ctx, tx.Queries) }

// Group is DB.Group within the transaction; ErrNotFound.
func (tx *Tx) Group(ctx context.Context, name string) (Group, error) {
	return loadGroup(ctx, tx.Queries, name)
}

func loadGroups(ctx context.Context, q *query.Queries) ([]Group, error) {
	rows, err := q.ListGroups(ctx)
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	return assembleGroups(ctx, q, rows, math.MinInt64, math.MaxInt64)
}

func loadGroup(ctx context.Context, q *query.Queries, name string) (Group, error) {
	row, err := q.GetGroupByName(ctx, name)
	if err != nil {
		return Group{}, fmt.Errorf("group %s: %w", name, noRows(err))
	}
	groups, err := assembleGroups(ctx, q, []query.Group{row}, row.ID, row.ID)
	if err != nil {
		return Group{}, err
	}
	return groups[0], nil
}

// loader gathers the rows of a range of groups into values.
type loader struct {
	ctx       context.Context
	q         *query.Queries
	low, high int64

	groups     []Group
	index      map[int64]*Group
	upstreams  map[int64]*Upstream // after their slices have their final place
	registries map[int64]*Registry
}

func assembleGroups(ctx context.Context, q *query.Queries, rows []query.Group, low, high int64) ([]Group, error) {
	l := &loader{
		ctx: ctx, q: q, low: low, high: high, groups: make([]Group, len(rows)),
		index: make(map[int64]*Group, len(rows)), upstreams: map[int64]*Upstream{}, registries: map[int64]*Registry{},
	}
	for i, row := range rows {
		l.groups[i] = Group{ID: row.ID, Name: row.Name, Enabled: row.Enabled, Generation: row.Generation}
		l.index[row.ID] = &l.groups[i]
	}
	for _, step := range []struct {
		what string
		load func() error
	}{
		{"credentials", l.credentials},
		{"upstreams", l.loadUpstreams},
		{"registries", l.loadRegistries},
		{"members", l.members},
		{"rules", l.rules},
		{"hosted prefixes", l.hostedPrefixes},
		{"host bindings", l.hostBindings},
	} {
		if err := step.load(); err != nil {
			return nil, fmt.Errorf("load %s: %w", step.what, err)
		}
	}
	return l.groups, nil
}

func (l *loader) credentials() error {
	rows, err := l.q.ListCredentials(l.ctx, query.ListCredentialsParams{GroupID: l.low, GroupID_2: l.high})
	if err != nil {
		return err
	}
	for _, row := range rows {
		c := Credential{
			ID: row.ID, Name: row.Name, Kind: row.Kind, Username: row.Username,
			Secret: row.Secret, Fingerprint: row.Fingerprint, Version: row.Version,
		}
		if len(row.PreviousSecret) > 0 {
			c.Previous = PreviousSecret{Secret: row.PreviousSecret, Version: row.PreviousVersion, Until: fromMicros(row.PreviousUntil)}
		}
		if err := decode(row.Hosts, &c.Hosts); err != nil {
			return fmt.Errorf("hosts of %s: %w", row.Name, err)
		}
		if g := l.index[row.GroupID]; g != nil {
			g.Credentials = append(g.Credentials, c)
		}
	}
	return nil
}

func (l *loader) loadUpstreams() error {
	rows, err := l.q.ListUpstreams(l.ctx, query.ListUpstreamsParams{GroupID: l.low, GroupID_2: l.high})
	if err != nil {
		return err
	}
	for _, row := range rows {
		u := Upstream{
			ID: row.ID, Name: row.Name, URL: row.Url, Local: row.Local, CredentialID: row.CredentialID, Epoch: row.Epoch,
			Enabled: row.Enabled, OnUnknown: row.OnUnknown, OnUpstreamDelete: row.OnUpstreamDelete,
			StaleBefore: fromMicros(row.StaleBefore),
		}
		if err := decode(row.Freshness, &u.Freshness); err != nil {
			return fmt.Errorf("freshness of %s: %w", row.Name, err)
		}
		if err := decode(row.Settings, &u.Settings); err != nil {
			return fmt.Errorf("settings of %s: %w", row.Name, err)
		}
		if g := l.index[row.GroupID]; g != nil {
			g.Upstreams = append(g.Upstreams, u)
		}
	}
	for i := range l.groups {
		for j := range l.groups[i].Upstreams {
			u := &l.groups[i].Upstreams[j]
			l.upstreams[u.ID] = u
		}
	}
	return nil
}

func (l *loader) loadRegistries() error {
	rows, err := l.q.ListRegistries(l.ctx, query.ListRegistriesParams{GroupID: l.low, GroupID_2: l.high})
	if err != nil {
		return err
	}
	for _, row := range rows {
		if g := l.index[row.GroupID]; g != nil {
			g.Registries = append(g.Registries, Registry{
				ID: row.ID, Name: row.Name, Format: row.Format, Enabled: row.Enabled,
				AnonymousPull: row.AnonymousPull, DigestFirst: row.DigestFirst, StrictPrecedence: row.StrictPrecedence,
			})
		}
	}
	for i := range l.groups {
		for j := range l.groups[i].Registries {
			r := &l.groups[i].Registries[j]
			l.registries[r.ID] = r
		}
	}
	return nil
}

func (l *loader) members() error {
	rows, err := l.q.ListMembers(l.ctx, query.ListMembersParams{GroupID: l.low, GroupID_2: l.high})
	if err != nil {
		return err
	}
	for _, row := range rows {
		m := Member{UpstreamID: row.UpstreamID, Enabled: row.Enabled}
		if err := decode(row.Claims, &m.Claims); err != nil {
			return fmt.Errorf("claims in registry %d: %w", row.RegistryID, err)
		}
		if r := l.registries[row.RegistryID]; r != nil {
			r.Members = append(r.Members, m)
		}
	}
	return nil
}

func (l *loader) rules() error {
	rows, err := l.q.ListRules(l.ctx, query.ListRulesParams{GroupID: l.low, GroupID_2: l.high})
	if err != nil {
		return err
	}
	for _, row := range rows {
		rule := Rule{ID: row.ID, Action: row.Action, Pattern: row.Pattern, OnlyUpstreamID: row.OnlyUpstreamID}
		if u := l.upstreams[row.UpstreamID]; u != nil {
			u.Rules = append(u.Rules, rule)
		}
		if r := l.registries[row.RegistryID]; r != nil {
			r.Rules = append(r.Rules, rule)
		}
	}
	return nil
}

func (l *loader) hostedPrefixes() error {
	rows, err := l.q.ListHostedPrefixes(l.ctx, query.ListHostedPrefixesParams{GroupID: l.low, GroupID_2: l.high})
	if err != nil {
		return err
	}
	for _, row := range rows {
		if g := l.index[row.GroupID]; g != nil {
			g.HostedPrefixes = append(g.HostedPrefixes, HostedPrefix{
				ID: row.ID, Prefix: row.Prefix, AnonymousPull: row.AnonymousPull, AllowSparseIndex: row.AllowSparseIndex,
			})
		}
	}
	return nil
}

func (l *loader) hostBindings() error {
	rows, err := l.q.ListHostBindings(l.ctx, query.ListHostBindingsParams{GroupID: l.low, GroupID_2: l.high})
	if err != nil {
		return err
	}
	for _, row := range rows {
		b := HostBinding{Host: row.Host, Prefix: row.Prefix, Mirror: row.Mirror}
		if err := decode(row.Networks, &b.Networks); err != nil {
			return fmt.Errorf("networks of %s: %w", row.Host, err)
		}
		if g := l.index[row.GroupID]; g != nil {
			g.HostBindings = append(g.HostBindings, b)
		}
	}
	return nil
}

func decode(text string, into any) error {
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), into)
}

// fromMicros reads a time column, in which 0 is "never".
func fromMicros(at int64) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return time.UnixMicro(at)
}

// toMicros is the column of a time; the zero time is 0.
func toMicros(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return micros(at)
}
