package access

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

var here = netip.MustParseAddr("192.0.2.1")

func basic(name, password string) Credentials {
	return Credentials{Authorization: "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password)), Address: here}
}

func bearer(text string) Credentials {
	return Credentials{Authorization: "Bearer " + text, Address: here}
}

func TestAuthenticate(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		alice := w.user("alice", "correct: horse")
		nopass := w.user("robot", "")
		text, tok := w.token(alice, "ci", time.Time{}, &Ceiling{Scopes: []Scope{{Path: "acme", Actions: []Action{Pull}}}})
		robot, _ := w.token(nopass, "r", time.Time{}, nil)
		for name, tc := range map[string]struct {
			c     Credentials
			id    int64
			token int64
			code  oci.Code
			want  string
		}{
			"none":                    {Credentials{}, 0, 0, "", ""},
			"password":                {basic("alice", "correct: horse"), alice.ID, 0, "", ""},
			"wrong password":          {basic("alice", "wrong"), 0, 0, oci.CodeUnauthorized, wrongLogin},
			"empty password":          {basic("alice", ""), 0, 0, oci.CodeUnauthorized, wrongLogin},
			"unknown user":            {basic("mallory", "wrong"), 0, 0, oci.CodeUnauthorized, wrongLogin},
			"case matters":            {basic("Alice", "correct: horse"), 0, 0, oci.CodeUnauthorized, wrongLogin},
			"no password set":         {basic("robot", ""), 0, 0, oci.CodeUnauthorized, wrongLogin},
			"nul":                     {basic("alice\x00", "correct: horse"), 0, 0, oci.CodeUnauthorized, wrongLogin},
			"long":                    {basic("alice", strings.Repeat("x", 5000)), 0, 0, oci.CodeUnauthorized, wrongLogin},
			"empty pair":              {basic("", ""), 0, 0, "", ""},
			"token as password":       {basic("alice", text), alice.ID, tok.ID, "", ""},
			"token with other name":   {basic("ci-robot", text), alice.ID, tok.ID, "", ""},
			"token without name":      {basic("", text), 0, 0, oci.CodeUnauthorized, wrongLogin},
			"token as bearer":         {bearer(text), alice.ID, tok.ID, "", ""},
			"token of user without":   {bearer(robot), nopass.ID, -1, "", ""},
			"token cut":               {bearer(text[:40]), 0, 0, oci.CodeUnauthorized, "the token is not complete"},
			"token changed":           {bearer(text[:len(text)-1] + "z"), 0, 0, oci.CodeUnauthorized, "unknown or revoked token"},
			"token in upper case":     {bearer(tokenPrefix + strings.ToUpper(text[5:]) + ""), 0, 0, oci.CodeUnauthorized, ""},
			"hash as token":           {bearer(tokenPrefix + strings.Repeat("0", 64)), 0, 0, oci.CodeUnauthorized, "unknown or revoked token"},
			"not base64":              {Credentials{Authorization: "Basic %%%"}, 0, 0, oci.CodeUnauthorized, "not a Basic login"},
			"no colon":                {Credentials{Authorization: "Basic " + base64.StdEncoding.EncodeToString([]byte("alice"))}, 0, 0, oci.CodeUnauthorized, "not a Basic login"},
			"other scheme":            {Credentials{Authorization: "Digest x"}, 0, 0, oci.CodeUnauthorized, "must be Basic or Bearer"},
			"rubbish bearer":          {bearer("rubbish"), 0, 0, oci.CodeUnauthorized, "not one of this server"},
			"scheme in other letters": {Credentials{Authorization: "bAsIc " + strings.TrimPrefix(basic("alice", "correct: horse").Authorization, "Basic ")}, alice.ID, 0, "", ""},
		} {
			tc.c.Address = netip.AddrFrom4([4]byte{10, 0, byte(len(name)), name[0]}) // none is limited by the others
			p, err := w.Authenticate(t.Context(), tc.c)
			if oci.ErrorCode(err) != tc.code || p.ID != tc.id || (tc.token >= 0 && p.TokenID != tc.token) {
				t.Errorf("%s: %+v, %v", name, p, err)
			}
			if err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v", name, err)
			}
			if err != nil && (p.ID != 0 || p.Ceiling != nil) {
				t.Errorf("%s: a principal beside the error: %+v", name, p)
			}
		}
	})
}

