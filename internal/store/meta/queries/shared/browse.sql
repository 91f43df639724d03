-- Content as people look at it: pages of a group's repositories and of a repository's tags, one manifest with what it shares,
-- and what a purge takes. What the doors ask is in content.sql. A range has one lower bound: of two, SQLite begins at the one it likes.

-- name: BrowseRepositories :many
SELECT r.id, r.name, r.upstream_id, r.epoch, r.format, r.created_at,
    CAST(COALESCE(p.last_pulled_at, 0) AS BIGINT) AS last_pulled_at, CAST(COALESCE(p.pull_count, 0) AS BIGINT) AS pull_count
FROM repositories r LEFT JOIN repository_pulls p ON p.repository_id = r.id
WHERE r.group_id = @group_id AND r.name >= @name AND r.name < @high AND (r.name > @name OR r.id > @id)
    AND EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.id)
ORDER BY r.name, r.id LIMIT CAST(@n AS INTEGER);

-- By their last pull, the repositories of the range are all read and sorted; CountRepositories tells first whether they are few enough.

-- name: CountRepositories :one
SELECT COUNT(*) FROM (
    SELECT 1 FROM repositories WHERE group_id = @group_id AND name >= @low AND name < @high ORDER BY name LIMIT CAST(@n AS INTEGER)
) r;

-- name: BrowseColdRepositories :many
SELECT r.id, r.name, r.upstream_id, r.epoch, r.format, r.created_at,
    CAST(COALESCE(p.last_pulled_at, 0) AS BIGINT) AS last_pulled_at, CAST(COALESCE(p.pull_count, 0) AS BIGINT) AS pull_count
FROM repositories r LEFT JOIN repository_pulls p ON p.repository_id = r.id
WHERE r.group_id = @group_id AND r.name >= @low AND r.name < @high
    AND (COALESCE(p.last_pulled_at, 0) > CAST(@last AS BIGINT) OR COALESCE(p.last_pulled_at, 0) = CAST(@last AS BIGINT) AND r.id > @id)
    AND EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.id)
ORDER BY 7, r.id LIMIT CAST(@n AS INTEGER);

-- name: BrowseHotRepositories :many
SELECT r.id, r.name, r.upstream_id, r.epoch, r.format, r.created_at,
    CAST(COALESCE(p.last_pulled_at, 0) AS BIGINT) AS last_pulled_at, CAST(COALESCE(p.pull_count, 0) AS BIGINT) AS pull_count
FROM repositories r LEFT JOIN repository_pulls p ON p.repository_id = r.id
WHERE r.group_id = @group_id AND r.name >= @low AND r.name < @high
    AND (COALESCE(p.last_pulled_at, 0) < CAST(@last AS BIGINT) OR COALESCE(p.last_pulled_at, 0) = CAST(@last AS BIGINT) AND r.id < @id)
    AND EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.id)
ORDER BY 7 DESC, r.id DESC LIMIT CAST(@n AS INTEGER);

-- name: BrowseRepository :one
SELECT r.id, r.name, r.upstream_id, r.epoch, r.format, r.created_at,
    CAST(COALESCE(p.last_pulled_at, 0) AS BIGINT) AS last_pulled_at, CAST(COALESCE(p.pull_count, 0) AS BIGINT) AS pull_count
FROM repositories r LEFT JOIN repository_pulls p ON p.repository_id = r.id WHERE r.id = @id;

-- name: CountTags :one
SELECT COUNT(*) FROM (SELECT 1 FROM tags WHERE repository_id = @repository_id ORDER BY name LIMIT CAST(@n AS INTEGER)) t;

-- name: CountManifests :one
SELECT COUNT(*) FROM (SELECT 1 FROM manifests WHERE repository_id = @repository_id ORDER BY digest LIMIT CAST(@n AS INTEGER)) m;

-- name: BrowseLinks :many
-- A blob is alone when nothing else of the group holds it: nothing but repositories of an upstream's epoch, if one is given, of
-- which the last that holds it answers for all. It is shared when any other repository of the group holds it.
SELECT l.digest, b.size, CAST(NOT EXISTS (
    SELECT 1 FROM blob_links o JOIN repositories r ON r.id = o.repository_id
    WHERE o.digest = l.digest AND o.repository_id <> l.repository_id AND r.group_id = @group_id
        AND (r.upstream_id <> @upstream_id OR r.epoch <> @epoch OR o.repository_id > l.repository_id)) AS BOOLEAN) AS alone,
    CAST(EXISTS (SELECT 1 FROM blob_links o JOIN repositories r ON r.id = o.repository_id
        WHERE o.digest = l.digest AND o.repository_id <> l.repository_id AND r.group_id = @group_id) AS BOOLEAN) AS shared
FROM blob_links l JOIN blobs b ON b.digest = l.digest
WHERE l.repository_id = @repository_id AND l.digest > @after ORDER BY l.digest LIMIT CAST(@n AS INTEGER);

-- Sizes are of a manifest with its config and layers, here or not; of an index, with those of the manifests in it that are here.

