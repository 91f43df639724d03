package session_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/access"
	"github.com/weir-registry/weir/internal/seal"
	"github.com/weir-registry/weir/internal/serve"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/serve/session"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// world is the API with sessions, and alice, whose password is pw-12345.
type world struct {
	*httptest.Server
	t     *testing.T
	dir   *access.Directory
	alice access.Account

	mu    sync.Mutex
	ahead time.Duration // of the manager's clock
}

func newWorld(t *testing.T, db *meta.DB) *world {
	t.Helper()
	return newWorldOf(t, db, time.Hour, 3*time.Hour)
}

// newWorldOf has sessions that end after idle without use, and after life in any case.
func newWorldOf(t *testing.T, db *meta.DB, idle, life time.Duration) *world {
	t.Helper()
	sealer, _, err := seal.OpenFile(filepath.Join(t.TempDir(), "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t}
	if w.dir, err = access.Open(t.Context(), access.Options{DB: db, Sealer: sealer, Hashing: access.Hashing{MemoryKiB: 64, Passes: 1}, LoginRate: 5}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.dir.Close() })
	if w.alice, err = w.dir.CreateUser(t.Context(), access.Actor{}, "alice", "pw-12345"); err != nil {
		t.Fatal(err)
	}
	m, err := session.New(session.Options{
		DB: db, Directory: w.dir, Idle: idle, Lifetime: life, Origins: []string{"https://weir.test"},
		Now: func() time.Time {
			w.mu.Lock()
			defer w.mu.Unlock()
			return time.Now().Add(w.ahead)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	a := api.New(api.Options{Directory: w.dir, Sessions: m, Definitions: db, Authorize: func(r *http.Request) (api.Caller, error) {
		c := api.Caller{Address: serve.FromContext(r.Context()).Client}
		if h := r.Header.Get("Authorization"); h != "" {
			var err error
			c.Principal, err = w.dir.Authenticate(r.Context(), access.Credentials{Authorization: h, Address: c.Address})
			return c, err
		}
		var err error
		c.Principal, err = m.Principal(r)
		return c, err
	}})
	w.Server = httptest.NewServer(serve.NewFront(serve.Options{}).Wrap("api", a))
	t.Cleanup(w.Close)
	return w
}

func (w *world) forward(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

// do sends a request; headers are names and values in turn.
func (w *world) do(method, path, body string, headers ...string) (*http.Response, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.URL+api.Prefix+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := w.Client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, string(text)
}

const alicesLogin = `{"user": "alice", "password": "pw-12345"}`

// login returns the cookie of a new session, as a browser sends it back.
func (w *world) login() string {
	w.t.Helper()
	resp, text := w.do("POST", "/session", alicesLogin, "User-Agent", "browser/1")
	if resp.StatusCode != 201 || len(resp.Cookies()) != 1 {
		w.t.Fatal(resp.StatusCode, text)
	}
	c := resp.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 3*3600 || c.Name != "weir" || c.Secure {
		w.t.Errorf("%+v", c)
	}
	if strings.Contains(text, c.Value) {
		w.t.Error("the body shows the cookie")
	}
	return c.Name + "=" + c.Value
}

func (w *world) status(method, path, cookie string, headers ...string) int {
	w.t.Helper()
	resp, _ := w.do(method, path, "", append(headers, "Cookie", cookie)...)
	return resp.StatusCode
}

func onEach(t *testing.T, fn func(*testing.T, *world)) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) { fn(t, newWorld(t, db)) })
}

func TestSession(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		first, second := w.login(), w.login()
		if first == second {
			t.Error("two logins, one session")
		}
		_, text := w.do("GET", "/whoami", "", "Cookie", first)
		if !strings.Contains(text, `"name":"alice"`) {
			t.Error(text)
		}
		_, text = w.do("GET", "/sessions", "", "Cookie", first)
		var list struct{ Items []api.Session }
		if err := json.Unmarshal([]byte(text), &list); err != nil || len(list.Items) != 2 {
			t.Fatal(text, err)
		}
		if s := list.Items[0]; !s.Current || list.Items[1].Current || s.Method != "password" || s.UserAgent != "browser/1" || s.Address != "127.0.0.1" {
			t.Errorf("%+v", list.Items)
		}
		if got := w.status("DELETE", "/sessions/"+list.Items[1].ID, first); got != 204 {
			t.Error(got)
		}
		if got := w.status("GET", "/whoami", second); got != 401 {
			t.Error("revoked, but let in: ", got)
		}
		if got := w.status("DELETE", "/sessions/"+list.Items[1].ID, first); got != 404 {
			t.Error(got)
		}
		resp, _ := w.do("DELETE", "/session", "", "Cookie", first)
		if resp.StatusCode != 204 || len(resp.Cookies()) != 1 || resp.Cookies()[0].MaxAge >= 0 {
			t.Error(resp.StatusCode, resp.Cookies())
		}
		if got := w.status("GET", "/whoami", first); got != 401 {
			t.Error("logged out, but let in: ", got)
		}
	})
}

