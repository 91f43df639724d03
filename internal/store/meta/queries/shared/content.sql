-- Content: repositories, blobs, manifests, tags and what the collector asks about them. Package store calls all of these.
--
-- Lock order of every transaction that writes content: the repository's row, then blob rows in ascending order of digest,
-- then gc_candidates in ascending order of (kind, repository, digest).
--
-- LIMIT CAST(@n AS INTEGER), here and elsewhere: SQLite looks at the value of a bare parameter when it plans the statement, and
-- therefore plans it anew each time another value is bound: twenty times the cost of a short page.

-- Repositories.

-- name: FindRepository :one
SELECT id FROM repositories WHERE group_id = @group_id AND upstream_id = @upstream_id AND epoch = @epoch AND name = @name;

-- name: GetRepository :one
SELECT * FROM repositories WHERE id = @id;

-- name: InsertRepository :execrows
INSERT INTO repositories (id, group_id, upstream_id, epoch, format, name, created_at)
VALUES (@id, @group_id, @upstream_id, @epoch, @format, @name, @created_at)
ON CONFLICT (group_id, upstream_id, epoch, name) DO NOTHING;

-- name: ListHostedRepositories :many
SELECT r.name FROM repositories r
WHERE r.group_id = @group_id AND r.upstream_id = 0 AND r.epoch = 0 AND r.name > @after
    AND EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.id)
ORDER BY r.name LIMIT CAST(@n AS INTEGER);

-- Blobs and links.

-- name: GetBlob :one
SELECT * FROM blobs WHERE digest = @digest;

-- name: InsertBlob :execrows
INSERT INTO blobs (digest, size, storage_key, created_at) VALUES (@digest, @size, @storage_key, @created_at)
ON CONFLICT (digest) DO NOTHING;

-- name: MoveBlob :execrows
UPDATE blobs SET storage_key = @storage_key WHERE digest = @digest;

-- name: DeleteBlob :execrows
DELETE FROM blobs WHERE digest = @digest;

-- name: GetLinkedBlob :one
-- The link first, which LEFT makes sure of: what others hold must not change how long the answer takes. A link has its blob.
SELECT CAST(COALESCE(b.size, 0) AS BIGINT) AS size, CAST(COALESCE(b.storage_key, '') AS TEXT) AS storage_key
FROM blob_links l LEFT JOIN blobs b ON b.digest = l.digest
WHERE l.repository_id = @repository_id AND l.digest = @digest;

-- name: FindCachedBlob :one
SELECT b.digest, b.size, b.storage_key FROM blobs b
WHERE b.digest = @digest AND EXISTS (SELECT 1 FROM blob_links l WHERE l.digest = b.digest AND l.cached_in = @group_id);

-- name: IsCached :one
SELECT EXISTS (SELECT 1 FROM blob_links WHERE digest = @digest AND cached_in > 0);

-- name: LinkBlob :exec
INSERT INTO blob_links (repository_id, digest, created_at, cached_in) VALUES (@repository_id, @digest, @created_at, @cached_in)
ON CONFLICT (repository_id, digest) DO UPDATE SET created_at = excluded.created_at;

-- name: GetLink :one
SELECT * FROM blob_links WHERE repository_id = @repository_id AND digest = @digest;

-- name: DeleteLink :execrows
DELETE FROM blob_links WHERE repository_id = @repository_id AND digest = @digest;

-- name: BlobIsLinked :one
SELECT EXISTS (SELECT 1 FROM blob_links WHERE digest = @digest);

-- Manifests.

-- name: GetManifest :one
SELECT digest, media_type, payload, created_at FROM manifests WHERE repository_id = @repository_id AND digest = @digest;

-- name: StatManifest :one
SELECT digest, media_type, artifact_type, size, subject, config_digest, platform, image_created, labels, created_at FROM manifests
WHERE repository_id = @repository_id AND digest = @digest;

-- name: InsertManifest :execrows
INSERT INTO manifests (repository_id, digest, media_type, artifact_type, size, payload, subject, config_digest, total_size,
    platform, image_created, labels, annotations, created_at)
VALUES (@repository_id, @digest, @media_type, @artifact_type, @size, @payload, @subject, @config_digest, @total_size,
    @platform, @image_created, @labels, @annotations, @created_at)
ON CONFLICT (repository_id, digest) DO NOTHING;

-- name: DeleteManifest :execrows
DELETE FROM manifests WHERE repository_id = @repository_id AND digest = @digest;

