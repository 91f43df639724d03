package mem_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/blob/blobtest"
	"github.com/weir-registry/weir/internal/store/blob/mem"
)

func TestSuite(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return mem.New(mem.Options{}) })
}

func TestSuiteWithManners(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return mem.New(mem.Options{PartSize: 100_000, Linger: 7}) })
}

func TestInjectedFailure(t *testing.T) {
	s := mem.New(mem.Options{PartSize: 4, Fail: func(operation string, count int) error {
		if operation == "part" && count == 2 {
			return mem.ErrUnavailable
		}
		return nil
	}})
	st, err := s.Stage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	content := []byte("0123456789")
	n, err := st.Append(t.Context(), 0, bytes.NewReader(content))
	if !errors.Is(err, mem.ErrUnavailable) || n != 8 {
		t.Fatalf("Append = %d, %v; want 8 bytes and the injected error", n, err)
	}
	if _, err := st.Append(t.Context(), n, bytes.NewReader(content[n:])); err != nil {
		t.Fatalf("going on: %v", err)
	}
	key, err := st.Commit(t.Context(), oci.DigestOf(oci.SHA256, content))
	if err != nil {
		t.Fatal(err)
	}
	if got := blobtest.Read(t, s, key); !bytes.Equal(got, content) {
		t.Errorf("the object is %q", got)
	}
}

func TestCapacity(t *testing.T) {
	s := mem.New(mem.Options{PartSize: 10, Capacity: 25})
	key := blobtest.Put(t, s, []byte("0123456789"))
	st, err := s.Stage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Append(t.Context(), 0, strings.NewReader(strings.Repeat("x", 30))); !errors.Is(err, blob.ErrFull) {
		t.Errorf("Append: %v, want ErrFull", err)
	}
	if err := errors.Join(st.Drop(t.Context()), s.Delete(t.Context(), key)); err != nil {
		t.Fatal(err)
	}
	if free, err := s.Space(t.Context()); free != 25 || err != nil {
		t.Errorf("Space = %d, %v; want all 25", free, err)
	}
}

func TestStagesCannotBeReadBack(t *testing.T) {
	st, err := mem.New(mem.Options{}).Stage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := st.(blob.ReadableStage); ok {
		t.Error("a stage can be read: fills would not be tested with a spool")
	}
}
