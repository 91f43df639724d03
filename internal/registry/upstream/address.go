package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// errAddress is returned by the dialer for an address that Weir must not connect to.
var errAddress = errors.New("address refused")

// Addresses that are dangerous in every network: metadata services hand out credentials to whoever asks. They stay
// refused when private networks are allowed.
var metadataAddresses = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), // AWS, Azure, Google and others
	netip.MustParseAddr("169.254.170.2"),   // AWS ECS task credentials
	netip.MustParseAddr("169.254.170.23"),  // AWS EKS pod identity
	netip.MustParseAddr("fd00:ec2::254"),   // AWS, IPv6
	netip.MustParseAddr("fd00:ec2::23"),    // AWS EKS pod identity, IPv6
	netip.MustParseAddr("100.100.100.200"), // Alibaba Cloud
	netip.MustParseAddr("192.0.0.192"),     // Oracle Cloud
	netip.MustParseAddr("168.63.129.16"),   // Azure's host endpoint
}

// Networks that are not the public internet and that netip.Addr has no method for.
var privatePrefixes = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // "this network"
	netip.MustParsePrefix("100.64.0.0/10"),   // carrier-grade NAT
	netip.MustParsePrefix("192.0.0.0/24"),    // IETF protocol assignments
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"), // documentation
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation
	netip.MustParsePrefix("240.0.0.0/4"),     // reserved, broadcast
	netip.MustParsePrefix("100::/64"),        // discard
	netip.MustParsePrefix("2001:db8::/32"),   // documentation
	netip.MustParsePrefix("fec0::/10"),       // site-local
	netip.MustParsePrefix("2001::/32"),       // Teredo tunnels
	netip.MustParsePrefix("64:ff9b:1::/48"),  // local NAT64
}

// IPv6 prefixes that carry an IPv4 address, and the byte where it starts.
var embeddings = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12}, // NAT64
	{netip.MustParsePrefix("2002::/16"), 2},     // 6to4
	{netip.MustParsePrefix("::/96"), 12},        // IPv4-compatible
}

// checkAddress returns errAddress, with the reason, for an address that must not be connected to.
func checkAddress(ip netip.Addr, allowPrivate bool) error {
	ip = ip.Unmap().WithZone("")
	for _, m := range metadataAddresses {
		if ip == m {
			return fmt.Errorf("%w: %s is a metadata service", errAddress, ip)
		}
	}
	if ip.IsUnspecified() || ip.IsMulticast() {
		return fmt.Errorf("%w: %s is not the address of a host", errAddress, ip)
	}
	if inner, ok := embedded(ip); ok && ip != netip.IPv6Loopback() {
		return checkAddress(inner, allowPrivate)
	}
	if allowPrivate {
		return nil
	}
	if ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
		return fmt.Errorf("%w: %s is a private address", errAddress, ip)
	}
	for _, p := range privatePrefixes {
		if p.Contains(ip) {
			return fmt.Errorf("%w: %s is not a public address", errAddress, ip)
		}
	}
	return nil
}

// embedded returns the IPv4 address that an IPv6 address leads to through a translator or tunnel.
func embedded(ip netip.Addr) (netip.Addr, bool) {
	if !ip.Is6() {
		return netip.Addr{}, false
	}
	b := ip.As16()
	for _, e := range embeddings {
		if e.prefix.Contains(ip) {
			return netip.AddrFrom4([4]byte(b[e.at : e.at+4])), true
		}
	}
	return netip.Addr{}, false
}

// Guard is a net.Dialer.ControlContext for connections to where tenants say: it sees the address after name resolution, just before
// connecting, so that no trick with names can get around it. Private, loopback and link-local addresses are refused unless the operator
// allows them, metadata services always.
func Guard(allowPrivate bool) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, network, address string, _ syscall.RawConn) error {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return fmt.Errorf("%w: %s", errAddress, address)
		}
		ip, err := netip.ParseAddr(host)
		if err != nil {
			return fmt.Errorf("%w: %s %s", errAddress, network, host)
		}
		return checkAddress(ip, allowPrivate)
	}
}
