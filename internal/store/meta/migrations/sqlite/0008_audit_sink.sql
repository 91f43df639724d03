-- +goose Up

-- What the trail hands on to another system, and how long each class of it is kept.
ALTER TABLE events ADD COLUMN unsent BIGINT NOT NULL DEFAULT 0;        -- 1 = a sink has to get it; what it got leaves the index
CREATE INDEX events_unsent ON events (id) WHERE unsent = 1;
ALTER TABLE seals ADD COLUMN class TEXT NOT NULL DEFAULT 'changes';
DROP INDEX seals_kept;
CREATE INDEX seals_kept ON seals (class, last_at) WHERE dropped_at = 0;

-- +goose Down
-- Weir never migrates down: restore a backup.
