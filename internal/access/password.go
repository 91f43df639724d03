package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Hashing is the cost of argon2id (RFC 9106). The zero value is 19 MiB and two passes.
type Hashing struct {
	MemoryKiB uint32
	Passes    uint32
}

// hasher hashes passwords, only so many at once: each takes its memory.
type hasher struct {
	cost  Hashing
	slots chan struct{}
	dummy string // a hash that no password has, to spend on users who do not exist
}

const (
	saltSize = 16
	hashSize = 32
	// The most a stored hash may make us spend, in case somebody could write one.
	maxMemoryKiB = 1 << 20
	maxPasses    = 16
)

var errHash = errors.New("not an argon2id hash")

func newHasher(cost Hashing) hasher {
	if cost.MemoryKiB == 0 {
		cost.MemoryKiB = 19 << 10
	}
	if cost.Passes == 0 {
		cost.Passes = 2
	}
	h := hasher{cost: cost, slots: make(chan struct{}, max(2, runtime.GOMAXPROCS(0)))}
	h.dummy = format(cost, make([]byte, saltSize), make([]byte, hashSize))
	return h
}

// slot waits for the right to hash; release gives it back.
func (h hasher) slot(ctx context.Context) (release func(), err error) {
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hash returns the PHC string of a password: $argon2id$v=19$m=<KiB>,t=<passes>,p=1$<salt>$<hash>, base64 without padding.
func (h hasher) hash(ctx context.Context, password string) (string, error) {
	release, err := h.slot(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails
	return format(h.cost, salt, sum(password, salt, h.cost, hashSize)), nil
}

// verify compares in constant time; the caller must hold a slot. An empty or damaged stored hash takes as long as a good one
// and matches nothing.
func (h hasher) verify(password, stored string) bool {
	cost, salt, want, err := parseHash(stored)
	if err != nil {
		cost, salt, want, _ = parseHash(h.dummy)
	}
	return subtle.ConstantTimeCompare(sum(password, salt, cost, len(want)), want) == 1 && err == nil
}

func sum(password string, salt []byte, cost Hashing, size int) []byte {
	return argon2.IDKey([]byte(password), salt, cost.Passes, cost.MemoryKiB, 1, uint32(size))
}

func format(cost Hashing, salt, hash []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, cost.MemoryKiB, cost.Passes,
		b64.EncodeToString(salt), b64.EncodeToString(hash))
}

func parseHash(s string) (cost Hashing, salt, hash []byte, err error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return cost, nil, nil, errHash
	}
	var lanes int
	n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &cost.MemoryKiB, &cost.Passes, &lanes)
	if err != nil || n != 3 || lanes != 1 || cost.MemoryKiB > maxMemoryKiB || cost.Passes < 1 || cost.Passes > maxPasses {
		return cost, nil, nil, errHash
	}
	salt, err = base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil || len(salt) < 8 {
		return cost, nil, nil, errHash
	}
	hash, err = base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(hash) < 16 || len(hash) > 128 {
		return cost, nil, nil, errHash
	}
	return cost, salt, hash, nil
}
