package fs

import (
	"context"
	"io"
	"os"
	"syscall"

	"github.com/weir-registry/weir/internal/store/blob"
)

// smallRange is up to how many bytes are read at once. Below it, handing a file down to the connection costs more than the bytes:
// configs and most attestations are smaller.
const smallRange = 32 << 10

// Open returns an *os.File at offset as the Content's Body, or blob.Bytes for a small range of known length.
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (blob.Content, error) {
	path, err := s.objectPath(key)
	if err != nil {
		return blob.Content{}, err
	}
	if err := ctx.Err(); err != nil {
		return blob.Content{}, err
	}
	var c blob.Content
	if offset >= 0 && length > 0 && length <= smallRange {
		c, err = readRange(path, offset, length)
	} else {
		c, err = openFile(path, offset, length)
	}
	if err != nil {
		return blob.Content{}, translate("open object", key, err)
	}
	return c, nil
}

func openFile(path string, offset, length int64) (blob.Content, error) {
	f, err := os.Open(path)
	if err != nil {
		return blob.Content{}, err
	}
	length, err = seek(f, offset, length)
	if err != nil {
		_ = f.Close()
		return blob.Content{}, err
	}
	return blob.Content{Body: f, Length: length}, nil
}

// seek moves f to offset and returns the length of the range.
func seek(f *os.File, offset, length int64) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	length, err = blob.CheckRange(info.Size(), offset, length)
	if err != nil || offset == 0 {
		return length, err
	}
	_, err = f.Seek(offset, io.SeekStart)
	return length, err
}

// readRange reads without an os.File, whose making takes longer than the three system calls that remain.
func readRange(path string, offset, length int64) (blob.Content, error) {
	fd, err := again(func() (int, error) { return syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0) })
	if err != nil {
		return blob.Content{}, err
	}
	defer func() { _ = syscall.Close(fd) }()
	b := make([]byte, length)
	for got := int64(0); got < length; {
		n, err := again(func() (int, error) { return syscall.Pread(fd, b[got:], offset+got) })
		switch {
		case err != nil:
			return blob.Content{}, err
		case n == 0: // the end
			_, err := blob.CheckRange(offset+got, offset, length)
			return blob.Content{}, err
		}
		got += int64(n)
	}
	return blob.Content{Body: blob.NewBytes(b), Length: length}, nil
}

// again repeats a system call that a signal has interrupted.
func again(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != syscall.EINTR { //nolint:errorlint // a bare errno
			return n, err
		}
	}
}
