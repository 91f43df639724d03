package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/client"
	"github.com/weir-registry/weir/internal/registry/registrytest"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
	"github.com/weir-registry/weir/test/stack"
)

// jumpy is the program with a clock that can be set: time.Now adds the seconds in the file that CLOCK_FILE names. Nothing else
// differs, so timers and measured durations go on as they do on a machine whose clock is set.
var jumpy = sync.OnceValues(buildJumpy)

const (
	now   = "sec, nsec, mono := runtimeNow()"
	begin = "func Now() Time {"
	first = "import ("
)

const follow = `package main

import (
	"os"
	"strconv"
	"time"
)

func init() {
	go func() {
		for ; ; time.Sleep(5 * time.Millisecond) {
			text, _ := os.ReadFile(os.Getenv("CLOCK_FILE"))
			if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
				time.Ahead.Store(n)
			}
		}
	}()
}
`

func buildJumpy() (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	clock := filepath.Join(strings.TrimSpace(string(root)), "src/time/time.go")
	text, err := os.ReadFile(clock)
	if err != nil {
		return "", err
	}
	for _, part := range []string{now, begin, first} {
		if bytes.Count(text, []byte(part)) != 1 {
			return "", fmt.Errorf("%s has not one %q: this test must learn how time.Now is made now", clock, part)
		}
	}
	changed := strings.NewReplacer(now, now+"\n\tsec += Ahead.Load()", begin, "var Ahead atomic.Int64\n\n"+begin, first, first+"\n\t\"sync/atomic\"").Replace(string(text))
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		return "", err
	}
	main, err := filepath.Abs("../../cmd/weir/follow.go")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(bin, "clock") // one place, so that its build is found again; no .go, or the tools would see packages
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {clock: dir + "/time", main: dir + "/follow"}})
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for name, text := range map[string]string{"time": changed, "follow": follow, "overlay.json": string(overlay)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	path := filepath.Join(bin, "weir-clock")
	if out, err := exec.Command("go", "build", "-overlay", dir+"/overlay.json", "-o", path, "../../cmd/weir").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
}

// jumping is a server whose clock can be set.
type jumping struct {
	*server
	t     *testing.T
	file  string
	ahead time.Duration // as it is set
}

// startJumping is start for a server whose clock can be set.
func startJumping(t *testing.T, env ...string) *jumping {
	t.Helper()
	program, err := jumpy()
	if err != nil {
		t.Fatal(err)
	}
	j := &jumping{server: &server{ops: freeAddress(t)}, t: t, file: filepath.Join(t.TempDir(), "clock")}
	j.Process = stack.StartProgram(t, program, append(env, "CLOCK_FILE="+j.file, "WEIR_OPS_LISTEN="+j.ops)...)
	j.Token = j.NewToken(t, "admin")
	return j
}

// set sets the clock and waits until the server goes by it.
func (j *jumping) set(ahead time.Duration) {
	j.t.Helper()
	next := j.file + ".next"
	err := os.WriteFile(next, []byte(strconv.FormatInt(int64(ahead/time.Second), 10)), 0o600)
	if err = errors.Join(err, os.Rename(next, j.file)); err != nil {
		j.t.Fatal(err)
	}
	j.ahead = ahead
	eventually(j.t, "the server's clock is set", func() (string, bool) {
		at, err := http.ParseTime(j.Do(j.t, "GET", "/v2/").Header.Get("Date"))
		return fmt.Sprint(at, err), err == nil && at.Sub(time.Now().Add(ahead)).Abs() < 10*time.Second
	})
}

// TestClockJumps sets the clock of a server under load: an hour ahead, back, an hour back, ten years ahead, and right again. Nothing
// that was acknowledged may be lost, nothing collected before its time, no token may be good longer than it says, and background work
// must go on.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			o := metatest.Options(t, engine)
			var env []string
			if engine == meta.PostgreSQL {
				env = []string{"WEIR_DATABASE_ENGINE=postgres", "WEIR_DATABASE_DSN=" + o.DSN}
			}
			c := newClocked(t, env)
			orphan := c.orphan(1)
			for _, ahead := range []time.Duration{time.Hour, 0, -time.Hour, 0} {
				c.jump(ahead)
				c.Do(t, "GET", "acme/orphan/blobs/"+string(orphan.Digest)).Want(t, 200) // a push may take two hours
			}
			c.jump(tenYears)
			c.collected(orphan)
			c.daily(1) // confirmed by the wrong clock
			c.jump(0)
			orphan = c.orphan(2)
			c.jump(3 * time.Hour)
			c.collected(orphan) // its job, which had its next turn in ten years, has come back
			c.jump(0)
			c.restart()
			c.daily(1) // nobody knows any more when: asked once, and then fresh
			c.consistent()
			t.Logf("seed %d: %s", faultSeed(t), c.journal)
		})
	}
}

const tenYears = 10 * 365 * 24 * time.Hour

// clocked is a server whose clock is set.
type clocked struct {
	*jumping

	journal  *journal
	pushers  []*pusher
	pullers  []*puller
	upstream *registrytest.Upstream
	cached   *cached
	short    string // a personal token that ends half an hour after the start
	bearers  map[string]time.Duration
}

