package store

import "context"

// Problem is something that must not be.
type Problem struct {
	Kind    string // one of the Problem… constants, or a kind of the caller that compares rows with bytes
	Subject string // what it is about: <repository id>@<digest>, <repository id>:<tag> or a key
	Detail  string
	Warning bool // can be the result of a request: an index whose child somebody deleted by digest
}

// Kinds of problem that CheckRows reports.
const (
	ProblemTag      = "tag-without-manifest"
	ProblemLink     = "link-without-blob"
	ProblemPayload  = "manifest-payload"      // its digest or size is not that of its row
	ProblemBlob     = "reference-to-no-blob"  // hosted manifest, config or layer not linked
	ProblemManifest = "reference-to-no-child" // hosted index, child not in the repository
	ProblemDoomed   = "doomed-key-in-use"     // a key to be deleted is a blob's key
)

// CheckRows reads every row of the store and reports what breaks its promises. It changes nothing and may run while the
// server serves; what changes under it is not reported wrongly, since each finding is confirmed in one query.
func (s *Store) CheckRows(ctx context.Context, report func(Problem)) error { panic("unwritten") }
