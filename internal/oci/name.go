package oci

// Limits on names. The specification leaves the length of a repository name to the registry; 255 bytes is what clients
// expect (distribution/reference). A tag has at most 128 characters (distribution specification, "Pulling manifests").
const (
	MaxRepositoryLength = 255
	MaxTagLength        = 128
)

// ValidRepository reports whether name is a repository name: path components of lower-case letters and digits, joined
// inside by one of ".", "_", "__" or any number of "-", and separated by "/" (distribution specification, "Pulling
// manifests": [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*).
func ValidRepository(name string) bool {
	if name == "" || len(name) > MaxRepositoryLength {
		return false
	}
	for start := 0; start <= len(name); {
		end := start
		for end < len(name) && name[end] != '/' {
			end++
		}
		if !ValidComponent(name[start:end]) {
			return false
		}
		start = end + 1
	}
	return true
}

// ValidComponent reports whether s is one path component of a repository name. Group and registry names are components.
func ValidComponent(s string) bool {
	i := 0
	for {
		n := countAlnum(s[i:])
		if n == 0 {
			return false
		}
		i += n
		if i == len(s) {
			return true
		}
		n = countSeparator(s[i:])
		if n == 0 {
			return false
		}
		i += n
	}
}

func countAlnum(s string) int {
	n := 0
	for n < len(s) && (s[n] >= 'a' && s[n] <= 'z' || s[n] >= '0' && s[n] <= '9') {
		n++
	}
	return n
}

func countSeparator(s string) int {
	switch s[0] {
	case '.':
		return 1
	case '_':
		if len(s) > 1 && s[1] == '_' {
			return 2
		}
		return 1
	case '-':
		n := 1
		for n < len(s) && s[n] == '-' {
			n++
		}
		return n
	}
	return 0
}

// ValidTag reports whether s is a tag: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}.
func ValidTag(s string) bool {
	if s == "" || len(s) > MaxTagLength || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return true
}
