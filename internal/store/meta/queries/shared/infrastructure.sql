-- What the database needs for itself: replicas, the change feed, events, settings.

-- name: ListReplicas :many
SELECT * FROM replicas ORDER BY number;

-- name: InsertReplica :execrows
INSERT INTO replicas (number, id, host, version, started_at, heartbeat_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (number) DO NOTHING;

-- name: TakeReplica :execrows
UPDATE replicas SET id = $1, host = $2, version = $3, started_at = $4, heartbeat_at = $5
WHERE number = $6 AND id = $7 AND heartbeat_at = $8;

-- name: BeatReplica :execrows
UPDATE replicas SET heartbeat_at = $1 WHERE number = $2 AND id = $3;

-- name: ReleaseReplica :exec
UPDATE replicas SET id = '', heartbeat_at = $1 WHERE number = $2 AND id = $3;

-- name: InsertChange :one
INSERT INTO changes (group_id, kind, key, at) VALUES ($1, $2, $3, $4) RETURNING seq;

-- name: TrimChanges :execrows
DELETE FROM changes WHERE seq IN (SELECT c.seq FROM changes c WHERE c.at < $1 ORDER BY c.at LIMIT $2);

-- name: InsertEvent :exec
INSERT INTO events (id, group_id, kind, actor_id, subject, detail, request_id, at, actor_kind, token_id, address_id, decision_id, unsent)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: ListEvents :many
SELECT * FROM events WHERE group_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3;

-- name: GetSetting :one
SELECT value FROM settings WHERE name = $1;

-- name: PutSetting :exec
INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: InsertSetting :execrows
INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING;
