// Package telemetry is how operators watch the server: the logger and the metrics. Package app builds both and hands them
// down; the packages that measure define small interfaces of their own, which the types here satisfy. Every label is
// bounded: by a fixed list of values, or by configuration with a cap on top.
package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
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
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler
	switch o.Format {
	case "", "json":
		handler = slog.NewJSONHandler(w, options)
	case "text":
		handler = slog.NewTextHandler(w, options)
	default:
		return nil, fmt.Errorf("log format %q is neither json nor text", o.Format)
	}
	log := slog.New(plain{handler})
	if o.Environment != "" {
		log = log.With("environment", o.Environment)
	}
	return log, nil
}

// plain writes durations as people do, "1.5s", in JSON too, where they would be nanoseconds. A ReplaceAttr would do the same at the
// price of every attribute of every line; the access line has no durations, so it pays for a look at its attributes' kinds.
type plain struct{ slog.Handler }

// Handle implements slog.Handler.
func (p plain) Handle(ctx context.Context, r slog.Record) error {
	durations := false
	r.Attrs(func(a slog.Attr) bool {
		durations = hasDuration(a)
		return !durations
	})
	if !durations {
		return p.Handler.Handle(ctx, r)
	}
	changed := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		changed.AddAttrs(plainAttr(a))
		return true
	})
	return p.Handler.Handle(ctx, changed)
}

// WithAttrs implements slog.Handler.
func (p plain) WithAttrs(attrs []slog.Attr) slog.Handler {
	return plain{p.Handler.WithAttrs(plainAttrs(attrs))}
}

// WithGroup implements slog.Handler.
func (p plain) WithGroup(name string) slog.Handler { return plain{p.Handler.WithGroup(name)} }

func hasDuration(a slog.Attr) bool {
	switch a.Value.Kind() {
	case slog.KindDuration, slog.KindLogValuer: // a LogValuer may turn out to be one
		return true
	case slog.KindGroup:
		return slices.ContainsFunc(a.Value.Group(), hasDuration)
	}
	return false
}

func plainAttr(a slog.Attr) slog.Attr {
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindDuration:
		a.Value = slog.StringValue(v.Duration().String())
	case slog.KindGroup:
		a.Value = slog.GroupValue(plainAttrs(v.Group())...)
	}
	return a
}

func plainAttrs(attrs []slog.Attr) []slog.Attr {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i] = plainAttr(a)
	}
	return out
}
