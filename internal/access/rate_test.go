package access

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

func TestRates(t *testing.T) {
	var off *Rates
	if off != NewRates(0, 0) || off.Address(here, time.Time{}) != nil || off.Principal(Principal{ID: 1}, time.Time{}) != nil {
		t.Error("bounded by nothing")
	}
	r, now := NewRates(60, 3), time.Now()
	ask := func(a string) error { return r.Address(netip.MustParseAddr(a), now) }
	for range 3 {
		if err := ask("192.0.2.1"); err != nil {
			t.Fatal(err)
		}
	}
	err := ask("192.0.2.1")
	if e, _ := errors.AsType[*oci.Error](err); e == nil || e.Code != oci.CodeTooManyRequests || e.RetryAfter <= 0 || e.RetryAfter > 21*time.Second {
		t.Errorf("%+v", err)
	}
	if ask("192.0.2.2") != nil || ask("::ffff:192.0.2.2") != nil {
		t.Error("another address")
	}
	for range 3 {
		_ = ask("2001:db8::1")
	}
	if ask("2001:db8::2") == nil || ask("2001:db8:0:1::1") != nil {
		t.Error("IPv6 is counted by network")
	}
	now = now.Add(20 * time.Second)
	if ask("192.0.2.1") != nil || ask("192.0.2.1") == nil {
		t.Error("one more every twenty seconds")
	}
	if r.Address(netip.Addr{}, now) != nil || r.Principal(Nobody(), now) != nil {
		t.Error("the socket and nobody are not counted here")
	}
	var passed atomic.Int64
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 20 {
				if r.Principal(Principal{ID: 1, Name: "ann"}, now) == nil {
					passed.Add(1)
				}
			}
		})
	}
	wait.Wait()
	if passed.Load() != 60 {
		t.Errorf("%d of 60 passed", passed.Load())
	}
}
