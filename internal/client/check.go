package client

import "context"

// Finding is something that must not be.
type Finding struct {
	Kind     string `json:"kind"`
	Subject  string `json:"subject"`
	Detail   string `json:"detail"`
	Advice   string `json:"advice"`
	Warning  bool   `json:"warning,omitempty"`
	Repaired bool   `json:"repaired,omitempty"`
}

// CheckSummary counts what a check looked at and what it found.
type CheckSummary struct {
	Blobs    int64 `json:"blobs"`
	Bytes    int64 `json:"bytes"`
	Problems int64 `json:"problems"`
	Warnings int64 `json:"warnings"`
	Repaired int64 `json:"repaired"`
}

// CheckProgress is how far a check is.
type CheckProgress struct {
	Blobs      int64 `json:"blobs"`
	TotalBlobs int64 `json:"total_blobs"`
	Bytes      int64 `json:"bytes"`
	TotalBytes int64 `json:"total_bytes"`
}

// Check has the server compare rows with bytes. report is called for each finding as it comes in, progress, unless it is nil, about
// once a second.
func (c *Client) Check(ctx context.Context, deep bool, report func(Finding), progress func(CheckProgress)) (sum CheckSummary, err error) {
	in := map[string]bool{"deep": deep, "progress": progress != nil}
	type line struct {
		Finding  *Finding
		Progress *CheckProgress
		Summary  *CheckSummary
		Problem  *Problem
	}
	err = stream(ctx, c, "/check", in, func(l line) (bool, error) {
		switch {
		case l.Finding != nil:
			report(*l.Finding)
		case l.Progress != nil && progress != nil:
			progress(*l.Progress)
		case l.Summary != nil:
			sum = *l.Summary
		}
		if l.Problem != nil {
			return true, l.Problem
		}
		return l.Summary != nil, nil
	})
	return sum, err
}
