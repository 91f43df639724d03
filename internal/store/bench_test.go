package store

import (
	"strconv"
	"testing"

	"github.com/weir-registry/weir/internal/store/blob/mem"
	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// BenchmarkWarmPull is what a pull that is a hit asks of the store: repository, tag, manifest and a layer, by many clients.
func BenchmarkWarmPull(b *testing.B) {
	db := metatest.Open(b, meta.SQLite)
	addGroups(b, db)
	s := open(b, db, mem.New(mem.Options{}), Options{})
	img := newImage("a")
	mustPush(b, s, acme, img, "1")
	layer, ctx := digestOf(img.layer), b.Context()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			id, err := s.RepositoryID(ctx, acme)
			ok(b, err)
			tag, err := s.Tag(ctx, id, "1")
			ok(b, err)
			_, err = s.Manifest(ctx, id, tag.Digest)
			ok(b, err)
			_, err = s.Blob(ctx, id, layer)
			ok(b, err)
			s.Pulled(id, tag.Digest)
		}
	})
}

// BenchmarkPush is one image of a config and a layer.
func BenchmarkPush(b *testing.B) {
	db := metatest.Open(b, meta.SQLite)
	addGroups(b, db)
	s := open(b, db, mem.New(mem.Options{}), Options{})
	for n := 0; b.Loop(); n++ {
		mustPush(b, s, acme, newImage(strconv.Itoa(n)), "1")
	}
}
