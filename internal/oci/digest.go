package oci

import (
	"crypto"
	_ "crypto/sha256" // Available() below must be true for both algorithms of the image specification.
	_ "crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Digest is "<algorithm>:<lower-case hex>". A value is trusted to be well-formed only after ParseDigest.
type Digest = digest.Digest

// The algorithms a registry must (sha256) and may (sha512) accept (image specification, "Digests").
const (
	SHA256 = digest.SHA256
	SHA512 = digest.SHA512
)

// ErrDigest is returned for text that is not a digest of a supported algorithm.
var ErrDigest = errors.New("not a sha256 or sha512 digest")

// ParseDigest checks s and returns it as a Digest.
func ParseDigest(s string) (Digest, error) {
	alg, enc, ok := strings.Cut(s, ":")
	if !ok {
		return "", ErrDigest
	}
	var want int
	switch digest.Algorithm(alg) {
	case SHA256:
		want = 64
	case SHA512:
		want = 128
	default:
		return "", ErrDigest
	}
	if len(enc) != want {
		return "", ErrDigest
	}
	for i := range len(enc) {
		if c := enc[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", ErrDigest
		}
	}
	return Digest(s), nil
}

// DigestOf returns the digest of b with algorithm alg, which must be SHA256 or SHA512.
func DigestOf(alg digest.Algorithm, b []byte) Digest { return alg.FromBytes(b) }

// NewHash returns the hash of a supported algorithm. Its state can be saved through encoding.BinaryMarshaler.
func NewHash(alg digest.Algorithm) (hash.Hash, error) {
	switch alg {
	case SHA256:
		return crypto.SHA256.New(), nil
	case SHA512:
		return crypto.SHA512.New(), nil
	}
	return nil, ErrDigest
}

// SumDigest returns the digest that h, a hash of algorithm alg, has arrived at.
func SumDigest(alg digest.Algorithm, h hash.Hash) Digest { return digest.NewDigest(alg, h) }

// ReferrersTag is the tag under which clients keep the list of what refers to d where a registry lacks the referrers API
// (distribution specification, "Referrers Tag Schema"). Tags for older signatures are this and a suffix.
func ReferrersTag(d Digest) string {
	hex := d.Encoded()
	return d.Algorithm().String() + "-" + hex[:min(len(hex), 64)]
}

// DigestBytes packs d for storage: one byte of algorithm (1 = sha256, 2 = sha512), then the raw sum. d must be well-formed.
func DigestBytes(d Digest) []byte {
	prefix := byte(1)
	if d.Algorithm() == SHA512 {
		prefix = 2
	}
	out := make([]byte, 1, 1+64)
	out[0] = prefix
	out, _ = hex.AppendDecode(out, []byte(d.Encoded()))
	return out
}

// DigestFromBytes undoes DigestBytes.
func DigestFromBytes(b []byte) (Digest, error) {
	switch {
	case len(b) == 33 && b[0] == 1:
		return digest.NewDigestFromBytes(SHA256, b[1:]), nil
	case len(b) == 65 && b[0] == 2:
		return digest.NewDigestFromBytes(SHA512, b[1:]), nil
	}
	return "", ErrDigest
}
