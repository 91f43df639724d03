package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
)

// ErrKeyset is returned for text that is not a keyset. The text itself is never part of the error.
var ErrKeyset = errors.New("not a keyset of weir")

// keysets is what a keyset file holds: Tink's JSON form of one keyset to seal with, whose primary key makes new
// ciphertexts, and one to fingerprint with.
//
//	{"weir_keyset": 1, "seal": {"primaryKeyId": …, "key": […]}, "fingerprint": {…}}
type keysets struct {
	aead, prf *keyset.Handle
}

type keysetFile struct {
	Version     int             `json:"weir_keyset"`
	Seal        json.RawMessage `json:"seal"`
	Fingerprint json.RawMessage `json:"fingerprint"`
}

func generate() (*keysets, error) {
	a, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make keyset: %w", err)
	}
	p, err := keyset.NewHandle(prf.HMACSHA256PRFKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make keyset: %w", err)
	}
	return &keysets{a, p}, nil
}

// rotate adds a key and makes it the primary one. The older keys stay, for what they have sealed.
func (k *keysets) rotate() error {
	m := keyset.NewManagerFromHandle(k.aead)
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fmt.Errorf("rotate keyset: %w", err)
	}
	if err := m.SetPrimary(id); err != nil {
		return fmt.Errorf("rotate keyset: %w", err)
	}
	h, err := m.Handle()
	if err != nil {
		return fmt.Errorf("rotate keyset: %w", err)
	}
	k.aead = h
	return nil
}

func (k *keysets) marshal() ([]byte, error) {
	var parts [2]bytes.Buffer
	for i, h := range []*keyset.Handle{k.aead, k.prf} {
		if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&parts[i])); err != nil {
			return nil, fmt.Errorf("write keyset: %w", err)
		}
	}
	text, err := json.MarshalIndent(keysetFile{1, parts[0].Bytes(), parts[1].Bytes()}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write keyset: %w", err)
	}
	return append(text, '\n'), nil
}

// parse must not pass on the errors of the decoders, which may quote what they read.
func parse(text []byte) (*keysets, error) {
	var f keysetFile
	if json.Unmarshal(text, &f) != nil || f.Version != 1 {
		return nil, ErrKeyset
	}
	a, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(f.Seal)))
	if err != nil {
		return nil, ErrKeyset
	}
	p, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(f.Fingerprint)))
	if err != nil {
		return nil, ErrKeyset
	}
	return &keysets{a, p}, nil
}

// New returns a Sealer with the keyset in text, for a keyset that comes from the environment. ErrKeyset.
func New(text []byte) (*Sealer, error) {
	k, err := parse(text)
	if err != nil {
		return nil, err
	}
	return newSealer(k)
}

// Generate returns the text of a new keyset.
func Generate() ([]byte, error) {
	k, err := generate()
	if err != nil {
		return nil, err
	}
	return k.marshal()
}

// Rotate returns the text of a keyset with a new key for sealing; what the older keys sealed still opens. ErrKeyset.
func Rotate(text []byte) ([]byte, error) {
	k, err := parse(text)
	if err != nil {
		return nil, err
	}
	if err := k.rotate(); err != nil {
		return nil, err
	}
	return k.marshal()
}
