package app

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/weir-registry/weir/internal/config"
	"github.com/weir-registry/weir/internal/serve/api"
	"github.com/weir-registry/weir/internal/telemetry"
	"github.com/weir-registry/weir/internal/work/check"
)

var _ api.Checker = (*server)(nil)

// Check implements api.Checker.
func (s *server) Check(ctx context.Context, r api.CheckRequest, report func(api.Finding), progress func(api.CheckProgress)) (api.CheckSummary, error) {
	if !r.Progress {
		progress = nil
	}
	return s.kept.check(ctx, check.Options{Log: s.log, Deep: r.Deep, Progress: toldAs(progress)}, report)
}

// toldAs tells progress in the words of the API; nil for nobody.
func toldAs(progress func(api.CheckProgress)) func(check.Progress) {
	if progress == nil {
		return nil
	}
	return func(p check.Progress) { progress(api.CheckProgress(p)) }
}

func (k *kept) check(ctx context.Context, o check.Options, report func(api.Finding)) (api.CheckSummary, error) {
	sum, err := check.New(k.store, k.blobs, o).Run(ctx, func(f check.Finding) {
		report(api.Finding{Kind: f.Kind, Subject: f.Subject, Detail: f.Detail, Advice: f.Advice, Warning: f.Warning, Repaired: f.Repaired})
	})
	return api.CheckSummary{
		Blobs: sum.Blobs, Bytes: sum.Bytes, Objects: sum.Objects, Stages: sum.Stages,
		Problems: sum.Problems, Warnings: sum.Warnings, Repaired: sum.Repaired,
	}, err
}

// CheckOffline checks a data folder that no server has open: nothing else writes, so even the youngest bytes without a row
// are orphans. With repair, what cannot lose anything is mended.
func CheckOffline(ctx context.Context, c config.Config, deep, repair bool, report func(api.Finding), progress func(api.CheckProgress), console io.Writer) (sum api.CheckSummary, err error) {
	log, err := telemetry.NewLogger(console, telemetry.LogOptions{Level: "warn", Format: "text"})
	if err != nil {
		return sum, err
	}
	if err := hasData(c); err != nil {
		return sum, err
	}
	k, err := openKept(ctx, c, log, nil)
	if err != nil {
		return sum, err
	}
	defer k.close(log)
	return k.check(ctx, check.Options{Log: log, Grace: -1, Deep: deep, DropOrphans: repair, DropLost: repair, Progress: toldAs(progress)}, report)
}

// hasData refuses places without data, which opening would create: a typing mistake must not look like a store without problems.
func hasData(c config.Config) error {
	places := []string{c.Data, c.Storage.Path}
	if c.Database.Engine == "sqlite" {
		places = append(places, c.Database.Path)
	}
	for _, path := range places {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("no data of a server is there: %w", err)
		}
	}
	return nil
}
