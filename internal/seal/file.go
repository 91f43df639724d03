package seal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrExposed is returned for a keyset file that others than its owner may read or write.
var ErrExposed = errors.New("the keyset file must be accessible to its owner alone: chmod 600")

// OpenFile returns a Sealer with the keyset in a file. A missing file is created with a new keyset and mode 0600, its folder
// with 0700; created tells so. When several servers start at once on one file, they end up with the same keyset.
// Errors: ErrExposed, ErrKeyset, and those of the file system.
func OpenFile(path string) (s *Sealer, created bool, err error) {
	text, err := readKeyset(path)
	if errors.Is(err, fs.ErrNotExist) {
		created, err = createKeyset(path)
		if err == nil {
			text, err = readKeyset(path)
		}
	}
	if err != nil {
		return nil, false, err
	}
	s, err = New(text)
	if err != nil {
		return nil, false, fmt.Errorf("keyset file %s: %w", path, err)
	}
	return s, created, nil
}

// RotateFile adds a new primary key to the keyset in a file, in one atomic step. Running servers go on with the keyset they
// read: restart them before anything is sealed with the new key elsewhere.
func RotateFile(path string) error {
	text, err := readKeyset(path)
	if err != nil {
		return err
	}
	rotated, err := Rotate(text)
	if err != nil {
		return fmt.Errorf("keyset file %s: %w", path, err)
	}
	return install(path, rotated, os.Rename)
}

func readKeyset(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("keyset file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat() // of the open file, so that it cannot be exchanged in between
	if err != nil {
		return nil, fmt.Errorf("keyset file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > 1<<20 {
		return nil, fmt.Errorf("keyset file %s: %w", path, ErrKeyset)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("keyset file %s has mode %04o: %w", path, info.Mode().Perm(), ErrExposed)
	}
	text := make([]byte, info.Size())
	if _, err := f.ReadAt(text, 0); err != nil {
		return nil, fmt.Errorf("keyset file: %w", err)
	}
	return text, nil
}

// createKeyset reports false when another server was quicker: os.Link, unlike os.Rename, never replaces a file.
func createKeyset(path string) (created bool, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, fmt.Errorf("keyset folder: %w", err)
	}
	text, err := Generate()
	if err != nil {
		return false, err
	}
	err = install(path, text, os.Link)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// install writes text durably beside path and puts it in place with put. The keyset must survive a power cut once anything
// is sealed with it.
func install(path string, text []byte, put func(from, to string) error) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".keyset-*") // mode 0600
	if err != nil {
		return fmt.Errorf("keyset file: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when it was renamed
	_, err = tmp.Write(text)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = put(tmp.Name(), path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("keyset file: %w", err)
	}
	return nil
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
