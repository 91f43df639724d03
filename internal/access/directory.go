package access

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// Options configure a Directory.
type Options struct {
	DB       *meta.DB
	Sealer   *seal.Sealer
	Log      *slog.Logger     // nil discards
	Now      func() time.Time // nil = time.Now
	TokenTTL time.Duration    // life of bearer tokens; 0 = 5 minutes
	// LoginRate is how many failed logins with one name, or one token, one address may have per minute; 0 = 10. A name from everywhere may have
	// three times as many, so that a single address cannot lock a user out, an address with all names five times.
	LoginRate int
	Hashing   Hashing // cost of new password hashes; zero = the recommended one
	Issuers   Issuers // who verifies tokens of workloads; nil: none are accepted
	Metrics   Metrics // nil for none
}

// Metrics counts logins and refusals. Calls must not block.
type Metrics interface {
	// Login counts a credential that was checked: method password, token, bearer or workload; outcome ok, refused, limited or foreign.
	Login(method, outcome string)
}

type noMetrics struct{}

func (noMetrics) Login(string, string) {}

// Directory is the users, tokens, grants and signing keys of the instance. Open makes one; Close ends it.
type Directory struct {
	db      *meta.DB
	sealer  *seal.Sealer
	log     *slog.Logger
	now     func() time.Time
	ttl     time.Duration
	metrics Metrics

	hasher    hasher
	logins    logins
	tokens    tokenCache
	bearer    bearerCache
	issuers   Issuers
	workloads workloads
	used      usage

	version atomic.Int64 // grows with every change that may concern the snapshot
	state   atomic.Pointer[snapshot]
	loading chan struct{} // holds one token: whoever has it loads

	stop context.CancelFunc
	wait sync.WaitGroup
}

// changeKind is the kind of this package's rows in the change feed; the keys say what to forget.
const (
	changeKind = "access"

	keyTokens     = "tokens"
	keyDirectory  = "directory" // users, grants, signing keys
	keyEverything = "everything"
)

// DirectoryChanged must be called in a transaction of another package that changes users or grants: every replica reads them
// anew.
func DirectoryChanged(ctx context.Context, tx *meta.Tx) error {
	return tx.Change(ctx, 0, changeKind, keyDirectory)
}