-- name: ConfigIsNamed :one
SELECT EXISTS (SELECT 1 FROM manifests WHERE repository_id = @repository_id AND config_digest = @config_digest);

-- name: SetImageInfo :execrows
UPDATE manifests SET platform = @platform, image_created = @image_created, labels = @labels
WHERE repository_id = @repository_id AND config_digest = @config_digest;

-- name: ListReferrers :many
SELECT digest, media_type, artifact_type, size, annotations FROM manifests
WHERE repository_id = @repository_id AND subject = @subject AND digest > @after
ORDER BY digest LIMIT CAST(@n AS INTEGER);

-- name: ListReferrersOfType :many
SELECT digest, media_type, artifact_type, size, annotations FROM manifests
WHERE repository_id = @repository_id AND subject = @subject AND artifact_type = @artifact_type AND digest > @after
ORDER BY digest LIMIT CAST(@n AS INTEGER);

-- name: ListReferrerDigests :many
SELECT digest FROM manifests WHERE repository_id = @repository_id AND subject = @subject ORDER BY digest;

-- References. kind: manifest, config, layer, foreign (a layer with urls, which need not be here).

-- name: InsertReference :exec
INSERT INTO manifest_references (repository_id, parent, position, child, kind, size, media_type)
VALUES (@repository_id, @parent, @position, @child, @kind, @size, @media_type);

-- name: GetReference :one
-- The key first, from the index that has all of it: asked for the row at once, SQLite reads all references of the repository.
SELECT r.child, r.kind, r.size, r.media_type FROM (
    SELECT f.parent, f.position FROM manifest_references f WHERE f.repository_id = @repository_id AND f.child = @child LIMIT 1
) k JOIN manifest_references r ON r.repository_id = @repository_id AND r.parent = k.parent AND r.position = k.position;

-- name: IsReferenced :one
SELECT EXISTS (SELECT 1 FROM manifest_references WHERE repository_id = @repository_id AND child = @child);

-- name: ListChildren :many
SELECT DISTINCT child, kind FROM manifest_references WHERE repository_id = @repository_id AND parent = @parent
ORDER BY kind, child;

-- A child that is named twice is listed twice, in no order: for DISTINCT or ORDER BY child, SQLite would walk the references of
-- the whole repository by their index on the child.

-- name: ListMissingBlobs :many
SELECT r.child FROM manifest_references r
WHERE r.repository_id = @repository_id AND r.parent = @parent AND r.kind IN ('config', 'layer')
    AND NOT EXISTS (SELECT 1 FROM blob_links l WHERE l.repository_id = r.repository_id AND l.digest = r.child);

-- name: ListMissingManifests :many
SELECT r.child FROM manifest_references r
WHERE r.repository_id = @repository_id AND r.parent = @parent AND r.kind = 'manifest'
    AND NOT EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.repository_id AND m.digest = r.child);

-- Tags.

-- name: GetTag :one
SELECT name, digest, checked_at, updated_at FROM tags WHERE repository_id = @repository_id AND name = @name;

-- name: UpsertTag :exec
INSERT INTO tags (repository_id, name, digest, checked_at, created_at, updated_at)
VALUES (@repository_id, @name, @digest, @checked_at, @created_at, @updated_at)
ON CONFLICT (repository_id, name) DO UPDATE
SET digest = excluded.digest, checked_at = excluded.checked_at, updated_at = excluded.updated_at;

-- name: ConfirmTag :execrows
-- A confirmation after @latest is one from the future: the clock that made it was wrong.
UPDATE tags SET checked_at = @checked_at
WHERE repository_id = @repository_id AND name = @name AND digest = @digest AND (checked_at < @checked_at OR checked_at > @latest);

-- name: DeleteTag :execrows
DELETE FROM tags WHERE repository_id = @repository_id AND name = @name;

-- name: ListTags :many
SELECT name FROM tags WHERE repository_id = @repository_id AND name > @after ORDER BY name LIMIT CAST(@n AS INTEGER);

-- name: ListTagsOf :many
SELECT name FROM tags WHERE repository_id = @repository_id AND digest = @digest ORDER BY name;

-- name: IsTagged :one
SELECT EXISTS (SELECT 1 FROM tags WHERE repository_id = @repository_id AND digest = @digest);

-- name: InsertTagHistory :exec
INSERT INTO tag_history (id, repository_id, name, digest, actor_id, at) VALUES (@id, @repository_id, @name, @digest, @actor_id, @at);

