package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// valuer is resolved when it is written.
type valuer struct{}

func (valuer) LogValue() slog.Value { return slog.DurationValue(time.Minute) }

// TestJSONAsSlog compares lines with those of slog.JSONHandler, which has no durations to compare.
func TestJSONAsSlog(t *testing.T) {
	attrs := []slog.Attr{
		slog.String("s", "plain"), slog.String("odd", "a\"b\\c\n\t\x00\x7f<&> é \u2028 \xff"), slog.String("", "no key"),
		slog.Int("i", -7), slog.Uint64("u", math.MaxUint64), slog.Bool("b", true), slog.Time("t", time.Unix(1, 5).UTC()),
		slog.Float64("f", 0.25), slog.Float64("small", 1e-9), slog.Float64("large", 1.5e300), slog.Float64("whole", 3),
		slog.Any("error", errors.New("broken")), slog.Any("list", []string{"a", "b"}), slog.Any("nil", nil),
		slog.Any("address", netip.MustParseAddr("192.0.2.1")), {},
		slog.Group("g", slog.Int("x", 1), slog.Group("h", slog.Int("y", 2))), slog.Group("empty"), slog.Group("", slog.Int("inline", 3)),
	}
	for name, derive := range map[string]func(slog.Handler) slog.Handler{
		"bare":   func(h slog.Handler) slog.Handler { return h },
		"with":   func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs[:3]).WithAttrs(attrs[3:5]) },
		"groups": func(h slog.Handler) slog.Handler { return h.WithGroup("a").WithAttrs(attrs[:1]).WithGroup("b") },
	} {
		t.Run(name, func(t *testing.T) {
			var ours, theirs bytes.Buffer
			r := slog.NewRecord(time.Unix(1_700_000_000, 123_456_789), slog.LevelWarn, "a \"message\"", 0)
			r.AddAttrs(attrs...)
			if err := errors.Join(derive(newJSONHandler(&ours, slog.LevelInfo)).Handle(t.Context(), r),
				derive(slog.NewJSONHandler(&theirs, nil)).Handle(t.Context(), r)); err != nil {
				t.Fatal(err)
			}
			var got, want any
			if err := errors.Join(json.Unmarshal(ours.Bytes(), &got), json.Unmarshal(theirs.Bytes(), &want)); err != nil {
				t.Fatalf("%v\n%s", err, &ours)
			}
			if !reflect.DeepEqual(got, want) || strings.Count(ours.String(), "\n") != 1 {
				t.Errorf("\n%s, want as\n%s", &ours, &theirs)
			}
		})
	}
}

func TestJSONOwn(t *testing.T) {
	var out bytes.Buffer
	slog.New(newJSONHandler(&out, slog.LevelInfo)).Info("x", "took", 1500*time.Millisecond, "in", slog.GroupValue(slog.Duration("d", time.Second)),
		"valuer", valuer{}, "nan", math.NaN(), "bad", func() {})
	for _, want := range []string{`"took":"1.5s"`, `"in":{"d":"1s"}`, `"valuer":"1m0s"`, `"nan":"NaN"`, `"bad":"!ERROR:json:`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, &out)
		}
	}
}

// TestJSONStringEveryByte puts every byte at every place of the words that appendString looks at.
func TestJSONStringEveryByte(t *testing.T) {
	for at := range 17 {
		for c := range 256 {
			s := []byte("abcdefghijklmnopq")
			s[at] = byte(c)
			var got, want string
			theirs, err := json.Marshal(string(s))
			if err := errors.Join(err, json.Unmarshal(theirs, &want), json.Unmarshal(appendString(nil, string(s)), &got)); err != nil {
				t.Fatalf("%q: %v", s, err)
			}
			if got != want {
				t.Errorf("%q came back as %q", s, got)
			}
		}
	}
}

func FuzzJSONString(f *testing.F) {
	f.Add("plain")
	f.Add("\"\\\n\u2028\xff\xc3(")
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(appendString(nil, s), &back); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		var want string
		for _, r := range s {
			want += string(r) // a byte that is no UTF-8 comes as U+FFFD
		}
		if back != want {
			t.Errorf("%q came back as %q", s, back)
		}
	})
}

func BenchmarkJSON(b *testing.B) {
	r := slog.NewRecord(time.Unix(1_700_000_000, 0), slog.LevelInfo, "request", 0)
	for range 12 {
		r.AddAttrs(slog.String("some-name", "some value of usual length"))
	}
	r.AddAttrs(slog.Float64("duration_ms", 0.123), slog.Int("status", 200))
	for name, h := range map[string]slog.Handler{"ours": newJSONHandler(io.Discard, 0), "slog": slog.NewJSONHandler(io.Discard, nil)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = h.Handle(b.Context(), r)
			}
		})
	}
}
