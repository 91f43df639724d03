package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/test/stack"
)

// settings of the long form: FAULT_TIME=15m FAULT_SEED=7.
func faultTime(t *testing.T, short time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("FAULT_TIME")
	if text == "" {
		return short
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("FAULT_TIME: %v", err)
	}
	return d
}

func faultSeed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("FAULT_SEED")
	if text == "" {
		return 1
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("FAULT_SEED: %v", err)
	}
	return n
}

// TestKill kills the server at random moments while clients push, move tags, delete and pull through the cache, and the collector
// works. After each kill rows and bytes must agree, and everything that was acknowledged must be there, byte for byte.
func TestKill(t *testing.T) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			o := metatest.Options(t, engine)
			var env []string
			if engine == meta.PostgreSQL {
				env = []string{"WEIR_DATABASE_ENGINE=postgres", "WEIR_DATABASE_DSN=" + o.DSN}
			}
			k := newKilled(t, env)
			if engine == meta.SQLite {
				o = meta.Options{Engine: engine, Path: k.process.Data + "/weir.db"}
			}
			k.database = o
			k.run(faultTime(t, 12*time.Second))
		})
	}
}

// killed is a server under load, killed over and over.
type killed struct {
	t        *testing.T
	seed     uint64
	rand     *rand.Rand
	env      []string
	database meta.Options
	process  *stack.Process
	token    string
	journal  *journal
	pushers  []*pusher
	pullers  []*puller
	cached   *cached
	garbage  int // warnings of checks: what kills have left behind
}

const (
	pushers = 6
	pullers = 3
)

func newKilled(t *testing.T, env []string) *killed {
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	u.Set(func(b *registrytest.Behavior) { b.BytesPerSecond = 20 << 20 })
	env = append(env, "WEIR_GC_DELAY=2s", "WEIR_LOG_LEVEL=warn")
	k := &killed{t: t, seed: faultSeed(t), env: env, journal: &journal{}, cached: &cached{upstream: u}}
	k.rand = rand.New(rand.NewPCG(k.seed, 0))
	k.process = stack.StartProcess(t, env...)
	k.process.Apply(t, fmt.Sprintf(`groups: [{name: acme, hosted: [{prefix: "", anonymous_pull: true}],
  upstreams: [{name: far, url: %q, freshness: {default: forever}}],
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: far}]}]}]`, u.URL()))
	k.token = k.process.NewToken(t, "admin")
	for i := range pushers {
		k.pushers = append(k.pushers, newPusher(t, k.journal, k.seed, i, pushers))
	}
	for i := range pullers {
		k.pullers = append(k.pullers, &puller{t: t, journal: k.journal, rand: rand.New(rand.NewPCG(k.seed, uint64(100+i))), cached: k.cached})
	}
	return k
}

func (k *killed) run(long time.Duration) {
	end := time.Now().Add(long)
	kills := 0
	for time.Now().Before(end) && !k.t.Failed() {
		k.load(time.Duration(k.rand.Int64N(int64(2500 * time.Millisecond))))
		kills++
		k.restart(kills)
		if k.t.Failed() {
			k.t.Logf("the server's log after kill %d:\n%s", kills, k.process.Log)
		}
	}
	k.cached.verify(k.t, k.remote(), true, k.seed)
	if code := k.process.Stop(); code != 0 {
		k.t.Errorf("an orderly stop: exit code %d", code)
	}
	k.check("--deep")
	k.t.Logf("%d kills in %v, seed %d: %s; %d pieces of garbage left to the collector", kills, long, k.seed, k.journal, k.garbage)
}

func (k *killed) remote() stack.Remote { return stack.Remote{URL: k.process.URL, Token: k.token} }

// load lets everybody work for a while, and then kills the server.
func (k *killed) load(during time.Duration) {
	r := k.remote()
	var work sync.WaitGroup
	for _, p := range k.pushers {
		work.Go(func() { p.run(r) })
	}
	for _, p := range k.pullers {
		work.Go(func() { p.run(r) })
	}
	timer := time.NewTimer(during)
	<-timer.C // the moment is random; nothing depends on how far the others have come
	k.process.Kill()
	work.Wait()
}

// restart checks the store as the kill has left it, starts the server again and compares what it serves with what was acknowledged.
// Every third time a check that repairs is killed first, every fourth time a start; every fifth time the check repairs, which must
// not find anything but garbage either.
func (k *killed) restart(kills int) {
	soon := func() time.Duration { return time.Duration(k.rand.Int64N(int64(300 * time.Millisecond))) }
	if kills%3 == 0 {
		k.cut(soon(), "check", "--offline", "--deep", "--repair")
	}
	if kills%4 == 0 {
		k.cut(soon(), "serve", "--listen", "127.0.0.1:0")
	}
	flags := []string{"--deep"}
	if kills%5 == 0 {
		flags = append(flags, "--repair")
	}
	k.check(flags...)
	jobsAreDue(k.t, k.database)
	k.process.Start()
	r := k.remote()
	var work sync.WaitGroup
	for _, p := range k.pushers {
		work.Go(func() { p.settle(r) })
	}
	k.cached.verify(k.t, r, false, k.seed+uint64(kills))
	work.Wait()
}

// command is the program on the data folder.
func (k *killed) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, stack.Binary(k.t), append(args, "--data", k.process.Data)...)
	cmd.Env = append(os.Environ(), append(k.env, "WEIR_OPS_LISTEN=")...)
	return cmd
}

// cut runs the program and kills it after a while.
func (k *killed) cut(after time.Duration, args ...string) {
	ctx, cancel := context.WithTimeout(k.t.Context(), after)
	defer cancel()
	_ = k.command(ctx, args...).Run() // dead, or done
}

func (k *killed) check(flags ...string) {
	k.t.Helper()
	out, err := k.command(k.t.Context(), append([]string{"check", "--offline"}, flags...)...).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(": 0 problems")) {
		k.t.Errorf("weir check %v: %v\n%s", flags, err, out)
	}
	k.garbage += bytes.Count(out, []byte("warning: "))
}

// jobsAreDue makes the collector and its like work right after the next start: a lease that a killed one held would keep them away for
// a minute. The server must be stopped.
func jobsAreDue(t *testing.T, o meta.Options) {
	t.Helper()
	db, err := meta.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Write(t.Context(), func(ctx context.Context, tx *meta.Tx) error {
		_, err := tx.Conn().ExecContext(ctx, "UPDATE jobs SET run_after = 0, lease_owner = 0, lease_until = 0")
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Error(err)
	}
}
