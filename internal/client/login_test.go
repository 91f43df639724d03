package client

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestServerAddress(t *testing.T) {
	for in, want := range map[string]string{
		"weir.example.com":             "https://weir.example.com",
		"WEIR.example.com:8443":        "https://weir.example.com:8443",
		"https://weir.example.com/v2/": "https://weir.example.com",
		"http://weir.example.com":      "http://weir.example.com",
		"127.0.0.1:5000":               "http://127.0.0.1:5000",
		"localhost:5000":               "http://localhost:5000",
		"[::1]:5000":                   "http://[::1]:5000",
		"10.0.0.1:5000":                "https://10.0.0.1:5000",
		" weir.example.com\n":          "https://weir.example.com",
		"":                             "",
		"ftp://weir.example.com":       "",
		"https://u:p@weir.example.com": "",
	} {
		got, err := ServerAddress(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestLogins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir", "logins.json")
	logins, err := ReadLogins(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := logins.Find("weir.example.com"); !errors.Is(err, ErrNoLogin) {
		t.Errorf("an empty file: %v", err)
	}
	logins.Put(Login{Server: "https://weir.example.com", User: "ann", Token: "weir_1"})
	logins.Put(Login{Server: "http://127.0.0.1:5000", User: "bob", Token: "weir_2"})
	if err := logins.Save(); err != nil {
		t.Fatal(err)
	}
	logins, err = ReadLogins(path)
	if err != nil || logins.Current != "http://127.0.0.1:5000" {
		t.Fatalf("current %q, %v", logins.Current, err)
	}
	for _, name := range []string{"https://weir.example.com", "weir.example.com", "http://weir.example.com", "https://weir.example.com/v2/"} {
		if l, err := logins.Find(name); err != nil || l.User != "ann" {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
	for _, name := range []string{"example.com", "weir.example.com:8443", "https://weir.example.com.evil.test"} {
		if _, err := logins.Find(name); !errors.Is(err, ErrNoLogin) {
			t.Errorf("%s: %v", name, err)
		}
	}
	logins.Drop("http://127.0.0.1:5000")
	if logins.Current != "" || len(logins.Servers) != 1 {
		t.Errorf("after a logout: %+v", logins)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadLogins(path); err == nil {
		t.Error("a damaged file was read")
	}
}

func TestDue(t *testing.T) {
	made := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	end := made.Add(90 * 24 * time.Hour)
	own := Login{TokenID: "1", MadeAt: made, ExpiresAt: &end}
	for days, want := range map[int]bool{0: false, 59: false, 61: true, 100: true} {
		if got := own.Due(made.AddDate(0, 0, days)); got != want {
			t.Errorf("after %d days: %v", days, got)
		}
	}
	if given := (Login{MadeAt: made, ExpiresAt: &end}); given.Due(end) {
		t.Error("a token that it was given is not the login's to renew")
	}
}
