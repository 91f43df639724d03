-- +goose Up

-- Telemetry: written in batches, never in the transaction of a change. SQLite keeps it in a second file.

CREATE TABLE pulls (
    repository_id  BIGINT NOT NULL,
    digest         BLOB NOT NULL,         -- manifest
    last_pulled_at BIGINT NOT NULL,
    pull_count     BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest)
) WITHOUT ROWID;
CREATE INDEX pulls_last ON pulls (last_pulled_at);

-- +goose Down
-- Weir never migrates down: restore a backup.
