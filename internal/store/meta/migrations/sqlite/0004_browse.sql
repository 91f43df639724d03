-- +goose Up

CREATE INDEX tags_updated ON tags (repository_id, updated_at, name); -- tags by when they moved

-- +goose Down
-- Weir never migrates down: restore a backup.
