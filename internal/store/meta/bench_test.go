package meta_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

// Many writers at once must cost far fewer commits than writes: compare with one writer.
func BenchmarkWrite(b *testing.B) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		for _, writers := range []int{1, 64} {
			b.Run(engine+"/"+strconv.Itoa(writers), func(b *testing.B) {
				db := metatest.Open(b, engine)
				var n atomic.Int64
				b.SetParallelism(max(1, writers/2))
				b.ResetTimer()
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						err := db.Write(b.Context(), func(ctx context.Context, tx *meta.Tx) error {
							return tx.SetSetting(ctx, strconv.FormatInt(n.Add(1)%1000, 10), "1")
						})
						if err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, engine := range []string{meta.SQLite, meta.PostgreSQL} {
		b.Run(engine, func(b *testing.B) {
			db := metatest.Open(b, engine)
			err := db.Write(b.Context(), func(ctx context.Context, tx *meta.Tx) error { return tx.SetSetting(ctx, "x", "1") })
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := db.Setting(b.Context(), "x"); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