-- name: ListTagHistory :many
SELECT id, name, digest, actor_id, at FROM tag_history WHERE repository_id = @repository_id AND name = @name AND id < @before
ORDER BY id DESC LIMIT CAST(@n AS INTEGER);

-- Admissions. The walk goes up from a digest through everything that refers to it. Both engines make the rows of a
-- recursive query as they are asked for, so the unordered form ends as soon as its limit is reached, however many parents
-- would follow. CROSS JOIN makes SQLite walk from "up" outwards; without it, it reads all admissions for each row of "up".

-- name: Admit :execrows
INSERT INTO admissions (repository_id, digest, via, tag, created_at) VALUES (@repository_id, @digest, @via, @tag, @created_at)
ON CONFLICT (repository_id, digest, via, tag) DO UPDATE SET created_at = excluded.created_at;

-- name: GetAdmission :one
SELECT created_at FROM admissions WHERE repository_id = @repository_id AND digest = @digest AND via = @via AND tag = @tag;

-- name: NewestTagAdmission :one
SELECT digest, created_at FROM admissions WHERE repository_id = @repository_id AND via = 'tag' AND tag = @tag
ORDER BY created_at DESC LIMIT 1;

-- name: ListAwaitingTags :many
-- Tags that were last heard to name a digest, lately, and do not point to anything newer.
SELECT a.tag, a.created_at FROM admissions a
WHERE a.repository_id = @repository_id AND a.digest = @digest AND a.via = 'tag' AND a.created_at >= @created_at
    AND NOT EXISTS (SELECT 1 FROM admissions b WHERE b.repository_id = a.repository_id AND b.tag = a.tag AND b.via = 'tag' AND b.created_at > a.created_at)
    AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.repository_id = a.repository_id AND t.name = a.tag AND t.checked_at >= a.created_at)
ORDER BY a.tag;

-- name: AdmittedVia :one
SELECT EXISTS (SELECT 1 FROM admissions WHERE repository_id = @repository_id AND digest = @digest AND via = @via);

-- name: ForgetAdmissions :exec
DELETE FROM admissions WHERE admissions.repository_id = @repository_id AND admissions.digest = @digest AND admissions.via <> 'list'
    AND NOT EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = admissions.repository_id AND m.digest = admissions.digest)
    AND NOT EXISTS (SELECT 1 FROM blob_links l WHERE l.repository_id = admissions.repository_id AND l.digest = admissions.digest);

-- name: ForgetListed :exec
DELETE FROM admissions WHERE repository_id = @repository_id AND via = 'list' AND tag = @tag;

-- name: SampleAdmissions :many
WITH RECURSIVE up (digest) AS (
    SELECT d.parent FROM manifest_references d WHERE d.repository_id = @repository_id AND d.child = @child
    UNION
    SELECT r.parent FROM up CROSS JOIN manifest_references r WHERE r.repository_id = @repository_id AND r.child = up.digest
)
SELECT s.tag FROM admissions s WHERE s.repository_id = @repository_id AND s.digest = @child
UNION ALL
SELECT a.tag FROM up CROSS JOIN admissions a WHERE a.repository_id = @repository_id AND a.digest = up.digest
LIMIT CAST(@n AS INTEGER);

-- name: ListAdmissions :many
WITH RECURSIVE up (digest) AS (
    SELECT d.parent FROM manifest_references d WHERE d.repository_id = @repository_id AND d.child = @child
    UNION
    SELECT r.parent FROM up CROSS JOIN manifest_references r WHERE r.repository_id = @repository_id AND r.child = up.digest
)
SELECT s.tag FROM admissions s WHERE s.repository_id = @repository_id AND s.digest = @child AND s.tag >= @tag
UNION
SELECT a.tag FROM up CROSS JOIN admissions a WHERE a.repository_id = @repository_id AND a.digest = up.digest AND a.tag >= @tag
ORDER BY 1 LIMIT CAST(@n AS INTEGER);

-- Answers of upstreams.

-- name: GetList :one
SELECT payload, checked_at FROM cached_lists WHERE repository_id = @repository_id AND kind = @kind AND subject = @subject;

-- name: PutList :exec
INSERT INTO cached_lists (repository_id, kind, subject, payload, checked_at)
VALUES (@repository_id, @kind, @subject, @payload, @checked_at)
ON CONFLICT (repository_id, kind, subject) DO UPDATE SET payload = excluded.payload, checked_at = excluded.checked_at;

