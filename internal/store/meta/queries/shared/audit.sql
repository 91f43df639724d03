-- The audit trail: addresses, actors, batches of pulls, seals.

-- name: FindAddress :one
SELECT id FROM addresses WHERE actor_id = $1 AND month = $2 AND address = $3;

-- name: InsertAddress :execrows
INSERT INTO addresses (id, actor_id, month, address) VALUES ($1, $2, $3, $4) ON CONFLICT (actor_id, month, address) DO NOTHING;

-- name: FindPullAddress :one
SELECT id FROM pull_addresses WHERE actor_id = $1 AND month = $2 AND address = $3;

-- name: InsertPullAddress :execrows
INSERT INTO pull_addresses (id, actor_id, month, address) VALUES ($1, $2, $3, $4) ON CONFLICT (actor_id, month, address) DO NOTHING;

-- name: GetAddress :one
SELECT address FROM addresses WHERE id = $1;

-- name: GetPullAddress :one
SELECT address FROM pull_addresses WHERE id = $1;

-- name: EraseAddresses :exec
DELETE FROM addresses WHERE actor_id = $1;

-- name: ErasePullAddresses :exec
DELETE FROM pull_addresses WHERE actor_id = $1;

-- name: TrimAddresses :execrows
DELETE FROM addresses WHERE month < $1;

-- name: TrimPullAddresses :execrows
DELETE FROM pull_addresses WHERE month < $1;

-- name: PutActor :exec
INSERT INTO actors (id, kind, name, removed_at) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING;

-- name: GetActor :one
SELECT * FROM actors WHERE id = $1;

-- name: ActorsNamed :many
SELECT id FROM actors WHERE name = $1 ORDER BY id;

-- name: EraseActor :exec
DELETE FROM actors WHERE id = $1;

-- name: InsertPullBatch :execrows
INSERT INTO pull_batches (id, replica, first_at, last_at, events, payload, class, unsent) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING;

-- name: InsertPullBatchGroup :exec
INSERT INTO pull_batch_groups (group_id, batch_id) VALUES ($1, $2);

-- name: InsertPullBatchPrincipal :exec
INSERT INTO pull_batch_principals (principal_id, batch_id) VALUES ($1, $2);

-- name: ListPullBatches :many
SELECT id, first_at, last_at FROM pull_batches WHERE id <= $1 ORDER BY id DESC LIMIT $2;

-- name: ListGroupPullBatches :many
SELECT b.id, b.first_at, b.last_at FROM pull_batch_groups g JOIN pull_batches b ON b.id = g.batch_id
WHERE g.group_id = $1 AND g.batch_id <= $2 ORDER BY g.batch_id DESC LIMIT $3;

-- name: ListPrincipalPullBatches :many
SELECT b.id, b.first_at, b.last_at FROM pull_batch_principals p JOIN pull_batches b ON b.id = p.batch_id
WHERE p.principal_id = $1 AND p.batch_id <= $2 ORDER BY p.batch_id DESC LIMIT $3;

-- name: GetPullBatch :one
SELECT payload FROM pull_batches WHERE id = $1;

-- name: ListAllEvents :many
SELECT * FROM events WHERE id <= $1 ORDER BY id DESC LIMIT $2;

-- name: ListGroupEvents :many
SELECT * FROM events WHERE group_id = $1 AND id <= $2 ORDER BY id DESC LIMIT $3;

-- name: ListActorEvents :many
SELECT * FROM events WHERE actor_id = $1 AND id <= $2 ORDER BY id DESC LIMIT $3;

-- name: UnsealedEvents :many
SELECT * FROM events WHERE seal_id = 0 ORDER BY id LIMIT $1;

-- name: UnsealedPullBatches :many
SELECT * FROM pull_batches WHERE seal_id = 0 ORDER BY id LIMIT $1;

-- name: SealEvent :execrows
UPDATE events SET seal_id = $1 WHERE id = $2 AND seal_id = 0;

-- name: SealPullBatch :execrows
UPDATE pull_batches SET seal_id = $1 WHERE id = $2 AND seal_id = 0;

-- name: UnsentEvents :many
SELECT * FROM events WHERE unsent = 1 ORDER BY id LIMIT $1;

-- name: UnsentPullBatches :many
SELECT * FROM pull_batches WHERE unsent = 1 ORDER BY id LIMIT $1;

-- name: SentEvent :exec
UPDATE events SET unsent = 0 WHERE id = $1;

-- name: SentPullBatch :exec
UPDATE pull_batches SET unsent = 0 WHERE id = $1;

-- name: SealedEvents :many
SELECT * FROM events WHERE id >= sqlc.arg(first) AND id <= sqlc.arg(last) AND seal_id = sqlc.arg(seal_id) ORDER BY id;

-- name: SealedPullBatches :many
SELECT * FROM pull_batches WHERE id >= sqlc.arg(first) AND id <= sqlc.arg(last) AND seal_id = sqlc.arg(seal_id) ORDER BY id;

-- name: LastSeal :one
SELECT * FROM seals WHERE replica = $1 ORDER BY number DESC LIMIT 1;

-- name: LastPullSeal :one
SELECT * FROM pull_seals WHERE replica = $1 ORDER BY number DESC LIMIT 1;

-- name: InsertSeal :exec
INSERT INTO seals (id, replica, number, day, events, first_id, last_id, last_at, leaves, leaves_sum, previous, sum, key_id, signature, sealed_at, class)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16);

-- name: InsertPullSeal :exec
INSERT INTO pull_seals (id, replica, number, day, events, first_id, last_id, last_at, leaves, leaves_sum, previous, sum, key_id, signature, sealed_at, class)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16);

-- name: NextSeals :many
SELECT * FROM seals WHERE replica >= sqlc.arg(replica) AND (replica > sqlc.arg(replica) OR number > sqlc.arg(number))
ORDER BY replica, number LIMIT sqlc.arg(n);

-- name: NextPullSeals :many
SELECT * FROM pull_seals WHERE replica >= sqlc.arg(replica) AND (replica > sqlc.arg(replica) OR number > sqlc.arg(number))
ORDER BY replica, number LIMIT sqlc.arg(n);

-- name: OldSeals :many
SELECT * FROM seals WHERE dropped_at = 0 AND class = $1 AND last_at < $2 ORDER BY last_at LIMIT $3;

-- name: OldPullSeals :many
SELECT * FROM pull_seals WHERE dropped_at = 0 AND class = $1 AND last_at < $2 ORDER BY last_at LIMIT $3;

-- name: DropSeal :execrows
UPDATE seals SET dropped_at = $1, leaves = $2 WHERE id = $3;

-- name: DropPullSeal :execrows
UPDATE pull_seals SET dropped_at = $1, leaves = $2 WHERE id = $3;

-- name: DeleteSealedEvents :execrows
DELETE FROM events WHERE id >= sqlc.arg(first) AND id <= sqlc.arg(last) AND seal_id = sqlc.arg(seal_id);

-- name: DeleteSealedPullBatches :execrows
DELETE FROM pull_batches WHERE id >= sqlc.arg(first) AND id <= sqlc.arg(last) AND seal_id = sqlc.arg(seal_id);

-- name: DeletePullBatchGroups :exec
DELETE FROM pull_batch_groups WHERE batch_id = $1;

-- name: DeletePullBatchPrincipals :exec
DELETE FROM pull_batch_principals WHERE batch_id = $1;

-- name: AuditKeys :many
SELECT * FROM audit_keys ORDER BY id;

-- name: InsertAuditKey :exec
INSERT INTO audit_keys (id, public_key, private_key, created_at) VALUES ($1, $2, $3, $4);
