package growth

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-registry/weir/internal/store/meta"
	"github.com/weir-registry/weir/internal/store/meta/query"
)

// rows are gathered and then written many at a time, in the order of their keys: one by one they would take hours.
type rows struct {
	repositories, blobs, links, manifests, references, tags, admissions, history, cached, pulls [][]any
}

const (
	batch     = 6000 // manifests
	statement = 2000 // rows: after each, SQLite walks through the pages of the batch as they were before
)

func (r *rows) full() bool { return len(r.manifests) >= batch }

// table is where rows go. Rows of the same key are the same row.
type table struct {
	name    string
	columns string
	keys    int // how many of the first columns are the key
	rows    [][]any
}

// flush writes what was gathered in one transaction; the pulls are no part of it.
func (g *generator) flush(ctx context.Context) error {
	r := g.rows
	g.rows = rows{}
	err := g.db.Write(ctx, func(ctx context.Context, tx *meta.Tx) error {
		for _, t := range []table{
			{"repositories", "id, group_id, upstream_id, epoch, format, name, created_at, first_manifest_at", 1, r.repositories},
			{"blobs", "digest, size, storage_key, created_at", 1, r.blobs},
			{"blob_links", "repository_id, digest, created_at, cached_in", 2, r.links},
			{"manifests", "repository_id, digest, media_type, artifact_type, size, payload, subject, config_digest, total_size, platform, image_created, labels, annotations, created_at", 2, r.manifests},
			{"manifest_references", "repository_id, parent, position, child, kind, size, media_type", 3, r.references},
			{"tags", "repository_id, name, digest, checked_at, created_at, updated_at", 2, r.tags},
			{"admissions", "repository_id, digest, via, tag, created_at", 4, r.admissions},
			{"tag_history", "id, repository_id, name, digest, actor_id, at", 1, r.history},
			{"cached_manifests", "repository_id, digest, used_at", 2, r.cached},
		} {
			n, err := t.insert(ctx, tx)
			if err != nil {
				return fmt.Errorf("fill %s: %w", t.name, err)
			}
			if t.name == "blob_links" {
				g.made.Links += int(n)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return g.writePulls(ctx, r.pulls)
}

func (t table) insert(ctx context.Context, tx *meta.Tx) (inserted int64, err error) {
	slices.SortFunc(t.rows, func(a, b []any) int { return compare(a[:t.keys], b[:t.keys]) })
	t.rows = slices.CompactFunc(t.rows, func(a, b []any) bool { return compare(a[:t.keys], b[:t.keys]) == 0 })
	for chunk := range slices.Chunk(t.rows, statement) {
		var text strings.Builder
		text.WriteString("INSERT INTO " + t.name + " (" + t.columns + ") VALUES ")
		args := make([]any, 0, len(chunk)*len(chunk[0]))
		for i, row := range chunk {
			if i > 0 {
				text.WriteByte(',')
			}
			for j := range row {
				text.WriteString(map[bool]string{true: "(", false: ","}[j == 0])
				if tx.Engine() == meta.SQLite {
					text.WriteByte('?') // numbered ones cost it the square of their number
				} else {
					fmt.Fprintf(&text, "$%d", len(args)+j+1)
				}
			}
			text.WriteByte(')')
			args = append(args, row...)
		}
		text.WriteString(" ON CONFLICT DO NOTHING")
		result, err := tx.Conn().ExecContext(ctx, text.String(), args...)
		if err != nil {
			return inserted, err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return inserted, err
		}
		inserted += n
	}
	return inserted, nil
}

// compare orders keys as the engines do.
func compare(a, b []any) int {
	for i := range a {
		c := 0
		switch x := a[i].(type) {
		case []byte:
			c = bytes.Compare(x, b[i].([]byte))
		case string:
			c = strings.Compare(x, b[i].(string))
		case int64:
			c = int(max(-1, min(1, x-b[i].(int64))))
		case int:
			c = x - b[i].(int)
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// writePulls adds to the statistics, which are written apart from all else.
func (g *generator) writePulls(ctx context.Context, pulls [][]any) error {
	return g.db.WriteTelemetry(ctx, func(ctx context.Context, q *query.Queries) error {
		for _, p := range pulls {
			err := q.AddPulls(ctx, query.AddPullsParams{
				RepositoryID: p[0].(int64), Digest: p[1].([]byte), LastPulledAt: p[2].(int64), PullCount: int64(p[3].(int)),
			})
			if err == nil {
				err = q.AddRepositoryPulls(ctx, query.AddRepositoryPullsParams{RepositoryID: p[0].(int64), LastPulledAt: p[2].(int64), PullCount: int64(p[3].(int))})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
