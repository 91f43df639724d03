package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/access/oidc"
	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/event/audit"
	"github.com/weir-registry/weir/internal/plan"
	"github.com/weir-registry/weir/internal/registry/assemble"
	"github.com/weir-registry/weir/internal/registry/cache"
	"github.com/weir-registry/weir/internal/registry/namespace"
	"github.com/weir-registry/weir/internal/registry/upstream"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/serve"
	"github.com/weir-registry/weir/internal/serve/session"
	"github.com/weir-registry/weir/internal/serve/signin"
	"github.com/weir-registry/weir/internal/serve/token"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/telemetry"
)

// server is every part of a running server.
type server struct {
	*kept
	config  config.Config
	log     *slog.Logger
	metrics *telemetry.Metrics
	sealer  *seal.Sealer
	dir     *access.Directory
	fills   *cache.Fills
	budget  *budget
	planner *plan.Planner
	gate    gate
	rates   *access.Rates
	session *session.Manager
	signin  *signin.Door
	doors   *doors
	live    *live
	trail   *audit.Trail
	id      string // of the instance, in Via headers
}

// adminPassword names the variable with the password of the administrator that the first start makes.
const adminPassword = "WEIR_ADMIN_PASSWORD"

// otherVariables are read elsewhere than in package config.
var otherVariables = []string{adminPassword, "WEIR_CONFIG", "WEIR_SERVER", "WEIR_TOKEN"}

// Serve runs the server until ctx ends, then stops it in order: no new connections, transfers finish or are persisted,
// batches are written. console gets the banner, the log goes to it too.
func Serve(ctx context.Context, c config.Config, console io.Writer) (err error) {
	log, err := telemetry.NewLogger(console, telemetry.LogOptions{Level: c.Log.Level, Format: c.Log.Format, Environment: c.Environment})
	if err != nil {
		return err
	}
	if unknown := UnknownVariables(); len(unknown) > 0 {
		log.Warn("these variables are no settings", "variables", unknown)
	}
	s := &server{config: c, log: log, metrics: telemetry.NewMetrics(Version)}
	running := false
	defer func() {
		err = errors.Join(err, s.close())
		if running {
			log.Info("stopped")
		}
	}()
	if err := s.open(ctx); err != nil {
		return err
	}
	listeners, err := s.listen(ctx)
	if err != nil {
		return err
	}
	admin, err := s.prepare(ctx)
	if err != nil {
		listeners.close()
		return err
	}
	debug.FreeOSMemory() // a first start has hashed a password and made the tables: 30 MB that are not needed again
	banner(console, c, admin)
	running = true
	return s.run(ctx, listeners)
}

// prepare makes everything that a first start makes. The administrator comes last: its password is shown once, so nothing
// may fail between the two.
func (s *server) prepare(ctx context.Context) (admin access.Bootstrapped, err error) {
	if err := firstGroupOnce(ctx, s.db, s.planner); err != nil {
		return admin, fmt.Errorf("first start: %w", err)
	}
	if err := s.live.rebuild(ctx); err != nil {
		return admin, err
	}
	password := os.Getenv(adminPassword)
	if admin, err = s.dir.Bootstrap(ctx, password); err != nil {
		return admin, fmt.Errorf("first start: %w", err)
	}
	if admin.Admin == 0 && password != "" {
		s.log.Warn("the variable is ignored: there are users already; weir user password changes a password", "variable", adminPassword)
	}
	return admin, nil
}

// open builds the parts, each from those before it.
func (s *server) open(ctx context.Context) (err error) {
	c := s.config
	if err := checkSinkKinds(c); err != nil {
		return err
	}
	if s.kept, err = openKept(ctx, c, s.log, s.metrics.Store.Query); err != nil {
		return err
	}
	if s.sealer, err = openSealer(ctx, c, s.db); err != nil {
		return err
	}
	s.dir, err = access.Open(ctx, access.Options{
		DB: s.db, Sealer: s.sealer, Log: s.log, TokenTTL: time.Duration(c.Auth.TokenTTL), LoginRate: c.Auth.LoginRate, Metrics: s.metrics.Access,
		Issuers: oidc.NewVerifier(outward(c), nil),
	})
	if err != nil {
		return err
	}
	if s.id, err = instanceID(ctx, s.db); err != nil {
		return err
	}
	s.planner = &plan.Planner{DB: s.db, Sealer: s.sealer, MaxMembers: c.Limits.MembersPerRegistry, MaxRegistries: c.Limits.RegistriesPerGroup, Hosts: ownHosts(c)}
	if s.budget = newBudget(c.Cache); s.budget.limit > 0 {
		cached, err := s.store.CachedBytes(ctx)
		if err != nil {
			return err
		}
		s.budget.measured(cached)
	}
	s.fills, err = cache.NewFills(cache.FillOptions{
		Store: s.store, SpoolDir: filepath.Join(c.Data, "spool"), Log: s.log, Metrics: cacheMetrics{s.metrics.Cache},
		PerGroup: c.Limits.FillsPerGroup, PerUpstream: c.Limits.FillsPerUpstream, PerPrincipal: c.Limits.FillsPerPrincipal,
		Space: s.blobs.Space, Admit: s.budget.admit,
	})
	if err != nil {
		return err
	}
	s.metrics.Store.Watch(s.db)
	table := &namespace.Table{}
	s.rates = access.NewRates(c.Limits.RequestsPerPrincipal, c.Limits.RequestsPerAddress)
	s.session, err = session.New(session.Options{
		DB: s.db, Directory: s.dir, Idle: time.Duration(c.Auth.SessionIdle), Lifetime: time.Duration(c.Auth.SessionLifetime), Origins: c.ExternalURLs,
	})
	if err != nil {
		return err
	}
	ways, err := providers(c)
	if err != nil {
		return err
	}
	s.signin = signin.New(signin.Options{Providers: ways, Directory: s.dir, Sessions: s.session, Sealer: s.sealer, ExternalURLs: c.ExternalURLs})
	s.doors = &doors{table: table, private: isLoopback(c.Listen)}
	s.gate = gate{token.New(token.Options{Access: s.dir, Doors: s.doors, ExternalURLs: c.ExternalURLs, Listen: c.Listen, Metrics: s.metrics.Access, Log: s.log,
		Rates: s.rates})}
	s.live = newLive(s.db, s.assembler(), table, ownHosts(c), s.log)
	s.planner.Accepted = s.live.accepted
	s.trail = s.newTrail()
	return nil
}

