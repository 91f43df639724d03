package oci

import "errors"

// ErrReference is returned for text that is neither a tag nor a digest.
var ErrReference = errors.New("neither a tag nor a digest")

// Reference names one manifest inside a repository: by tag or by digest, never both.
type Reference struct {
	Tag    string
	Digest Digest
}

// ParseReference reads the <reference> part of a manifest URL. Text with a ":" must be a digest; ErrDigest or ErrReference
// is returned for anything else that is not a tag.
func ParseReference(s string) (Reference, error) {
	for i := range len(s) {
		if s[i] == ':' {
			d, err := ParseDigest(s)
			return Reference{Digest: d}, err
		}
	}
	if !ValidTag(s) {
		return Reference{}, ErrReference
	}
	return Reference{Tag: s}, nil
}

// ByTag and ByDigest build references from checked parts.
func ByTag(tag string) Reference   { return Reference{Tag: tag} }
func ByDigest(d Digest) Reference  { return Reference{Digest: d} }
func (r Reference) IsDigest() bool { return r.Digest != "" }
func (r Reference) IsZero() bool   { return r == Reference{} }

// String is the reference as it stands in a URL.
func (r Reference) String() string {
	if r.Digest != "" {
		return string(r.Digest)
	}
	return r.Tag
}