-- name: DeleteList :exec
DELETE FROM cached_lists WHERE repository_id = @repository_id AND kind = @kind AND subject = @subject;

-- Candidates and doomed keys.

-- name: PutCandidate :exec
INSERT INTO gc_candidates (kind, repository_id, digest, review_after, attempts)
VALUES (@kind, @repository_id, @digest, @review_after, 0)
ON CONFLICT (kind, repository_id, digest) DO UPDATE SET review_after = excluded.review_after, attempts = 0;

-- name: DeleteCandidate :execrows
DELETE FROM gc_candidates WHERE kind = @kind AND repository_id = @repository_id AND digest = @digest;

-- name: DeleteLinkCandidates :exec
DELETE FROM gc_candidates
WHERE gc_candidates.kind = 'link' AND gc_candidates.repository_id = @repository_id AND gc_candidates.digest IN (
    SELECT r.child FROM manifest_references r WHERE r.repository_id = @repository_id AND r.parent = @parent);

-- name: ListDueCandidates :many
SELECT * FROM gc_candidates WHERE review_after <= @now ORDER BY review_after LIMIT CAST(@n AS INTEGER);

-- name: PostponeCandidate :execrows
UPDATE gc_candidates SET review_after = @review_after, attempts = attempts + 1
WHERE kind = @kind AND repository_id = @repository_id AND digest = @digest;

-- name: InsertDoomedKey :exec
INSERT INTO doomed_keys (storage_key, created_at) VALUES (@storage_key, @created_at) ON CONFLICT (storage_key) DO NOTHING;

-- name: ListDoomedKeys :many
SELECT * FROM doomed_keys ORDER BY created_at, storage_key LIMIT CAST(@n AS INTEGER);

-- name: DeleteDoomedKey :execrows
DELETE FROM doomed_keys WHERE storage_key = @storage_key;

-- name: KeyIsDoomed :one
SELECT EXISTS (SELECT 1 FROM doomed_keys WHERE storage_key = @storage_key);

-- Eviction.

-- name: SumCachedBytes :one
SELECT CAST(SUM(bytes) AS BIGINT) FROM cached_bytes;

-- name: AddCachedBytes :exec
UPDATE cached_bytes SET bytes = bytes + @bytes WHERE slot = @slot;

-- name: InsertCachedManifest :exec
INSERT INTO cached_manifests (repository_id, digest, used_at) VALUES (@repository_id, @digest, @used_at);

-- name: ListColdManifests :many
-- An index that is in use keeps what it refers to: a node that asks whether its image is current asks for the index alone.
SELECT c.repository_id, c.digest, c.used_at, CAST(COALESCE(p.last_pulled_at, 0) AS BIGINT) AS last_pulled_at,
    CAST(COALESCE((SELECT max(q.last_pulled_at) FROM manifest_references r JOIN pulls q ON q.repository_id = r.repository_id AND q.digest = r.parent
        WHERE r.repository_id = c.repository_id AND r.child = c.digest), 0) AS BIGINT) AS parent_pulled_at
FROM (SELECT repository_id, digest, used_at FROM cached_manifests ORDER BY used_at LIMIT CAST(@n AS INTEGER)) c
LEFT JOIN pulls p ON p.repository_id = c.repository_id AND p.digest = c.digest
ORDER BY c.used_at;

-- name: TouchCachedManifest :exec
UPDATE cached_manifests SET used_at = @used_at WHERE repository_id = @repository_id AND digest = @digest AND used_at < @used_at;

-- Empty and outdated repositories.

-- name: UpstreamIsCurrent :one
SELECT EXISTS (SELECT 1 FROM upstreams WHERE id = @id AND epoch = @epoch);

-- name: PutOutdatedCandidates :exec
INSERT INTO gc_candidates (kind, repository_id, digest, review_after, attempts)
SELECT 'repository', r.id, @digest, @review_after, 0 FROM repositories r
WHERE r.group_id = @group_id AND r.upstream_id = @upstream_id AND r.epoch <> @epoch ORDER BY r.id
ON CONFLICT (kind, repository_id, digest) DO UPDATE SET review_after = excluded.review_after, attempts = 0;

-- name: ListManifestDigests :many
SELECT digest FROM manifests WHERE repository_id = @repository_id ORDER BY digest LIMIT CAST(@n AS INTEGER);

-- name: ListLinkDigests :many
SELECT digest FROM blob_links WHERE repository_id = @repository_id ORDER BY digest LIMIT CAST(@n AS INTEGER);

