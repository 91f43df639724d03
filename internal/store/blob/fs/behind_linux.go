package fs

import (
	"os"
	"syscall"
)

const (
	behindStep    = 4 << 20
	syncRangeOnly = 2 // SYNC_FILE_RANGE_WRITE: start writing what is dirty in the range, and wait for nothing
)

// writeBehind asks the kernel to start writing a growing file from behind to size, if that is worth it, and returns how far it was
// asked to. Otherwise it would begin when the file is flushed, with all of a layer at once. It promises nothing: errors are those of
// the flush, and of filesystems that cannot do it.
func writeBehind(f *os.File, behind, size int64) int64 {
	if size-behind < behindStep {
		return behind
	}
	_ = syscall.SyncFileRange(int(f.Fd()), behind, size-behind, syncRangeOnly) //nolint:gosec // a descriptor
	return size
}
