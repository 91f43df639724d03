package audit

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// File is a sink that appends to a file, which it opens for each Write: whoever rotates it may rename, remove or truncate it at any time
// and need tell nobody. What Write has acknowledged is on the disk. It may also be a pipe that somebody reads.
type File struct{ Path string }

// Write implements io.Writer. After a Write that broke off, the next begins on a line of its own.
func (f File) Write(lines []byte) (n int, err error) {
	// A pipe that nobody reads would have us wait for somebody: like this, it is an error.
	out, err := os.OpenFile(f.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return 0, fmt.Errorf("sink of the audit trail: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	info, err := out.Stat()
	if err != nil {
		return 0, fmt.Errorf("sink of the audit trail: %w", err)
	}
	regular := info.Mode().IsRegular()
	if regular && torn(f.Path, info.Size()) {
		if _, err := out.Write([]byte{'\n'}); err != nil {
			return 0, fmt.Errorf("sink of the audit trail: %w", err)
		}
	}
	if n, err = out.Write(lines); err == nil && regular {
		err = out.Sync()
	}
	if err != nil {
		return n, fmt.Errorf("sink of the audit trail: %w", err)
	}
	return n, nil
}

// torn reports whether a file does not end with a whole line, as far as that may be seen.
func torn(path string, size int64) bool {
	f, err := os.Open(path) //nolint:gosec // the operator's setting
	if err != nil || size == 0 {
		return false
	}
	defer f.Close()
	var last [1]byte
	_, err = f.ReadAt(last[:], size-1)
	return err == nil && last[0] != '\n'
}