-- name: SetFirstManifest :exec
UPDATE repositories SET first_manifest_at = @first_manifest_at WHERE id = @id;

-- name: DeleteRepositoryCandidates :exec
DELETE FROM gc_candidates WHERE repository_id = @repository_id AND kind IN ('link', 'manifest', 'repository');

-- name: HasContent :one
SELECT EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = @repository_id
    UNION ALL SELECT 1 FROM blob_links l WHERE l.repository_id = @repository_id);

-- name: IsAwaited :one
SELECT EXISTS (SELECT 1 FROM uploads u WHERE u.repository_id = @repository_id
    UNION ALL SELECT 1 FROM admissions a WHERE a.repository_id = @repository_id AND a.created_at > @since
    UNION ALL SELECT 1 FROM cached_lists c WHERE c.repository_id = @repository_id AND c.checked_at > @since);

-- name: DeleteRepositoryAdmissions :execrows
DELETE FROM admissions WHERE admissions.repository_id = @repository_id AND admissions.digest IN (
    SELECT a.digest FROM admissions a WHERE a.repository_id = @repository_id ORDER BY a.digest LIMIT CAST(@n AS INTEGER));

-- name: DeleteRepositoryHistory :execrows
DELETE FROM tag_history WHERE id IN (SELECT h.id FROM tag_history h WHERE h.repository_id = @repository_id LIMIT CAST(@n AS INTEGER));

-- name: DeleteRepositoryLists :exec
DELETE FROM cached_lists WHERE repository_id = @repository_id;

-- name: DeleteRepository :execrows
DELETE FROM repositories WHERE id = @id;

-- History: ids are time-ordered.

-- name: TrimTagHistory :execrows
DELETE FROM tag_history WHERE id IN (SELECT h.id FROM tag_history h WHERE h.id < @before ORDER BY h.id LIMIT CAST(@n AS INTEGER));

-- Pulls: telemetry, written apart from all else.

-- name: AddPulls :exec
INSERT INTO pulls (repository_id, digest, last_pulled_at, pull_count) VALUES (@repository_id, @digest, @last_pulled_at, @pull_count)
ON CONFLICT (repository_id, digest) DO UPDATE
SET last_pulled_at = CASE WHEN excluded.last_pulled_at > pulls.last_pulled_at THEN excluded.last_pulled_at ELSE pulls.last_pulled_at END,
    pull_count = pulls.pull_count + excluded.pull_count;

-- name: GetPulls :one
SELECT last_pulled_at, pull_count FROM pulls WHERE repository_id = @repository_id AND digest = @digest;

-- name: DeletePulls :exec
DELETE FROM pulls WHERE repository_id = @repository_id AND digest = @digest;

-- name: ListPullPage :many
SELECT repository_id, digest FROM pulls
WHERE repository_id >= @repository_id AND (repository_id > @repository_id OR digest > @digest)
ORDER BY repository_id, digest LIMIT CAST(@n AS INTEGER);

-- name: DeletePullsOfNothing :execrows
DELETE FROM pulls WHERE pulls.repository_id = @repository_id AND pulls.digest = @digest
    AND NOT EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = pulls.repository_id AND m.digest = pulls.digest);

-- Search: repositories by name, which are few, then their manifests by key. What else is asked of a row, Go looks at: a page
-- reads a bounded number of rows whatever they are.

-- name: SearchRepositories :many
SELECT r.id, r.name, r.upstream_id, r.epoch, CAST(r.name LIKE CAST(@pattern AS TEXT) ESCAPE '!'
    AND (NOT CAST(@by_tag AS BOOLEAN) OR EXISTS (
        SELECT 1 FROM tags t WHERE t.repository_id = r.id AND t.name >= @tag_low AND t.name < @tag_high))
    AND (NOT CAST(@by_digest AS BOOLEAN) OR EXISTS (
        SELECT 1 FROM manifests m WHERE m.repository_id = r.id AND m.digest >= @digest_low AND m.digest < @digest_high))
    AS BOOLEAN) AS hit
FROM repositories r
WHERE r.group_id = @group_id AND r.name >= @name AND (r.name > @name OR r.id >= @id)
ORDER BY r.name, r.id LIMIT CAST(@n AS INTEGER);

