package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

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
// once a second. There is no deadline but ctx: a deep check of many bytes takes as long as it takes.
func (c *Client) Check(ctx context.Context, deep bool, report func(Finding), progress func(CheckProgress)) (sum CheckSummary, err error) {
	text, err := json.Marshal(map[string]bool{"deep": deep, "progress": progress != nil})
	if err != nil {
		return sum, err
	}
	patient := *c.http
	patient.Timeout = 0
	response, err := c.send(ctx, &patient, http.MethodPost, "/check", bytes.NewReader(text))
	if err != nil {
		return sum, err
	}
	defer response.Body.Close()
	for lines := json.NewDecoder(response.Body); ; {
		var line struct {
			Finding  *Finding
			Progress *CheckProgress
			Summary  *CheckSummary
			Error    string
		}
		switch err := lines.Decode(&line); {
		case errors.Is(err, io.EOF):
			return sum, errors.New("the server stopped in the middle of the check")
		case err != nil:
			return sum, fmt.Errorf("read the answer of %s: %w", c.where, err)
		case line.Finding != nil:
			report(*line.Finding)
		case line.Progress != nil && progress != nil:
			progress(*line.Progress)
		case line.Error != "":
			return *line.Summary, errors.New(line.Error)
		case line.Summary != nil:
			return *line.Summary, nil
		}
	}
}
