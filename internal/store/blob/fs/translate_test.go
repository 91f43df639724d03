package fs

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/weir-registry/weir/internal/store/blob"
)

func TestTranslate(t *testing.T) {
	other := errors.New("input/output error")
	for err, want := range map[error]error{
		syscall.ENOSPC: blob.ErrFull,
		syscall.EDQUOT: blob.ErrFull,
		&fs.PathError{Op: "open", Path: "x", Err: syscall.ENOENT}:  blob.ErrNotFound,
		&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}: blob.ErrFull,
		other: other,
	} {
		if got := translate("write", "x", fmt.Errorf("wrapped: %w", err)); !errors.Is(got, want) {
			t.Errorf("translate(%v) = %v, want %v", err, got, want)
		}
	}
}