// Open reads the directory, makes the first signing key, and follows the change feed until Close.
func Open(ctx context.Context, o Options) (*Directory, error) {
	d := &Directory{
		db: o.DB, sealer: o.Sealer, log: o.Log, now: o.Now, ttl: o.TokenTTL, metrics: o.Metrics,
		loading: make(chan struct{}, 1),
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.now == nil {
		d.now = time.Now
	}
	if d.ttl <= 0 {
		d.ttl = 5 * time.Minute
	}
	if d.metrics == nil {
		d.metrics = noMetrics{}
	}
	d.hasher = newHasher(o.Hashing)
	d.logins = newLogins(o.LoginRate)
	d.tokens = newTokenCache()
	d.bearer = newBearerCache()
	d.issuers, d.workloads = o.Issuers, newWorkloads()
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	d.db.Follow(background, d.changed)
	if err := d.ensureKey(ctx); err != nil {
		stop()
		return nil, err
	}
	d.wait.Go(func() { d.keepUsage(background) })
	return d, nil
}

// Close writes what is batched and ends the background work.
func (d *Directory) Close() error {
	d.stop()
	d.wait.Wait()
	return nil
}

// changed follows the change feed. Groups matter too: grants name them by id, requests by name.
func (d *Directory) changed(c meta.Change) {
	switch c.Kind {
	case meta.ChangeAll:
		d.tokens.drop()
		d.version.Add(1)
	case changeKind:
		if c.Key != keyDirectory {
			d.tokens.drop()
		}
		if c.Key != keyTokens {
			d.version.Add(1)
		}
	case meta.ChangeDefinition:
		d.version.Add(1)
	}
}

// snapshot is everything Check needs, as of one moment. It is never changed.
type snapshot struct {
	version int64
	loaded  time.Time
	users   map[int64]*user
	byName  map[string]*user
	groups  map[string]int64
	names   map[int64]string
	roles   map[roleKey]role
	issuers map[string][]*trustRule // enabled ones, by issuer
	keys    []signingKey            // all that verify
	signing *signingKey             // the newest in use
}

type user struct {
	id       int64
	kind     Kind
	name     string // among all accounts
	short    string // within its group
	group    int64  // of a robot or workload
	created  time.Time
	updated  time.Time
	rule     *trustRule // of a workload
	hash     string
	stamp    string // see stampOf
	disabled bool
	grants   []grant
}

type grant struct {
	group   int64 // 0 = the instance
	path    string
	role    Role
	actions set // of the role
	origin  string
	scope   string // "<group>/<path>", or "the instance"
	why     string // of a Decision that allows something by it
}

type signingKey struct {
	id      int64
	public  ed25519.PublicKey
	private ed25519.PrivateKey // of the one that signs
	retired time.Time          // zero = in use
}

// readAgain is how often a replica too far behind the feed reads through: not more often than the feed itself would.
const readAgain = time.Second

// current returns the snapshot, loaded again if something changed.
func (d *Directory) current(ctx context.Context) (*snapshot, error) {
	if s := d.state.Load(); d.usable(s) {
		return s, nil
	}
	select {
	case d.loading <- struct{}{}:
		defer func() { <-d.loading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s := d.state.Load(); d.usable(s) {
		return s, nil
	}
	s, err := d.load(ctx)
	if err != nil {
		return nil, oci.NewError(oci.CodeUnavailable, "access rights cannot be read right now; try again soon").
			WithRetryAfter(5 * time.Second).WithCause(err)
	}
	d.state.Store(s)
	return s, nil
}

func (d *Directory) usable(s *snapshot) bool {
	return s != nil && s.version == d.version.Load() && (d.db.Current() || d.now().Sub(s.loaded) < readAgain)
}

func (d *Directory) load(ctx context.Context) (*snapshot, error) {
	s := &snapshot{
		version: d.version.Load(), // read first: a change during the load makes it stale again
		loaded:  d.now(), users: map[int64]*user{}, byName: map[string]*user{}, groups: map[string]int64{}, names: map[int64]string{},
	}
	err := d.db.Snapshot(ctx, func(q *query.Queries) error {
		if err := s.readUsers(ctx, q); err != nil {
			return err
		}
		return d.readKeys(ctx, q, s)
	})
	if err != nil {
		return nil, fmt.Errorf("read the access directory: %w", err)
	}
	return s, nil
}

func (s *snapshot) readUsers(ctx context.Context, q *query.Queries) error {
	groups, err := q.AccessGroups(ctx)
	if err != nil {
		return err
	}
	for _, g := range groups {
		s.groups[g.Name], s.names[g.ID] = g.ID, g.Name
	}
	accounts, err := q.AccessAccounts(ctx)
	if err != nil {
		return err
	}
	for _, row := range accounts {
		u := &user{
			id: row.ID, kind: Kind(row.Kind), name: s.accountName(row.GroupID, row.Name), short: row.Name, group: row.GroupID,
			hash: row.PasswordHash, stamp: stampOf(row.PasswordHash), disabled: row.Disabled,
			created: fromMicros(row.CreatedAt), updated: fromMicros(row.UpdatedAt),
		}
		s.users[u.id], s.byName[u.name] = u, u
	}
	if err := s.readTrustRules(ctx, q); err != nil {
		return err
	}
	if err := s.readRoles(ctx, q); err != nil {
		return err
	}
	grants, err := q.AccessGrants(ctx)
	if err != nil {
		return err
	}
	for _, row := range grants {
		if u := s.users[row.AccountID]; u != nil {
			g := grant{group: row.GroupID, path: row.Path, role: Role(row.Role), origin: row.Origin}
			g.actions, g.scope = s.actionsOf(g.group, g.role), s.scopeName(g)
			g.why = u.name + " is " + row.Role + " of " + g.scope
			u.grants = append(u.grants, g)
		}
	}
	return nil
}