func (s *server) assembler() *assemble.Assembler {
	c := s.config.Upstream
	return assemble.New(assemble.Options{
		Store: s.store, Fills: s.fills, Sealer: s.sealer, Log: s.log, MayPull: s.gate.mayPull, MaySee: s.maySee,
		Version: Version, Instance: s.id,
		AllowPrivateNetworks: c.AllowPrivateNetworks, Timeout: time.Duration(c.Timeout), IdleTimeout: time.Duration(c.IdleTimeout),
		RevalidateWait: time.Duration(c.RevalidateWait), Concurrency: c.Concurrency, NegativeFor: time.Duration(s.config.Cache.NegativeTTL),
		CacheMetrics:    cacheMetrics{s.metrics.Cache},
		UpstreamMetrics: func(name string) upstream.Metrics { return newUpstreamMetrics(name, s.metrics.Upstream) },
	})
}

// maySee is the bound on what errors tell. Unlike the gate it counts no refusals: nobody asked for anything.
func (s *server) maySee(ctx context.Context, path string) bool {
	d, err := s.dir.Check(ctx, access.PrincipalFrom(ctx).Behind(), access.Request{Action: access.Pull, Path: path})
	return err == nil && d.Allowed
}

// run serves until ctx ends. Background work ends after the listeners have drained, so that clients who wait for a fill get it.
func (s *server) run(ctx context.Context, l *listeners) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wait sync.WaitGroup
	wait.Go(func() { keepHeap(background) })
	wait.Go(func() { releasePages(background) })
	wait.Go(func() { s.live.follow(background) })
	if s.trail != nil {
		wait.Go(func() { s.trail.Run(background) })
	}
	wait.Go(func() { s.budget.run(background, s.db, s.log) })
	wait.Go(func() {
		if err := s.runner().Run(background); err != nil {
			s.log.Error("background work ended", "error", err)
		}
	})
	wait.Go(func() {
		if err := s.fills.Resume(background, s.live.fill); err != nil && background.Err() == nil {
			s.log.Error("continue interrupted fills", "error", err)
		}
	})
	context.AfterFunc(ctx, l.ops.Drain)
	err := l.server.Serve(ctx)
	stop()
	wait.Wait()
	return err
}

// close stops what open started, in reverse order.
func (s *server) close() error {
	var errs []error
	if s.fills != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.config.ShutdownTimeout))
		defer cancel()
		errs = append(errs, s.fills.Close(ctx))
	}
	if s.dir != nil {
		errs = append(errs, s.dir.Close())
	}
	if s.kept != nil {
		s.kept.close(s.log)
	}
	return errors.Join(errs...)
}

// instanceID is the name of this installation in Via headers: all its replicas share it, so that a loop through any of them ends.
func instanceID(ctx context.Context, db *meta.DB) (id string, err error) {
	err = db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		id, err = tx.InitSetting(ctx, "instance_id", randomID())
		return err
	})
	if err != nil {
		return "", fmt.Errorf("instance id: %w", err)
	}
	return id, nil
}

func trustedProxies(c config.Config) (out []netip.Prefix, err error) {
	for _, text := range c.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("trusted_proxies: %w", err)
		}
		out = append(out, p)
	}
	return out, nil
}

func (s *server) front() (*serve.Front, error) {
	trusted, err := trustedProxies(s.config)
	if err != nil {
		return nil, err
	}
	return serve.NewFront(serve.Options{Log: s.log, TrustedProxies: trusted, Observer: s.metrics.HTTP, Recorder: s.recorder()}), nil
}

// noDoor answers what no door does.
func noDoor(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusNotFound)
	_, _ = io.WriteString(w, "This is a Weir registry. Images are below /v2/, the API below /api/v1/.\n")
}
