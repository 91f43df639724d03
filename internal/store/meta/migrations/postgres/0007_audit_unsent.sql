-- +goose Up

-- Nothing hands events on yet: what would mark them as handed on only costs.
DROP INDEX events_unsent;
ALTER TABLE events DROP COLUMN send_after;
DROP INDEX pull_batches_unsent;
ALTER TABLE pull_batches DROP COLUMN send_after;

-- +goose Down
-- Weir never migrates down: restore a backup.