func TestSessionsEnd(t *testing.T) {
	for name, end := range map[string]func(*world) error{
		"idle": func(w *world) error { w.forward(61 * time.Minute); return nil },
		"password": func(w *world) error {
			return w.dir.SetPassword(w.t.Context(), access.Actor{}, w.alice.ID, "other-12345")
		},
		"disabled": func(w *world) error { return w.dir.SetDisabled(w.t.Context(), access.Actor{}, w.alice.ID, true, nil) },
		"deleted":  func(w *world) error { return w.dir.DeleteUser(w.t.Context(), access.Actor{}, w.alice.ID, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, metatest.Open(t, meta.SQLite))
			cookie := w.login()
			if got := w.status("GET", "/whoami", cookie); got != 200 {
				t.Fatal(got)
			}
			if err := end(w); err != nil {
				t.Fatal(err)
			}
			if got := w.status("GET", "/whoami", cookie); got != 401 {
				t.Error(got)
			}
		})
	}
}

func TestNoSession(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	cookie := w.login()
	changed := cookie[:len(cookie)-1] + "A"
	if changed == cookie {
		changed = cookie[:len(cookie)-1] + "B"
	}
	for _, c := range []string{"", "weir=", "weir=short", changed, "__Host-" + cookie, strings.Replace(cookie, "weir=", "other=", 1)} {
		if got := w.status("GET", "/whoami", c); got != 401 {
			t.Errorf("%q: %d", c, got)
		}
	}
	text, _, err := w.dir.CreateToken(t.Context(), access.Actor{}, w.alice.ID, "t", time.Time{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{`{"user": "alice", "password": "wrong"}`, `{"user": "ghost", "password": "wrong"}`, `{"user": "alice", "password": "` + text + `"}`} {
		resp, answer := w.do("POST", "/session", body)
		if resp.StatusCode != 401 || len(resp.Cookies()) != 0 || strings.Contains(answer, "wrong\"") {
			t.Error(resp.StatusCode, answer)
		}
	}
	resp, a := w.do("POST", "/session", `{"user": "alice", "password": "nope-nope"}`)
	_, b := w.do("POST", "/session", `{"user": "ghost", "password": "nope-nope"}`)
	if a != b || resp.StatusCode != 401 {
		t.Errorf("tells who exists:\n%s\n%s", a, b)
	}
	for range 10 {
		resp, _ = w.do("POST", "/session", `{"user": "alice", "password": "nope-nope"}`)
	}
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Error(resp.StatusCode, resp.Header)
	}
}

// Pages of other sites make browsers send requests; none of them may act with the cookie, nor put one there.
func TestOtherSites(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	cookie := w.login()
	for _, tc := range []struct {
		header, value string
		want          int
	}{
		{"Sec-Fetch-Site", "cross-site", 403}, {"Sec-Fetch-Site", "same-site", 403}, {"Origin", "https://evil.test", 403}, {"Origin", "null", 403},
		{"Sec-Fetch-Site", "same-origin", 404}, {"Origin", w.URL, 404}, {"Origin", "https://weir.test", 404}, {"X-None", "", 404},
	} {
		if got := w.status("DELETE", "/sessions/1", cookie, tc.header, tc.value); got != tc.want {
			t.Errorf("%s: %s: %d", tc.header, tc.value, got)
		}
		resp, text := w.do("POST", "/session", alicesLogin, tc.header, tc.value)
		if (resp.StatusCode == 403) != (tc.want == 403) {
			t.Errorf("login with %s: %s: %d %s", tc.header, tc.value, resp.StatusCode, text)
		}
	}
	if got := w.status("GET", "/whoami", cookie, "Sec-Fetch-Site", "cross-site"); got != 200 {
		t.Error("reading is for who gets to see the answer: ", got)
	}
	text, _, err := w.dir.CreateToken(t.Context(), access.Actor{}, w.alice.ID, "t", time.Time{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.status("DELETE", "/sessions/1", "", "Authorization", "Bearer "+text, "Origin", "https://evil.test"); got != 404 {
		t.Error("a token is no cookie: ", got)
	}
}

func (w *world) letIn(cookie string, want bool, why string) {
	w.t.Helper()
	if got := w.status("GET", "/whoami", cookie); (got == 200) != want {
		w.t.Errorf("%s: %d", why, got)
	}
}

// Use makes a session last, to the end of its life and no longer.
func TestUseKeepsASessionUntilItIsOld(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) { // of an hour without use, and three in all
		cookie, unused := w.login(), w.login()
		for range 4 {
			w.forward(40 * time.Minute)
			w.letIn(cookie, true, "used each 40 minutes of its hour")
		}
		w.letIn(unused, false, "not used for 160 minutes")
		w.forward(10 * time.Minute)
		w.letIn(cookie, true, "used, and ten minutes younger than it may be")
		w.forward(11 * time.Minute)
		w.letIn(cookie, false, "used eleven minutes ago, but as old as a session may be")
	})
}

// A session that is used does not end for want of use, however short that may be.
func TestShortIdle(t *testing.T) {
	w := newWorldOf(t, metatest.Open(t, meta.SQLite), 40*time.Second, 3*time.Hour)
	cookie := w.login()
	for range 20 {
		w.forward(9 * time.Second)
		w.letIn(cookie, true, "used each nine seconds of its forty")
	}
	w.forward(41 * time.Second)
	w.letIn(cookie, false, "not used for 41 seconds")
}
