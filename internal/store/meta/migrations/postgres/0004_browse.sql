-- +goose Up

CREATE INDEX tags_updated ON tags (repository_id, updated_at, name); -- tags by when they moved

-- The pulls of a repository, so that a list of repositories need not read those of each manifest.
CREATE TABLE repository_pulls (
    repository_id  BIGINT PRIMARY KEY,
    last_pulled_at BIGINT NOT NULL,
    pull_count     BIGINT NOT NULL
);
INSERT INTO repository_pulls (repository_id, last_pulled_at, pull_count)
SELECT repository_id, MAX(last_pulled_at), CAST(SUM(pull_count) AS BIGINT) FROM pulls GROUP BY repository_id;

-- +goose Down
-- Weir never migrates down: restore a backup.
