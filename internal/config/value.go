package config

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that reads and writes as "90s", "5m", "24h" or "7d".
type Duration time.Duration

var errDuration = errors.New(`want a duration of zero or more, such as "30s", "5m", "24h" or "7d"`)

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return errDuration
		}
		*d = Duration(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return errDuration
	}
	*d = Duration(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String drops the zero units that time.Duration prints: "24h", not "24h0m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Bytes is a number of bytes that reads and writes as "512MiB", "10GB" or "1024".
type Bytes int64

var errBytes = errors.New(`want a size in bytes, such as 1024, "512MiB" or "10GB"`)

type unit struct {
	name string
	size int64
}

// units in the order in which String tries them; UnmarshalText knows the decimal ones too.
var units = []unit{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) error {
	s, size := strings.TrimSpace(string(text)), int64(1)
	for _, u := range units {
		if len(s) > len(u.name) && strings.EqualFold(s[len(s)-len(u.name):], u.name) {
			s, size = strings.TrimSpace(s[:len(s)-len(u.name)]), u.size
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/size {
		return errBytes
	}
	*b = Bytes(n * size)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// String uses the largest binary unit that divides b.
func (b Bytes) String() string {
	for _, u := range units[:4] {
		if b != 0 && int64(b)%u.size == 0 {
			return fmt.Sprintf("%d%s", int64(b)/u.size, u.name)
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// DSN is a connection string whose password shows only through Reveal.
type DSN string

const masked = "********"

// dsnPassword is the password of the key=value form, quoted or not (libpq, "Connection Strings"), also as a URL parameter.
var dsnPassword = regexp.MustCompile(`(?i)((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&]*)`)

// Reveal returns the connection string with its password, for opening the connection.
func (d DSN) Reveal() string { return string(d) }

// String masks the password.
func (d DSN) String() string {
	s := string(d)
	if strings.Contains(s, "://") {
		u, err := url.Parse(s)
		if err != nil {
			return masked // what cannot be read cannot be masked in part
		}
		if _, has := u.User.Password(); has {
			u.User = url.UserPassword(u.User.Username(), masked)
		}
		s = strings.Replace(u.String(), url.QueryEscape(masked), masked, 1)
	}
	return dsnPassword.ReplaceAllString(s, "${1}"+masked)
}

// GoString masks the password in %#v.
func (d DSN) GoString() string { return d.String() }

// MarshalText implements encoding.TextMarshaler with the password masked.
func (d DSN) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *DSN) UnmarshalText(text []byte) error { *d = DSN(text); return nil }
