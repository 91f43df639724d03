-- +goose Up

-- A new secret of a credential may be wrong, or not valid yet where it is used: the one before it stays usable for a while.
ALTER TABLE credentials ADD COLUMN previous_secret BLOB NOT NULL DEFAULT x'';     -- sealed; empty = none
ALTER TABLE credentials ADD COLUMN previous_version BIGINT NOT NULL DEFAULT 0; -- that it is sealed for
ALTER TABLE credentials ADD COLUMN previous_until BIGINT NOT NULL DEFAULT 0;   -- not used from then on

-- +goose Down
-- Weir never migrates down: restore a backup.
