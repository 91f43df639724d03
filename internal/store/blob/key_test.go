package blob_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
)

func TestKey(t *testing.T) {
	digest := oci.DigestOf(oci.SHA256, []byte("abc"))
	before := time.Now().Truncate(time.Millisecond)
	key, err := blob.NewKey(digest)
	if err != nil {
		t.Fatal(err)
	}
	if want := "sha256/ba/" + digest.Encoded() + "."; !strings.HasPrefix(key, want) {
		t.Errorf("key %s does not begin with %s", key, want)
	}
	got, made, err := blob.ParseKey(key)
	if err != nil || got != digest || made.Before(before) || made.After(time.Now()) {
		t.Errorf("ParseKey = %s, %v, %v", got, made, err)
	}
}

func TestIDsAreDifferentAndValid(t *testing.T) {
	ids := make([]string, 1000)
	for i := range ids {
		if ids[i] = blob.NewID(); !blob.ValidID(ids[i]) {
			t.Fatalf("%q is not valid", ids[i])
		}
	}
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != 1000 {
		t.Errorf("%d different ids of 1000", n)
	}
}

func FuzzParseKey(f *testing.F) {
	key, _ := blob.NewKey(oci.DigestOf(oci.SHA512, nil))
	f.Add(key)
	f.Add("../" + key)
	f.Add("sha256/e3/..")
	f.Fuzz(func(t *testing.T, s string) {
		digest, _, err := blob.ParseKey(s)
		if err != nil {
			return
		}
		if strings.Contains(s, "..") || strings.Count(s, "/") != 2 || len(s) > 200 || strings.ContainsAny(s, "\\\x00") {
			t.Errorf("%q was taken for a key", s)
		}
		if _, err := oci.ParseDigest(string(digest)); err != nil {
			t.Errorf("%q gave the digest %q", s, digest)
		}
	})
}
