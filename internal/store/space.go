package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/meta"
)

// Reserve is what pushes leave free of the space for blobs, in bytes. The rows of SQLite often lie on the same device: without
// room for them nothing could be deleted any more, and pulls could not be noted.
const Reserve = 64 << 20

// spaceStep is how many bytes of an upload may come between two looks at the free space.
const spaceStep = 1 << 20

// Full reports whether err says that there is no room for more, be it of bytes or of rows.
func Full(err error) bool {
	return errors.Is(err, blob.ErrFull) || errors.Is(meta.Failure(err), meta.ErrFull)
}

// Unavailable reports whether err says that the database does not answer, whatever was asked.
func Unavailable(err error) bool { return errors.Is(meta.Failure(err), meta.ErrUnavailable) }

// room returns blob.ErrFull when a push would take from the reserve.
func (s *Store) room(ctx context.Context) error {
	free, err := s.blobs.Space(ctx)
	if err != nil {
		s.log.Warn("the free space is unknown", "error", err)
		return nil
	}
	if free >= 0 && free < Reserve {
		return fmt.Errorf("%d bytes free, %d must stay: %w", free, Reserve, blob.ErrFull)
	}
	return nil
}

// roomReader ends with an error when the bytes read from it have used up the space.
type roomReader struct {
	r    io.Reader
	room func() error
	left int // until the next look
}

// Read implements io.Reader.
func (r *roomReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		if err := r.room(); err != nil {
			return 0, err
		}
		r.left = spaceStep
	}
	n, err := r.r.Read(p)
	r.left -= n
	return n, err
}
