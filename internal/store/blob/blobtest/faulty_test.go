package blobtest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob/blobtest"
	"github.com/weir-registry/weir/internal/store/blob/mem"
)

// Every step of a commit crashes once, on either side; the object exists from the last one on.
func TestCrashAt(t *testing.T) {
	put := func(s *blobtest.Faulty) error {
		st, err := s.Stage(t.Context())
		if err != nil {
			return err
		}
		if _, err := st.Append(t.Context(), 0, strings.NewReader("abc")); err != nil {
			return err
		}
		_, err = st.Commit(t.Context(), oci.DigestOf(oci.SHA256, []byte("abc")))
		return err
	}
	for n := 1; n <= 4; n++ {
		for _, moment := range []blobtest.Moment{blobtest.Before, blobtest.After} {
			under := mem.New(mem.Options{})
			s := blobtest.NewFaulty(under)
			s.CrashAt(n, moment)
			err := put(s)
			if wantCrash := n <= 3; errors.Is(err, blobtest.ErrCrash) != wantCrash || s.Crashed() != wantCrash {
				t.Errorf("step %d: error %v, crashed %v", n, err, s.Crashed())
			}
			objects := 0
			for range under.List(t.Context(), "", "") {
				objects++
			}
			want := 0
			if n > 3 || (n == 3 && moment == blobtest.After) {
				want = 1
			}
			if objects != want {
				t.Errorf("step %d, moment %d: %d objects, want %d", n, moment, objects, want)
			}
		}
	}
}
