// Package lab is a scriptable upstream: a registry for pulls, on loopback, that misbehaves on demand. Tests stand on it, and
// `weir lab upstream` gives the same to users, so that they can see what their own installation does when an upstream is slow,
// limits them, lies, or is gone.
//
// An Upstream is two HTTP servers: the registry, and a storage host that blobs can be redirected to. Its content is deterministic. What
// is wrong with it is a Behavior, which Go code changes with Set, and which people write as lines such as
// "429,retry-after=7,kind=manifest" (Faults, Play), on the command line or through its control door below /_lab/ (control.go).
// It counts every request and every byte it sent, so that one can tell what was asked of it. Whatever it remembers is bounded.
//
// All methods are safe for concurrent use. Close ends every connection and waits for every request.
package lab
