// Package telemetry is how operators watch the server: the logger and the metrics. Package app builds both and hands them
// down; the packages that measure define small interfaces of their own, which the types here satisfy. Every label is
// bounded: by a fixed list of values, or by configuration with a cap on top.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
)

// LogOptions configure NewLogger.
type LogOptions struct {
	Level       string // debug, info, warn, error; empty = info
	Format      string // json, text; empty = json
	Environment string // name of the installation; left out of the lines when empty
}

// NewLogger returns the one logger of the process. Lines go to w, one write each.
func NewLogger(w io.Writer, o LogOptions) (*slog.Logger, error) {
	var level slog.Level
	if o.Level != "" {
		if err := level.UnmarshalText([]byte(o.Level)); err != nil {
			return nil, fmt.Errorf("log level %q: %w", o.Level, err)
		}
	}
	var handler slog.Handler
	switch o.Format {
	case "", "json":
		handler = newJSONHandler(w, level)
	case "text":
		handler = slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})
	default:
		return nil, fmt.Errorf("log format %q is neither json nor text", o.Format)
	}
	log := slog.New(handler)
	if o.Environment != "" {
		log = log.With("environment", o.Environment)
	}
	return log, nil
}
