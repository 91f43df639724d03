-- +goose Up

-- What must not grow with the number of rows, or must not stay for ever.

-- The cache's size without a scan: a link knows the group of the cached repository it is in (0 = hosted), so that one index
-- tells whether any cache holds a blob, and the bytes of those blobs are kept as sums. Their slot is the low half of the
-- digest's first byte: transactions on different blobs seldom wait for each other.
ALTER TABLE blob_links ADD COLUMN cached_in BIGINT NOT NULL DEFAULT 0;
UPDATE blob_links SET cached_in = (SELECT r.group_id FROM repositories r WHERE r.id = blob_links.repository_id)
WHERE repository_id IN (SELECT r.id FROM repositories r WHERE r.upstream_id <> 0);
DROP INDEX blob_links_digest;
CREATE INDEX blob_links_digest ON blob_links (digest, cached_in);

CREATE TABLE cached_bytes (
    slot  INTEGER PRIMARY KEY,             -- 0…15
    bytes BIGINT NOT NULL
);
INSERT INTO cached_bytes (slot, bytes) VALUES (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0),
    (9, 0), (10, 0), (11, 0), (12, 0), (13, 0), (14, 0), (15, 0);
INSERT INTO cached_bytes (slot, bytes) SELECT 0, COALESCE(SUM(b.size), 0) FROM blobs b
WHERE EXISTS (SELECT 1 FROM blob_links l WHERE l.digest = b.digest AND l.cached_in > 0);

-- The order of eviction without a sort: used_at is never later than the last use. Whoever takes the first rows looks into the
-- pulls and moves those that were used since to their place.
CREATE TABLE cached_manifests (
    repository_id BIGINT NOT NULL,
    digest        BLOB NOT NULL,
    used_at       BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest),
    FOREIGN KEY (repository_id, digest) REFERENCES manifests (repository_id, digest) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX cached_manifests_used ON cached_manifests (used_at);
INSERT INTO cached_manifests (repository_id, digest, used_at)
SELECT m.repository_id, m.digest, m.created_at FROM manifests m JOIN repositories r ON r.id = m.repository_id WHERE r.upstream_id <> 0;

-- Repositories are collected too: cached ones when they are empty or outdated, hosted ones when no
-- manifest ever came. (A name that people have pushed to stays theirs: its local members claim it.) These may be such.
ALTER TABLE repositories ADD COLUMN first_manifest_at BIGINT NOT NULL DEFAULT 0; -- 0 = none yet
UPDATE repositories SET first_manifest_at = created_at;
INSERT INTO gc_candidates (kind, repository_id, digest, review_after, attempts) SELECT 'repository', r.id, x'', 0, 0 FROM repositories r;

CREATE INDEX repositories_name ON repositories (group_id, name, id); -- search
DROP INDEX tags_digest;
CREATE INDEX tags_digest ON tags (repository_id, digest, name); -- some of a digest's tags, in order
CREATE INDEX uploads_repository ON uploads (repository_id);
CREATE INDEX uploads_stage ON uploads (stage);
CREATE INDEX doomed_keys_created ON doomed_keys (created_at, storage_key);
CREATE INDEX upstreams_credential ON upstreams (credential_id);

-- +goose Down
-- Weir never migrates down: restore a backup.