-- name: BrowseTags :many
SELECT t.name, t.digest, t.checked_at, t.created_at, t.updated_at, m.media_type, m.artifact_type, m.platform, m.image_created,
    m.created_at AS stored_at,
    CAST(COALESCE(p.last_pulled_at, 0) AS BIGINT) AS last_pulled_at, CAST(COALESCE(p.pull_count, 0) AS BIGINT) AS pull_count,
    CAST(m.total_size + COALESCE((SELECT SUM(c.total_size) FROM manifest_references f JOIN manifests c ON c.repository_id = f.repository_id AND c.digest = f.child
        WHERE f.repository_id = t.repository_id AND f.parent = t.digest AND f.kind = 'manifest'), 0) AS BIGINT) AS size
FROM tags t CROSS JOIN manifests m
    LEFT JOIN pulls p ON p.repository_id = t.repository_id AND p.digest = t.digest
WHERE m.repository_id = t.repository_id AND m.digest = t.digest AND t.repository_id = @repository_id AND t.name >= @low AND t.name < @high
ORDER BY t.name LIMIT CAST(@n AS INTEGER);

-- name: BrowseNewTags :many
SELECT t.name, t.digest, t.checked_at, t.created_at, t.updated_at, m.media_type, m.artifact_type, m.platform, m.image_created,
    m.created_at AS stored_at,
    CAST(COALESCE(p.last_pulled_at, 0) AS BIGINT) AS last_pulled_at, CAST(COALESCE(p.pull_count, 0) AS BIGINT) AS pull_count,
    CAST(m.total_size + COALESCE((SELECT SUM(c.total_size) FROM manifest_references f JOIN manifests c ON c.repository_id = f.repository_id AND c.digest = f.child
        WHERE f.repository_id = t.repository_id AND f.parent = t.digest AND f.kind = 'manifest'), 0) AS BIGINT) AS size
FROM tags t CROSS JOIN manifests m
    LEFT JOIN pulls p ON p.repository_id = t.repository_id AND p.digest = t.digest
WHERE m.repository_id = t.repository_id AND m.digest = t.digest AND t.repository_id = @repository_id AND t.updated_at <= @updated_at AND (t.updated_at < @updated_at OR t.name < @name)
    AND t.name >= @low AND t.name < @high
ORDER BY t.updated_at DESC, t.name DESC LIMIT CAST(@n AS INTEGER);

-- name: ListSizedReferences :many
SELECT position, child, kind, size, media_type FROM manifest_references
WHERE repository_id = @repository_id AND parent = @parent ORDER BY position LIMIT CAST(@n AS INTEGER);

-- name: GetSize :one
-- As in BrowseTags.
SELECT CAST(m.total_size + COALESCE((SELECT SUM(c.total_size) FROM manifest_references f JOIN manifests c ON c.repository_id = f.repository_id AND c.digest = f.child
        WHERE f.repository_id = m.repository_id AND f.parent = m.digest AND f.kind = 'manifest'), 0) AS BIGINT) AS size
FROM manifests m WHERE m.repository_id = @repository_id AND m.digest = @digest;

-- name: ListImages :many
-- The manifests in an index that are here.
SELECT c.digest, c.platform, c.labels
FROM manifest_references f JOIN manifests c ON c.repository_id = f.repository_id AND c.digest = f.child
WHERE f.repository_id = @repository_id AND f.parent = @parent AND f.kind = 'manifest' ORDER BY f.position LIMIT CAST(@n AS INTEGER);

-- name: ListParents :many
SELECT parent FROM manifest_references WHERE repository_id = @repository_id AND child = @child LIMIT CAST(@n AS INTEGER);

-- name: ListGroupLinks :many
SELECT r.id, r.name, r.upstream_id, r.epoch FROM blob_links l JOIN repositories r ON r.id = l.repository_id
WHERE l.digest = @digest AND r.group_id = @group_id LIMIT CAST(@n AS INTEGER);

-- Pulls of repositories: telemetry, as those of manifests.

-- name: AddRepositoryPulls :exec
INSERT INTO repository_pulls (repository_id, last_pulled_at, pull_count) VALUES (@repository_id, @last_pulled_at, @pull_count)
ON CONFLICT (repository_id) DO UPDATE
SET last_pulled_at = CASE WHEN excluded.last_pulled_at > repository_pulls.last_pulled_at THEN excluded.last_pulled_at ELSE repository_pulls.last_pulled_at END,
    pull_count = repository_pulls.pull_count + excluded.pull_count;

-- name: DeletePullsOfNoRepository :execrows
DELETE FROM repository_pulls WHERE NOT EXISTS (SELECT 1 FROM repositories r WHERE r.id = repository_pulls.repository_id);

-- Purges.

-- name: ListRepositoriesOf :many
SELECT id, name, epoch FROM repositories WHERE group_id = @group_id AND upstream_id = @upstream_id AND epoch = @epoch AND name > @after
ORDER BY name LIMIT CAST(@n AS INTEGER);

-- name: ListPulledSince :many
-- Of so many of the repository's manifests that were ever pulled.
SELECT digest FROM (
    SELECT q.digest, q.last_pulled_at FROM pulls q WHERE q.repository_id = @repository_id ORDER BY q.digest LIMIT CAST(@n AS INTEGER)
) p WHERE last_pulled_at > @since;
