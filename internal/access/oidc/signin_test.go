package oidc

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/access"
)

// A provider that is down is not asked by each of a crowd that signs in, and is found when it is back.
func TestProviderDown(t *testing.T) {
	issuer := newIssuer(t)
	var asked atomic.Int32
	var down atomic.Bool
	down.Store(true)
	client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		asked.Add(1)
		if down.Load() {
			w := httptest.NewRecorder()
			w.WriteHeader(http.StatusBadGateway)
			return w.Result(), nil
		}
		return http.DefaultTransport.RoundTrip(r)
	})}
	now := time.Unix(1_700_000_000, 0)
	p := NewProvider(ProviderOptions{Name: "idp", Issuer: issuer.URL, ClientID: "weir", Client: client, Now: func() time.Time { return now }})
	begin := func() error {
		_, _, err := p.Begin(t.Context(), "http://weir.test/back")
		return err
	}
	for range 5 {
		if err := begin(); !errors.Is(err, access.ErrUnreachable) {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("%d questions to a provider that is down", n)
	}
	down.Store(false)
	now = now.Add(tryAgain)
	if err := begin(); err != nil {
		t.Fatal("it is back: ", err)
	}
	down.Store(true)
	now = now.Add(2 * keysFor)
	if err := begin(); err != nil {
		t.Error("it is down, and what was found before is forgotten: ", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