-- name: SearchManifests :many
SELECT m.digest, m.media_type, m.artifact_type, m.total_size, m.platform, m.image_created, m.labels, m.created_at,
    CAST(COALESCE(p.last_pulled_at, 0) AS BIGINT) AS last_pulled_at, CAST(COALESCE(p.pull_count, 0) AS BIGINT) AS pull_count
FROM manifests m LEFT JOIN pulls p ON p.repository_id = m.repository_id AND p.digest = m.digest
WHERE m.repository_id = @repository_id AND m.digest >= @low AND m.digest < @high
ORDER BY m.digest LIMIT CAST(@n AS INTEGER);

-- name: SearchTagged :many
SELECT m.digest, m.media_type, m.artifact_type, m.total_size, m.platform, m.image_created, m.labels, m.created_at,
    CAST(COALESCE(p.last_pulled_at, 0) AS BIGINT) AS last_pulled_at, CAST(COALESCE(p.pull_count, 0) AS BIGINT) AS pull_count
FROM manifests m LEFT JOIN pulls p ON p.repository_id = m.repository_id AND p.digest = m.digest
WHERE m.repository_id = @repository_id AND m.digest >= @low AND m.digest < @high
    AND m.digest IN (SELECT t.digest FROM tags t WHERE t.repository_id = @repository_id AND t.name >= @tag_low AND t.name < @tag_high)
ORDER BY m.digest LIMIT CAST(@n AS INTEGER);

-- name: ListSomeTagsOf :many
-- The names first, as in GetReference.
SELECT t.name, t.digest, t.checked_at, t.updated_at FROM (
    SELECT n.name FROM tags n WHERE n.repository_id = @repository_id AND n.digest = @digest ORDER BY n.name LIMIT CAST(@n AS INTEGER)
) k JOIN tags t ON t.repository_id = @repository_id AND t.name = k.name;

-- Checks: pages of rows in key order, and the rows that break a promise.

-- name: CheckRepositoryPage :many
SELECT id FROM repositories WHERE id > @after ORDER BY id LIMIT CAST(@n AS INTEGER);

-- name: CheckManifestPage :many
SELECT digest, size, payload FROM manifests WHERE repository_id = @repository_id AND digest > @after ORDER BY digest LIMIT CAST(@n AS INTEGER);

-- name: CheckTags :many
SELECT t.repository_id, t.name, t.digest FROM tags t
WHERE NOT EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = t.repository_id AND m.digest = t.digest)
ORDER BY t.repository_id, t.name LIMIT CAST(@n AS INTEGER);

-- name: CheckLinks :many
SELECT l.repository_id, l.digest FROM blob_links l
WHERE NOT EXISTS (SELECT 1 FROM blobs b WHERE b.digest = l.digest)
ORDER BY l.repository_id, l.digest LIMIT CAST(@n AS INTEGER);

-- name: CheckReferences :many
SELECT r.repository_id, r.parent, r.child, r.kind FROM manifest_references r JOIN repositories p ON p.id = r.repository_id
WHERE p.upstream_id = 0 AND (
    (r.kind IN ('config', 'layer')
        AND NOT EXISTS (SELECT 1 FROM blob_links l WHERE l.repository_id = r.repository_id AND l.digest = r.child))
    OR (r.kind = 'manifest'
        AND NOT EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.repository_id AND m.digest = r.child)))
ORDER BY r.repository_id, r.parent, r.position LIMIT CAST(@n AS INTEGER);

-- name: CheckDoomed :many
SELECT d.storage_key FROM doomed_keys d WHERE EXISTS (SELECT 1 FROM blobs b WHERE b.storage_key = d.storage_key)
ORDER BY d.storage_key LIMIT CAST(@n AS INTEGER);

-- name: CheckUnlinked :many
SELECT b.digest FROM blobs b
WHERE NOT EXISTS (SELECT 1 FROM blob_links l WHERE l.digest = b.digest)
    AND NOT EXISTS (SELECT 1 FROM gc_candidates c WHERE c.kind = 'blob' AND c.repository_id = 0 AND c.digest = b.digest)
ORDER BY b.digest LIMIT CAST(@n AS INTEGER);

-- name: CheckCachedBytes :one
SELECT CAST((SELECT SUM(c.bytes) FROM cached_bytes c) AS BIGINT) AS kept, CAST(COALESCE(SUM(b.size), 0) AS BIGINT) AS counted FROM blobs b
WHERE EXISTS (SELECT 1 FROM blob_links l JOIN repositories r ON r.id = l.repository_id WHERE l.digest = b.digest AND r.upstream_id <> 0);
