package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/weir-registry/weir/internal/oci"
	"github.com/weir-registry/weir/internal/store/blob"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// maxConfig bounds how much of a config is read.
const maxConfig = 4 << 20

// imageInfo is what an image's config tells that searches and policies want to know.
type imageInfo struct {
	platform string // os/architecture[/variant]
	created  time.Time
	labels   string // JSON object
}

// A config and the manifest that names it come in either order, each in a transaction that must not read bytes: it may run
// more than once, and on SQLite all writers wait for it. A transaction that finds the other half already there without
// having its bytes' content therefore ends with one of these two errors, and is run again with it.

// configArrived ends a PutManifest: the config is in the repository.
type configArrived struct{ config Blob }

func (*configArrived) Error() string { return "the config has arrived" }

// errConfigNamed ends the linking of a blob: a manifest names it as its config.
var errConfigNamed = errors.New("a manifest names the blob as its config")

// configInfo reads the config of a manifest about to be stored; nil when there is none or it is not here.
func (s *Store) configInfo(ctx context.Context, p PutManifest) (*imageInfo, error) {
	if p.Manifest.Config == nil {
		return nil, nil //nolint:nilnil // no info is no error
	}
	id, err := s.RepositoryID(ctx, p.Repository)
	if err == nil {
		var b Blob
		if b, err = s.Blob(ctx, id, p.Manifest.Config.Digest); err == nil {
			return s.readImageInfo(ctx, b)
		}
	}
	if errors.Is(err, ErrNotFound) {
		return nil, nil //nolint:nilnil // as above
	}
	return nil, err
}

// wantConfig returns *configArrived when the config that the manifest names is in the repository.
func (c *change) wantConfig(ctx context.Context, config []byte) error {
	row, err := c.GetLinkedBlob(ctx, query.GetLinkedBlobParams{RepositoryID: c.repository.ID, Digest: config})
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for the config: %w", err)
	}
	return &configArrived{Blob{Digest: oci.Digest(digestText(config)), Size: row.Size, Key: row.StorageKey}}
}

// readImageInfo reads a config. Whatever is not the config of an image, or is too large, tells nothing.
func (s *Store) readImageInfo(ctx context.Context, b Blob) (*imageInfo, error) {
	none := &imageInfo{labels: "{}"}
	if b.Size > maxConfig {
		return none, nil
	}
	content, err := s.OpenBlob(ctx, b, 0, -1)
	if errors.Is(err, ErrNotFound) || errors.Is(err, blob.ErrNotFound) {
		s.log.Error("the bytes of a config are gone", "digest", b.Digest, "key", b.Key)
		return none, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open config %s: %w", b.Digest, err)
	}
	if content.Body == nil {
		return none, nil
	}
	defer content.Body.Close()
	data, err := io.ReadAll(io.LimitReader(content.Body, b.Size))
	if err != nil {
		return nil, fmt.Errorf("read config %s: %w", b.Digest, err)
	}
	return parseImageInfo(data), nil
}

// parseImageInfo reads each part by itself, so that one odd field does not hide the others.
func parseImageInfo(data []byte) *imageInfo {
	info := &imageInfo{labels: "{}"}
	var fields map[string]json.RawMessage
	if json.Unmarshal(data, &fields) != nil {
		return info
	}
	text := func(name string) (s string) {
		_ = json.Unmarshal(fields[name], &s)
		return plainText(s)
	}
	if os, arch := text("os"), text("architecture"); os != "" && arch != "" {
		info.platform = os + "/" + arch
		if variant := text("variant"); variant != "" {
			info.platform += "/" + variant
		}
	}
	if created, err := time.Parse(time.RFC3339Nano, text("created")); err == nil {
		info.created = created
	}
	var config struct{ Labels map[string]string }
	if json.Unmarshal(fields["config"], &config) == nil && config.Labels != nil {
		if labels, err := json.Marshal(config.Labels); err == nil {
			info.labels = string(labels)
		}
	}
	return info
}
