package blob

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/weir-registry/weir/internal/oci"
)

// An object's key:
//
//	sha256/4f/4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945.06a3k2v9ae4tq9c1rbm5h7g3o4
//	└ algorithm └ two digits   └ hex                                          └ generation
//
// The two digits keep folders small where keys are folders. The generation makes each commit a new object.

var idEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// idLength is the length of NewID's result: 16 bytes in base32.
const idLength = 26

// NewID returns a name that no one else makes: 48 bits of time, so that names sort by age, and 80 random bits. It needs no
// escaping in paths and URLs. Drivers name stages and generations by it.
func NewID() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixMilli())<<16)
	_, _ = rand.Read(b[6:]) // never fails
	return strings.ToLower(idEncoding.EncodeToString(b[:]))
}

// ValidID reports whether s has the form of NewID's result. Drivers check ids and keys before they become paths.
func ValidID(s string) bool {
	if len(s) != idLength {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'v') {
			return false
		}
	}
	return true
}

// IDTime is when NewID made id.
func IDTime(id string) (time.Time, error) {
	if !ValidID(id) {
		return time.Time{}, fmt.Errorf("%q is not an id of the blob store", id)
	}
	b, err := idEncoding.DecodeString(strings.ToUpper(id))
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is not an id of the blob store: %w", id, err)
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b) >> 16)), nil
}

// NewKey returns a key for a new object of the digest.
func NewKey(digest oci.Digest) (string, error) {
	if _, err := oci.ParseDigest(string(digest)); err != nil {
		return "", fmt.Errorf("key for %q: %w", digest, err)
	}
	hex := digest.Encoded()
	return string(digest.Algorithm()) + "/" + hex[:2] + "/" + hex + "." + NewID(), nil
}

// ParseKey checks that key is one that NewKey can make, and returns its digest and when it was made: when the commit of the
// object began. (Drivers know only when the bytes were written, which for a resumed upload is long before.)
func ParseKey(key string) (oci.Digest, time.Time, error) {
	digest, generation, err := splitKey(key)
	if err != nil {
		return "", time.Time{}, err
	}
	made, err := IDTime(generation)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("%q is not a key of the blob store", key)
	}
	return digest, made, nil
}

// CheckKey is ParseKey for those who only want to know whether key is one.
func CheckKey(key string) error {
	_, _, err := splitKey(key)
	return err
}

func splitKey(key string) (digest oci.Digest, generation string, err error) {
	algorithm, rest, _ := strings.Cut(key, "/")
	folder, name, _ := strings.Cut(rest, "/")
	hex, generation, _ := strings.Cut(name, ".")
	digest, err = oci.ParseDigest(algorithm + ":" + hex)
	if err != nil || folder != hex[:2] || !ValidID(generation) {
		return "", "", fmt.Errorf("%q is not a key of the blob store", key)
	}
	return digest, generation, nil
}

// CheckRange returns the length of the range [offset, offset+length) within size bytes, where length -1 is "to the end";
// ErrRange when the range is not within them.
func CheckRange(size, offset, length int64) (int64, error) {
	if offset < 0 || offset > size || length < -1 || length > size-offset {
		return 0, fmt.Errorf("range %d+%d of %d bytes: %w", offset, length, size, ErrRange)
	}
	if length == -1 {
		length = size - offset
	}
	return length, nil
}