func TestTokensEnd(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	alice := w.user("alice", "pw-12345")
	expires := w.clock.now().Add(time.Hour)
	text, tok := w.token(alice, "ci", expires, nil)
	for range 2 { // from the database and from memory
		if _, err := w.Authenticate(t.Context(), bearer(text)); err != nil {
			t.Fatal(err)
		}
	}
	w.clock.forward(time.Hour)
	_, err := w.Authenticate(t.Context(), bearer(text))
	want := "token ci expired at " + expires.UTC().Format(time.RFC3339) + "; create another with `weir token create`"
	if oci.ErrorCode(err) != oci.CodeUnauthorized || !strings.Contains(err.Error(), want) || !errors.Is(err, ErrInvalidToken) {
		t.Error(err)
	}
	if _, _, err := w.CreateToken(t.Context(), Actor{}, alice.ID, "ci", time.Time{}, nil); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	if err := w.RevokeToken(t.Context(), Actor{}, alice.ID+1, tok.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("somebody else's token: %v", err)
	}
	if err := w.RevokeToken(t.Context(), Actor{}, alice.ID, tok.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Authenticate(t.Context(), bearer(text)); err == nil || !strings.Contains(err.Error(), "token ci was revoked") {
		t.Error(err)
	}
	again, _ := w.token(alice, "ci", time.Time{}, nil) // the name is free once revoked
	if err := w.SetDisabled(t.Context(), Actor{}, alice.ID, true, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Authenticate(t.Context(), bearer(again)); err == nil || !strings.Contains(err.Error(), "is disabled") {
		t.Error(err)
	}
	if _, err := w.Authenticate(t.Context(), basic("alice", "pw-12345")); err == nil || !strings.Contains(err.Error(), wrongLogin) {
		t.Error(err)
	}
	if _, _, err := w.CreateToken(t.Context(), Actor{}, alice.ID, "old-12345", w.clock.now(), nil); !errors.Is(err, ErrExpiry) {
		t.Error(err)
	}
	for _, c := range []*Ceiling{{}, {Scopes: []Scope{{Path: "../x", Actions: []Action{Pull}}}}, {Scopes: []Scope{{Actions: []Action{"fly"}}}}, {Scopes: []Scope{{Path: "acme"}}}} {
		if _, _, err := w.CreateToken(t.Context(), Actor{}, alice.ID, "limited", time.Time{}, c); !errors.Is(err, ErrCeiling) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestPasswordChangeEndsLogins(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite))
	alice := w.user("alice", "old-12345")
	p, err := w.Authenticate(t.Context(), basic("alice", "old-12345"))
	if err != nil {
		t.Fatal(err)
	}
	issued, err := w.IssueBearer(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	refresh, err := w.IssueRefresh(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Refresh(t.Context(), refresh.Text); err != nil {
		t.Fatal(err)
	}
	if err := w.SetPassword(t.Context(), Actor{}, alice.ID, "new-12345"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Authenticate(t.Context(), basic("alice", "old-12345")); err == nil {
		t.Error("the old password is remembered")
	}
	if _, err := w.Authenticate(t.Context(), basic("alice", "new-12345")); err != nil {
		t.Error(err)
	}
	if _, err := w.Authenticate(t.Context(), bearer(issued.Text)); err == nil {
		t.Error("a bearer token outlives the password")
	}
	if _, err := w.Refresh(t.Context(), refresh.Text); err == nil {
		t.Error("a refresh token outlives the password")
	}
}

func TestLoginsAreLimited(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite), func(o *Options) { o.LoginRate = 5 })
	text, _ := w.token(w.user("alice", "pw-12345"), "ci", time.Time{}, nil)
	w.user("bob", "pw-12345")
	attempt := func(address, name, password string) error {
		c := basic(name, password)
		c.Address = netip.MustParseAddr(address)
		_, err := w.Authenticate(t.Context(), c)
		return err
	}
	for i := range 5 {
		if err := attempt("192.0.2.9", "alice", "wrong"); oci.ErrorCode(err) != oci.CodeUnauthorized {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
	err := attempt("192.0.2.9", "alice", "wrong")
	e, _ := errors.AsType[*oci.Error](err)
	if e == nil || e.Code != oci.CodeTooManyRequests || e.RetryAfter <= 0 || e.RetryAfter > time.Minute {
		t.Fatal(err)
	}
	if err := attempt("192.0.2.9", "alice", "pw-12345"); oci.ErrorCode(err) != oci.CodeTooManyRequests {
		t.Errorf("the right password tells itself apart: %v", err)
	}
	if err := attempt("192.0.2.10", "alice", "pw-12345"); err != nil {
		t.Errorf("one address locks a user out everywhere: %v", err)
	}
	if err := attempt("192.0.2.9", "x", text); err != nil {
		t.Errorf("wrong passwords keep a neighbour's token out: %v", err)
	}
	if err := attempt("192.0.2.9", "bob", "pw-12345"); err != nil {
		t.Errorf("wrong passwords keep another account at the address out: %v", err)
	}
	for range 50 { // remembered logins and right passwords cost nothing
		if err := attempt("192.0.2.10", "alice", "pw-12345"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 6 { // one network of 64 bits is one client
		err = attempt("2001:db8::"+string(rune('1'+i)), "bob", "wrong")
	}
	if oci.ErrorCode(err) != oci.CodeTooManyRequests {
		t.Error(err)
	}
	limited := 0
	for i := range 30 { // many addresses, one name
		if oci.ErrorCode(attempt(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}).String(), "carol", "wrong")) == oci.CodeTooManyRequests {
			limited++
		}
	}
	if limited != 15 {
		t.Errorf("%d of 30 attempts on one name were stopped", limited)
	}
	w.clock.forward(2 * time.Minute)
	if err := attempt("192.0.2.9", "alice", "pw-12345"); err != nil {
		t.Errorf("after a while: %v", err)
	}
}

// TestAddressesAreLimited: an address may fail five times as often as a name from it, with passwords, and with tokens.
func TestAddressesAreLimited(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite), func(o *Options) { o.LoginRate = 4 })
	text, _ := w.token(w.user("alice", "pw-12345"), "ci", time.Time{}, nil)
	refused := func(attempt func(i int) error) (n int) {
		t.Helper()
		for i := range 30 {
			switch code := oci.ErrorCode(attempt(i)); code {
			case oci.CodeUnauthorized:
				n++
			case oci.CodeTooManyRequests:
			default:
				t.Fatalf("attempt %d: %s", i, code)
			}
		}
		return n
	}
	login := func(c Credentials) error {
		_, err := w.Authenticate(t.Context(), c)
		return err
	}
	for what, c := range map[string]struct {
		one, others func(i int) error
	}{
		"password": {
			func(int) error { return login(basic("mallory", "wrong")) },
			func(i int) error { return login(basic(fmt.Sprint("user", i), "wrong")) },
		},
		"token": {
			func(int) error { return login(bearer(tokenPrefix + strings.Repeat("0", 64))) },
			func(i int) error { return login(bearer(fmt.Sprintf("%s%064d", tokenPrefix, i+1))) },
		},
	} {
		if n := refused(c.one); n != 4 {
			t.Errorf("%s: %d of 30 wrong ones alike were looked at, want 4", what, n)
		}
		if n := refused(c.others); n != 16 { // the address has 20 in all, which the 26 that were stopped did not use up
			t.Errorf("%s: %d of 30 different wrong ones were looked at, want 16", what, n)
		}
	}
	if err := login(basic("alice", "pw-12345")); oci.ErrorCode(err) != oci.CodeTooManyRequests {
		t.Errorf("the address is not limited: %v", err)
	}
	w.clock.forward(10 * time.Minute)
	if err := errors.Join(login(basic("alice", "pw-12345")), login(bearer(text))); err != nil {
		t.Errorf("after a while: %v", err)
	}
}

func TestBackoffGrows(t *testing.T) {
	l, now := newLimiter(6), time.Now()
	for range 6 {
		if wait := l.blocked("k", now); wait != 0 {
			t.Fatal(wait)
		}
		l.failed("k", now)
	}
	first := l.blocked("k", now)
	for range 4 {
		l.blocked("k", now) // keeps trying
	}
	now = now.Add(first)
	if wait := l.blocked("k", now); wait != 0 {
		t.Fatal(wait)
	}
	l.failed("k", now)
	if wait := l.blocked("k", now); wait < 4*first {
		t.Errorf("hammering costs nothing: %v, then %v", first, wait)
	}
	for range 1000 {
		l.failed("k", now)
	}
	if wait := l.blocked("k", now); wait > maxWait+time.Minute {
		t.Errorf("locked out for %v", wait)
	}
	if wait := l.blocked("k", now.Add(time.Hour)); wait != 0 {
		t.Errorf("not forgotten after an hour: %v", wait)
	}
}

// A node starts many pods at once, all through one address.
func TestManyLoginsAtOnce(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite), func(o *Options) { o.LoginRate = 1 })
	var all []Credentials
	for i := range 20 {
		name := "user" + string(rune('a'+i))
		text, _ := w.token(w.user(name, "pw-12345"), "ci", time.Time{}, nil)
		all = append(all, basic(name, "pw-12345"), basic("x", text), basic("usera", "pw-12345"))
	}
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() {
			if _, err := w.Authenticate(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// Guesses that run side by side do not get round the limit.
func TestParallelGuesses(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite), func(o *Options) { o.LoginRate = 2 })
	w.user("alice", "pw-12345")
	var wg sync.WaitGroup
	var checked atomic.Int64
	for i := range 200 {
		wg.Go(func() {
			_, err := w.Authenticate(t.Context(), basic("alice", fmt.Sprint("guess", i)))
			if oci.ErrorCode(err) == oci.CodeUnauthorized {
				checked.Add(1)
			}
		})
	}
	wg.Wait()
	if most := int64(2 + cap(w.hasher.slots)); checked.Load() > most {
		t.Errorf("%d guesses were checked, at most %d expected", checked.Load(), most)
	}
}

// Daemons send the logins they have for somebody else to their mirrors.
func TestMirrorsIgnoreForeignLogins(t *testing.T) {
	w := newWorld(t, metatest.Open(t, meta.SQLite), func(o *Options) { o.LoginRate = 3 })
	alice := w.user("alice", "pw-12345")
	mirror := func(c Credentials) Credentials { c.Mirror = true; return c }
	for _, c := range []Credentials{
		basic("hubuser", "dckr_pat_x"), basic("alice", "hub password"), bearer("eyJhbGciOiJub25lIn0.e30."), bearer("weir_x"),
		{Authorization: "Digest x"}, {Authorization: "Basic ???"},
	} {
		for range 20 { // never limited into an error
			p, err := w.Authenticate(t.Context(), mirror(c))
			if err != nil || !p.IsAnonymous() {
				t.Fatalf("%s: %+v, %v", c.Authorization, p, err)
			}
		}
	}
	if p, err := w.Authenticate(t.Context(), basic("alice", "pw-12345")); err != nil || p.ID != alice.ID {
		t.Errorf("foreign logins used up the real ones: %v", err)
	}
	w.clock.forward(time.Hour)
	if p, err := w.Authenticate(t.Context(), mirror(basic("alice", "pw-12345"))); err != nil || p.ID != alice.ID {
		t.Errorf("own login at a mirror: %+v, %v", p, err)
	}
}

func TestHasher(t *testing.T) {
	h := newHasher(cheap)
	stored, err := h.hash(t.Context(), "pw-12345")
	if err != nil || !strings.HasPrefix(stored, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Fatal(stored, err)
	}
	again, _ := h.hash(t.Context(), "pw-12345")
	if stored == again {
		t.Error("no salt")
	}
	// A reference vector made with another implementation of RFC 9106.
	const known = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for _, tc := range []struct {
		stored, password string
		want             bool
	}{
		{stored, "pw-12345", true}, {stored, "pW", false}, {stored, "", false}, {known, "password", true}, {known, "Password", false},
		{"", "", false}, {"", "pw-12345", false}, {h.dummy, "", false}, {h.dummy, "pw-12345", false},
		{"$argon2id$v=19$m=4294967295,t=9,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password", false},
		{"$2y$10$abcdefghijklmnopqrstuv", "pw-12345", false},
	} {
		if got := h.verify(tc.password, tc.stored); got != tc.want {
			t.Errorf("%q %q: %v", tc.stored, tc.password, got)
		}
	}
}
