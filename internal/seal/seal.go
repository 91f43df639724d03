// Package seal keeps secrets at rest: it encrypts the secrets that the database holds (credentials of upstreams, signing
// keys) under a keyset that the database does not. Package app opens one Sealer; access and the credential wiring use it.
//
// Encryption is Tink's AEAD with AES-256-GCM. A ciphertext is bound to the Place it was made for, so a row copied over
// another one does not open. Errors name places and files, never secrets. A Sealer is safe for concurrent use.
package seal

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/prf"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// ErrSealed is returned when a ciphertext cannot be opened: changed, made for another place, or under another keyset.
var ErrSealed = errors.New("the secret does not open with this keyset")

// Place is where a secret lives. All of it goes into the associated data, so it must be the same for Seal and Open.
type Place struct {
	Table   string // constant name of the table
	Row     int64  // id of the row
	Group   int64  // group of the row; 0 = the instance
	Field   string // constant name of the column
	Version int64  // grows with every change of the secret, so that an older ciphertext cannot be put back
}

// String names the place in errors.
func (p Place) String() string { return fmt.Sprintf("%s %d, %s", p.Table, p.Row, p.Field) }

// bytes is the associated data: "weir1", then table, row, group, field and version, each ended by NUL. Tables and fields
// are constants without NUL, so two places never give the same bytes.
func (p Place) bytes() []byte {
	b := append([]byte("weir1\x00"), p.Table...)
	b = strconv.AppendInt(append(b, 0), p.Row, 10)
	b = strconv.AppendInt(append(b, 0), p.Group, 10)
	b = append(append(b, 0), p.Field...)
	b = strconv.AppendInt(append(b, 0), p.Version, 10)
	return append(b, 0)
}

// Sealer seals and opens.
type Sealer struct {
	aead tink.AEAD
	prf  *prf.Set
}

func newSealer(k *keysets) (*Sealer, error) {
	a, err := aead.New(k.aead)
	if err != nil {
		return nil, fmt.Errorf("keyset: sealing key: %w", err)
	}
	p, err := prf.NewPRFSet(k.prf)
	if err != nil {
		return nil, fmt.Errorf("keyset: fingerprint key: %w", err)
	}
	return &Sealer{aead: a, prf: p}, nil
}

// Seal encrypts secret for place with the newest key.
func (s *Sealer) Seal(place Place, secret []byte) ([]byte, error) {
	sealed, err := s.aead.Encrypt(secret, place.bytes())
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", place, err)
	}
	return sealed, nil
}

// Open decrypts what Seal made for the same place, with whichever key of the keyset it was made. ErrSealed.
func (s *Sealer) Open(place Place, sealed []byte) ([]byte, error) {
	secret, err := s.aead.Decrypt(sealed, place.bytes())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", place, ErrSealed)
	}
	return secret, nil
}

// fingerprintSize in bytes: enough that two secrets never share one, and no more about the secret than needed.
const fingerprintSize = 16

// Fingerprint tells whether a secret changed without revealing it: a keyed function of the secret and its place without the
// version. The key is not the one that seals, and rotation leaves it alone. Equal secrets at different places differ.
func (s *Sealer) Fingerprint(place Place, secret []byte) ([]byte, error) {
	place.Version = 0
	f, err := s.prf.ComputePrimaryPRF(append(place.bytes(), secret...), fingerprintSize)
	if err != nil {
		return nil, fmt.Errorf("fingerprint of %s: %w", place, err)
	}
	return f, nil
}
