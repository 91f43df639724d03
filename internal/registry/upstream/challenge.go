package upstream

import (
	"net/http"
	"strings"
)

// challenge is one way a registry offers to log in (RFC 9110, section 11.6.1).
type challenge struct {
	scheme string            // lower case
	params map[string]string // names in lower case
}

// maxChallenges bounds what one answer can make us look at.
const maxChallenges = 16

// parseChallenges reads every challenge of every WWW-Authenticate header, as far as they are well-formed. Values may be
// tokens or quoted strings, which may hold commas and "="; several challenges may share a header.
func parseChallenges(h http.Header) []challenge {
	var out []challenge
	for _, line := range h.Values("Www-Authenticate") {
		s := scanner{line}
		for len(out) < maxChallenges {
			c, ok := s.challenge()
			if !ok {
				break
			}
			out = append(out, c)
		}
	}
	return out
}

// scanner reads a header from the left.
type scanner struct{ rest string }

func (s *scanner) challenge() (challenge, bool) {
	s.skip(" \t,")
	scheme := s.token()
	if scheme == "" {
		return challenge{}, false
	}
	c := challenge{scheme: strings.ToLower(scheme), params: map[string]string{}}
	for {
		before := *s
		s.skip(" \t,")
		name := s.token()
		s.skip(" \t")
		if name == "" || !s.take('=') {
			*s = before // the next challenge's scheme, or the end
			return c, true
		}
		s.skip(" \t")
		value, ok := s.value()
		if !ok {
			return c, true
		}
		if _, twice := c.params[strings.ToLower(name)]; !twice {
			c.params[strings.ToLower(name)] = value
		}
	}
}

func (s *scanner) skip(set string) { s.rest = strings.TrimLeft(s.rest, set) }

func (s *scanner) take(c byte) bool {
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// token reads the longest run of token characters (RFC 9110, section 5.6.2).
func (s *scanner) token() string {
	n := 0
	for n < len(s.rest) && isTokenChar(s.rest[n]) {
		n++
	}
	t := s.rest[:n]
	s.rest = s.rest[n:]
	return t
}

// value reads a quoted string, or whatever stands before the next comma or space: vendors leave URLs unquoted.
func (s *scanner) value() (string, bool) {
	if !s.take('"') {
		n := strings.IndexAny(s.rest, ", \t")
		if n < 0 {
			n = len(s.rest)
		}
		v := s.rest[:n]
		s.rest = s.rest[n:]
		return v, true
	}
	var b strings.Builder
	for i := 0; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			s.rest = s.rest[i+1:]
			return b.String(), true
		case c == '\\' && i+1 < len(s.rest):
			i++
			b.WriteByte(s.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	s.rest = ""
	return "", false // the closing quote is missing
}

func isTokenChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
