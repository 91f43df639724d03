-- +goose Up

-- What the trail hands on to another system, and how long each class of it is kept.
ALTER TABLE pull_batches ADD COLUMN unsent BIGINT NOT NULL DEFAULT 0;
CREATE INDEX pull_batches_unsent ON pull_batches (id) WHERE unsent = 1;
ALTER TABLE pull_batches ADD COLUMN class TEXT NOT NULL DEFAULT 'pulls'; -- pulls; access: refusals and logins
ALTER TABLE pull_seals ADD COLUMN class TEXT NOT NULL DEFAULT 'pulls';
DROP INDEX pull_seals_kept;
CREATE INDEX pull_seals_kept ON pull_seals (class, last_at) WHERE dropped_at = 0;

-- +goose Down
-- Weir never migrates down: restore a backup.
