-- Definitions: what people configure. Lists take an inclusive range of group ids: one query reads one group or all of them.

-- name: ListGroups :many
SELECT * FROM groups ORDER BY name;

-- name: ListGroupsAfter :many
SELECT * FROM groups WHERE name > @after ORDER BY name LIMIT CAST(@n AS INTEGER);

-- name: ListGroupsBefore :many
SELECT * FROM groups WHERE name < @before ORDER BY name DESC LIMIT CAST(@n AS INTEGER);

-- name: GetGroup :one
SELECT * FROM groups WHERE id = $1;

-- name: GetGroupByName :one
SELECT * FROM groups WHERE name = $1;

-- name: InsertGroup :exec
INSERT INTO groups (id, name, enabled, generation, created_at, updated_at) VALUES ($1, $2, $3, 1, $4, $5);

-- name: UpdateGroup :execrows
UPDATE groups SET name = $1, enabled = $2, updated_at = $3 WHERE id = $4;

-- name: BumpGeneration :execrows
UPDATE groups SET generation = generation + 1, updated_at = $1 WHERE id = $2;

-- name: DeleteGroup :execrows
DELETE FROM groups WHERE id = $1;

-- name: ListGroupContent :many
SELECT r.name, r.upstream_id FROM repositories r WHERE r.group_id = @group_id AND (r.upstream_id <> 0
    OR EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.id)
    OR EXISTS (SELECT 1 FROM blob_links l WHERE l.repository_id = r.id)
    OR EXISTS (SELECT 1 FROM uploads u WHERE u.repository_id = r.id))
ORDER BY r.upstream_id, r.epoch, r.name LIMIT CAST(@n AS INTEGER);

-- name: DeleteGroupCandidates :exec
DELETE FROM gc_candidates WHERE kind IN ('link', 'manifest', 'repository')
    AND repository_id IN (SELECT r.id FROM repositories r WHERE r.group_id = $1);

-- name: DeleteGroupAdmissions :exec
DELETE FROM admissions WHERE repository_id IN (SELECT r.id FROM repositories r WHERE r.group_id = $1);

-- name: DeleteGroupHistory :exec
DELETE FROM tag_history WHERE repository_id IN (SELECT r.id FROM repositories r WHERE r.group_id = $1);

-- name: DeleteGroupRepositories :exec
DELETE FROM repositories WHERE group_id = $1;

-- name: ListCredentials :many
SELECT * FROM credentials WHERE group_id BETWEEN $1 AND $2 ORDER BY group_id, name;

-- name: InsertCredential :exec
INSERT INTO credentials (id, group_id, name, kind, username, secret, fingerprint, hosts, version, previous_secret, previous_version, previous_until,
    created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: UpdateCredential :execrows
UPDATE credentials
SET name = $1, kind = $2, username = $3, secret = $4, fingerprint = $5, hosts = $6, version = $7,
    previous_secret = $8, previous_version = $9, previous_until = $10, updated_at = $11
WHERE id = $12 AND group_id = $13;

-- name: CountCredentialUse :one
SELECT count(*) FROM upstreams WHERE credential_id = $1;

-- name: DeleteCredential :execrows
DELETE FROM credentials WHERE id = $1 AND group_id = $2;

-- name: ListUpstreams :many
SELECT * FROM upstreams WHERE group_id BETWEEN $1 AND $2 ORDER BY group_id, name;

-- name: InsertUpstream :exec
INSERT INTO upstreams (id, group_id, name, url, local, credential_id, epoch, enabled, on_unknown, on_upstream_delete, freshness,
    settings, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: UpdateUpstream :execrows
UPDATE upstreams
SET name = $1, url = $2, local = $3, credential_id = $4, epoch = $5, enabled = $6, on_unknown = $7, on_upstream_delete = $8,
    freshness = $9, settings = $10, updated_at = $11
WHERE id = $12 AND group_id = $13;

-- name: CountUpstreamUse :one
SELECT count(*) FROM members WHERE upstream_id = $1;

-- name: DeleteUpstream :execrows
DELETE FROM upstreams WHERE id = $1 AND group_id = $2;

-- name: ListRegistries :many
SELECT * FROM registries WHERE group_id BETWEEN $1 AND $2 ORDER BY group_id, name;

-- name: InsertRegistry :exec
INSERT INTO registries (id, group_id, name, format, enabled, anonymous_pull, digest_first, strict_precedence, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: UpdateRegistry :execrows
UPDATE registries
SET name = $1, format = $2, enabled = $3, anonymous_pull = $4, digest_first = $5, strict_precedence = $6, updated_at = $7
WHERE id = $8 AND group_id = $9;

-- name: CountRegistryUse :one
SELECT count(*) FROM host_bindings WHERE prefix = $1;

-- name: DeleteRegistry :execrows
DELETE FROM registries WHERE id = $1 AND group_id = $2;

-- name: ListMembers :many
SELECT m.registry_id, m.position, m.upstream_id, m.enabled, m.claims
FROM members m
JOIN registries r ON r.id = m.registry_id
WHERE r.group_id BETWEEN $1 AND $2
ORDER BY m.registry_id, m.position;

-- name: InsertMember :exec
INSERT INTO members (registry_id, position, upstream_id, enabled, claims) VALUES ($1, $2, $3, $4, $5);

-- name: DeleteMembers :exec
DELETE FROM members WHERE registry_id = $1;

-- name: ListRules :many
SELECT * FROM rules WHERE group_id BETWEEN $1 AND $2 ORDER BY group_id, upstream_id, registry_id, position, id;

-- name: InsertRule :exec
INSERT INTO rules (id, group_id, upstream_id, registry_id, only_upstream_id, position, action, pattern)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: DeleteUpstreamRules :exec
DELETE FROM rules WHERE group_id = $1 AND upstream_id = $2;

-- name: DeleteRegistryRules :exec
DELETE FROM rules WHERE group_id = $1 AND registry_id = $2;

-- name: ListHostedPrefixes :many
SELECT * FROM hosted_prefixes WHERE group_id BETWEEN $1 AND $2 ORDER BY group_id, prefix;

-- name: UpsertHostedPrefix :exec
INSERT INTO hosted_prefixes (id, group_id, prefix, anonymous_pull, allow_sparse_index) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (group_id, prefix) DO UPDATE
SET anonymous_pull = excluded.anonymous_pull, allow_sparse_index = excluded.allow_sparse_index;

-- name: DeleteHostedPrefix :execrows
DELETE FROM hosted_prefixes WHERE group_id = $1 AND prefix = $2;

-- name: ListHostBindings :many
SELECT * FROM host_bindings WHERE group_id BETWEEN $1 AND $2 ORDER BY group_id, host;

-- name: UpsertHostBinding :execrows
INSERT INTO host_bindings (host, group_id, prefix, mirror, networks) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (host) DO UPDATE
SET prefix = excluded.prefix, mirror = excluded.mirror, networks = excluded.networks
WHERE host_bindings.group_id = excluded.group_id;

-- name: DeleteHostBinding :execrows
DELETE FROM host_bindings WHERE group_id = $1 AND host = $2;

-- name: HostedRepositoryBelow :one
SELECT name FROM repositories WHERE group_id = $1 AND upstream_id = 0 AND epoch = 0 AND (name = $2 OR (name > $3 AND name < $4)) ORDER BY name LIMIT 1;

-- name: SetStaleBefore :execrows
UPDATE upstreams SET stale_before = $1 WHERE id = $2;
