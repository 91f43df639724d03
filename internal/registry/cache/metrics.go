package cache

import "time"

// Metrics counts what the cache does. upstream is the upstream's name; every other label has a handful of values. Calls
// must not block.
type Metrics interface {
	// Answered counts one answer. kind is manifest, blob, tags or referrers; status is a registry.CacheStatus for content
	// and the outcome otherwise.
	Answered(upstream, kind, status string)
	// Checked counts one check of a stale reference: confirmed, moved, absent, denied or unknown.
	Checked(upstream, result string)
	// FillStarted and FillEnded count transfers. result is stored, wrong, failed, parked or detached; bytes is what the
	// upstream sent; resumes is how often the read had to be taken up again.
	FillStarted(upstream string)
	FillEnded(upstream, result string, bytes int64, resumes int, took time.Duration)
	// Passed counts content that went through uncached: because of a range far ahead, a full device, the byte budget, or
	// a store that could not keep it.
	Passed(upstream, reason string)
}

type noMetrics struct{}

func (noMetrics) Answered(string, string, string)                     {}
func (noMetrics) Checked(string, string)                              {}
func (noMetrics) FillStarted(string)                                  {}
func (noMetrics) FillEnded(string, string, int64, int, time.Duration) {}
func (noMetrics) Passed(string, string)                               {}
