package access

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/weir-registry/weir/internal/event"
	"github.com/weir-registry/weir/internal/oci"
)

// Rates bounds how many requests one principal, and one address, may make (GCRA): as many at once as in a minute, and that many a
// minute in the long run. The nil Rates bounds nothing. It counts for this process alone: replicas behind a balancer each allow
// that many.
type Rates struct {
	principals *rate[int64]
	addresses  *rate[netip.Addr]
}

// NewRates returns the bounds, in requests per minute; 0 is none. Without any it is nil.
func NewRates(perPrincipal, perAddress int) *Rates {
	if perPrincipal <= 0 && perAddress <= 0 {
		return nil
	}
	return &Rates{newRate[int64](perPrincipal), newRate[netip.Addr](perAddress)}
}

// Address counts a request of a client; TOOMANYREQUESTS. An invalid address is the local socket, which is not bounded.
func (r *Rates) Address(a netip.Addr, now time.Time) error {
	if r == nil || r.addresses == nil || !a.IsValid() {
		return nil
	}
	return tooMany("this address", r.addresses.take(network(a), now))
}

// Principal counts a request of who is logged in; TOOMANYREQUESTS. Nobody is counted by the address alone.
func (r *Rates) Principal(p Principal, now time.Time) error {
	if r == nil || r.principals == nil || p.ID == 0 {
		return nil
	}
	return tooMany(p.Name, r.principals.take(p.ID, now))
}

func tooMany(who string, wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	wait = wait.Truncate(time.Second) + time.Second
	return oci.NewError(oci.CodeTooManyRequests, fmt.Sprintf("too many requests by %s; go on in %s", who, wait)).WithRetryAfter(wait).
		WithCause(&event.RefusedError{Refusal: event.Refusal{Kind: event.RequestLimited, Reason: "more requests than limits allow"}})
}

// rate is GCRA over keys: for each the time at which all that was taken is paid off.
type rate[K comparable] struct {
	interval time.Duration
	most     time.Duration // that may be owed
	keys     *otter.Cache[K, *atomic.Int64]
}

func newRate[K comparable](perMinute int) *rate[K] {
	if perMinute <= 0 {
		return nil
	}
	return &rate[K]{
		interval: time.Minute / time.Duration(perMinute), most: time.Minute,
		keys: otter.Must(&otter.Options[K, *atomic.Int64]{
			MaximumSize: limiterKeys, ExpiryCalculator: otter.ExpiryWriting[K, *atomic.Int64](10 * time.Minute), // who comes back later owes nothing
		}),
	}
}

// take pays for one request, or returns how long to wait.
func (r *rate[K]) take(key K, now time.Time) time.Duration {
	owed, ok := r.keys.GetIfPresent(key)
	if !ok {
		owed, _ = r.keys.ComputeIfAbsent(key, func() (*atomic.Int64, bool) { return new(atomic.Int64), false })
	}
	for {
		old := owed.Load()
		next := max(old, now.UnixNano()) + int64(r.interval)
		if wait := time.Duration(next - now.UnixNano()); wait > r.most {
			return wait - r.most
		}
		if owed.CompareAndSwap(old, next) {
			return 0
		}
	}
}

// network is the address that is counted: of IPv6 the network of 64 bits, which one client has all of.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
