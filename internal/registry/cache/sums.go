package cache

import (
	"crypto/md5"  //nolint:gosec // other formats name content by it; never trusted alone against an adversary
	"crypto/sha1" //nolint:gosec // as above
	"encoding/hex"
	"fmt"
	"hash"

	"github.com/weir-registry/weir/internal/oci"
)

// sums hashes content as it arrives, by every algorithm that is needed to check it and to name it.
type sums struct {
	expect Expect
	size   int64
	main   hash.Hash // of the expected digest's algorithm, else sha256
	sha1   hash.Hash // nil if not expected
	md5    hash.Hash // nil if not expected
}

func newSums(expect Expect) (*sums, error) {
	s := &sums{expect: expect}
	alg := oci.SHA256
	if expect.Digest != "" {
		alg = expect.Digest.Algorithm()
	}
	var err error
	if s.main, err = oci.NewHash(alg); err != nil {
		return nil, fmt.Errorf("digest %s: %w", expect.Digest, err)
	}
	if expect.SHA1 != "" {
		s.sha1 = sha1.New() //nolint:gosec // see the import
	}
	if expect.MD5 != "" {
		s.md5 = md5.New() //nolint:gosec // see the import
	}
	return s, nil
}

// Write implements io.Writer; it never fails.
func (s *sums) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	for _, h := range []hash.Hash{s.main, s.sha1, s.md5} {
		if h != nil {
			h.Write(p)
		}
	}
	return len(p), nil
}

// clone returns sums that go on from here on their own.
func (s *sums) clone() (*sums, error) {
	c := *s
	for _, h := range []*hash.Hash{&c.main, &c.sha1, &c.md5} {
		if *h == nil {
			continue
		}
		cloner, ok := (*h).(hash.Cloner)
		if !ok {
			return nil, fmt.Errorf("a hash of type %T cannot be cloned", *h)
		}
		var err error
		if *h, err = cloner.Clone(); err != nil {
			return nil, fmt.Errorf("clone a hash: %w", err)
		}
	}
	return &c, nil
}

// check compares what was hashed with what was expected and returns the digest.
func (s *sums) check() (oci.Digest, error) {
	alg := oci.SHA256
	if s.expect.Digest != "" {
		alg = s.expect.Digest.Algorithm()
	}
	got := oci.SumDigest(alg, s.main)
	switch {
	case s.expect.Digest != "" && got != s.expect.Digest:
		return "", &wrongError{fmt.Sprintf("the upstream sent bytes with digest %s", got)}
	case s.sha1 != nil && hex.EncodeToString(s.sha1.Sum(nil)) != s.expect.SHA1:
		return "", &wrongError{"the upstream sent bytes with another SHA-1"}
	case s.md5 != nil && hex.EncodeToString(s.md5.Sum(nil)) != s.expect.MD5:
		return "", &wrongError{"the upstream sent bytes with another MD5"}
	case s.expect.Size > 0 && s.size != s.expect.Size:
		return "", &wrongError{fmt.Sprintf("the upstream sent %d bytes instead of %d", s.size, s.expect.Size)}
	}
	return got, nil
}

// wrongError tells that an upstream sent something that cannot be the content asked for.
type wrongError struct{ reason string }

func (e *wrongError) Error() string { return e.reason }
