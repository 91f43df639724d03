package meta_test

import (
	"context"
	"testing"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/metatest"
)

func TestSettings(t *testing.T) {
	metatest.Run(t, func(t *testing.T, db *meta.DB) {
		ctx := t.Context()
		if _, err := db.Setting(ctx, "x"); err == nil {
			t.Fatal("a setting nobody has set")
		}
		err := db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error { return tx.SetSetting(ctx, "x", "1") })
		if err != nil {
			t.Fatal(err)
		}
		if v, err := db.Setting(ctx, "x"); err != nil || v != "1" {
			t.Fatal(v, err)
		}
	})
}