func newClocked(t *testing.T, env []string) *clocked {
	u := registrytest.NewUpstream(t, registrytest.UpstreamOptions{})
	c := &clocked{journal: &journal{}, upstream: u, cached: &cached{upstream: u}, bearers: map[string]time.Duration{}}
	c.jumping = startJumping(t, append(env, "WEIR_LOG_LEVEL=info", "WEIR_GC_DELAY=2h")...)
	short, err := c.API.CreateToken(t.Context(), "admin", "short", time.Now().Add(30*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	c.short = short.Text
	c.Apply(t, fmt.Sprintf(`groups: [{name: acme, hosted: [{prefix: "", anonymous_pull: true}],
  upstreams: [{name: far, url: %q, freshness: {default: forever, classes: [{pattern: "library/day:*", for: 24h}]}}],
  registries: [{name: hub, anonymous_pull: true, members: [{upstream: far}]}]}]`, u.URL()))
	for i := range 3 {
		p := newPusher(t, c.journal, faultSeed(t), i, 3)
		p.anew = true
		c.pushers = append(c.pushers, p)
		c.pullers = append(c.pullers, &puller{t: t, journal: c.journal, rand: rand.New(rand.NewPCG(faultSeed(t), uint64(100+i))), cached: c.cached})
	}
	u.Put("library/day", []string{"1"}, dayImage)
	c.Pull(t, "acme/hub/library/day", "1", dayImage)
	return c
}

var dayImage = registrytest.RandomImage(77, 1, 1000)

// orphan pushes a blob that no manifest names, as at the beginning of a push that takes its time.
func (c *clocked) orphan(seed uint64) registrytest.Content {
	c.t.Helper()
	b := registrytest.RandomBlob(4711+seed, 5000)
	c.PushBlob(c.t, "acme/orphan", b)
	return b
}

func (c *clocked) collected(orphan registrytest.Content) {
	c.t.Helper()
	eventually(c.t, "the collector takes what nobody needs", func() (string, bool) {
		a := c.Do(c.t, "HEAD", "acme/orphan/blobs/"+string(orphan.Digest))
		return fmt.Sprint(a.Status, a.Err), a.Status == 404
	})
}

// daily pulls a tag that is fresh for a day, twice, and compares how often the upstream was asked.
func (c *clocked) daily(asked int) {
	c.t.Helper()
	c.upstream.Forget()
	for range 2 {
		c.Pull(c.t, "acme/hub/library/day", "1", dayImage)
	}
	n := 0
	for _, q := range c.upstream.Requests() {
		if q.Repository == "library/day" {
			n++
		}
	}
	if n != asked {
		c.t.Errorf("at %v: a tag that is fresh for a day was asked for %d times, want %d", c.ahead, n, asked)
	}
}

// jump sets the clock while clients push and pull, and lets them go on for a while. Then everything is compared with what was
// acknowledged.
func (c *clocked) jump(ahead time.Duration) {
	c.t.Helper()
	var work sync.WaitGroup
	set := make(chan struct{})
	for _, p := range c.pushers {
		work.Go(func() { until(set, 15, func() bool { return p.step(c.Remote) }) })
	}
	for _, p := range c.pullers {
		work.Go(func() {
			until(set, 8, func() bool {
				n := c.cached.take(p.rand.IntN)
				hit, ok := p.pull(c.Remote, n, func(registrytest.Content) bool { return true })
				c.cached.pulled(n, hit && ok)
				return ok
			})
		})
	}
	c.set(ahead)
	close(set)
	work.Wait()
	for _, p := range c.pushers {
		p.settle(c.Remote)
	}
	c.cached.verify(c.t, c.Remote, true, faultSeed(c.t))
	c.tokens()
	if c.t.Failed() {
		c.t.Fatalf("at %v:\n%s", ahead, c.Log)
	}
}

// until works until set is closed, and then so many times more.
func until(set <-chan struct{}, more int, step func() bool) {
	for more > 0 && step() {
		select {
		case <-set:
			more--
		default:
		}
	}
}

// tokens checks that tokens are good in their time only, whichever way the clock went.
func (c *clocked) tokens() {
	c.t.Helper()
	status := func(token string) int { return stack.Remote{URL: c.URL, Token: token}.Do(c.t, "GET", "/v2/").Status }
	if got, good := status(c.short), c.ahead < time.Hour; good && got != 200 || !good && got != 401 {
		c.t.Errorf("at %v: a token that ends half an hour after the start: %d", c.ahead, got)
	}
	for text, issued := range c.bearers {
		if issued != c.ahead && status(text) != 401 {
			c.t.Errorf("at %v: a bearer token of five minutes, issued at %v, is good", c.ahead, issued)
		}
	}
	a := c.Do(c.t, "GET", "/token?scope=repository:acme/app:pull", func(r *http.Request) { r.SetBasicAuth("any", c.Token) }).Want(c.t, 200)
	var answer struct{ Token string }
	if err := json.Unmarshal(a.Body, &answer); err != nil || status(answer.Token) != 200 {
		c.t.Errorf("at %v: a new bearer token is not good: %v %s", c.ahead, err, a.Body)
	}
	c.bearers[answer.Token] = c.ahead
}

func (c *clocked) restart() {
	c.t.Helper()
	c.unsigned()
	token := c.Token
	if code := c.Stop(); code != 0 {
		c.t.Errorf("exit code %d\n%s", code, c.Log)
	}
	c.Start()
	c.Token = token
	c.set(0)
}

// unsigned checks that nothing took less than no time.
func (c *clocked) unsigned() {
	c.t.Helper()
	for name, value := range c.metrics(c.t) {
		if value < 0 {
			c.t.Errorf("%s is %v", name, value)
		}
	}
	for line := range strings.Lines(c.Log.String()) {
		if strings.Contains(line, `_ms":-`) || strings.Contains(line, `duration":"-`) {
			c.t.Errorf("a duration below zero: %s", line)
		}
	}
}

func (c *clocked) consistent() {
	c.t.Helper()
	c.unsigned()
	sum, err := c.API.Check(context.Background(), true, func(f client.Finding) { c.t.Logf("%+v", f) }, nil)
	if err != nil || sum.Problems > 0 {
		c.t.Errorf("check: %+v, %v", sum, err)
	}
}
