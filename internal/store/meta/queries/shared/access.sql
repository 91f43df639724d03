-- Users, personal tokens, grants and signing keys. Package access reads users, grants and keys as a whole into memory.

-- name: AccessUsers :many
SELECT * FROM users ORDER BY id;

-- name: AccessUserByName :one
SELECT * FROM users WHERE name = $1;

-- name: InsertUser :exec
INSERT INTO users (id, name, password_hash, disabled, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6);

-- name: UpdateUserPassword :execrows
UPDATE users SET password_hash = $1, updated_at = $2 WHERE id = $3;

-- name: UpdateUserDisabled :execrows
UPDATE users SET disabled = $1, updated_at = $2 WHERE id = $3;

-- name: DeleteUser :execrows
DELETE FROM users WHERE id = $1;

-- name: AccessGrants :many
SELECT * FROM grants ORDER BY user_id, group_id, path;

-- name: PutGrant :exec
INSERT INTO grants (id, user_id, group_id, path, role) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (user_id, group_id, path) DO UPDATE SET role = excluded.role;

-- name: DeleteGrant :execrows
DELETE FROM grants WHERE user_id = $1 AND group_id = $2 AND path = $3;

-- name: DeleteUserGrants :exec
DELETE FROM grants WHERE user_id = $1;

-- name: DeleteGroupGrants :exec
DELETE FROM grants WHERE group_id = $1;

-- name: CountAdmins :one
SELECT count(*) FROM grants JOIN users ON users.id = grants.user_id
WHERE grants.group_id = 0 AND grants.role = 'admin' AND NOT users.disabled;

-- name: AccessGroups :many
SELECT id, name FROM groups;

-- name: InsertToken :exec
INSERT INTO tokens (id, user_id, name, hash, scope, created_at, expires_at, last_used_at, revoked_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0);

-- name: ReleaseTokenName :exec
UPDATE tokens SET name = name || ' (' || id || ')' WHERE user_id = $1 AND name = $2 AND revoked_at <> 0;

-- name: TokenByHash :one
SELECT * FROM tokens WHERE hash = $1;

-- name: TokenByID :one
SELECT * FROM tokens WHERE id = $1;

-- name: UserTokens :many
SELECT * FROM tokens WHERE user_id = $1 ORDER BY id;

-- name: RevokeToken :execrows
UPDATE tokens SET revoked_at = $1 WHERE id = $2 AND user_id = $3 AND revoked_at = 0;

-- name: DeleteUserTokens :exec
DELETE FROM tokens WHERE user_id = $1;

-- name: TrimTokens :execrows
DELETE FROM tokens WHERE (revoked_at <> 0 AND revoked_at < $1) OR (expires_at <> 0 AND expires_at < $1);

-- name: UseToken :exec
UPDATE tokens SET last_used_at = $1 WHERE id = $2 AND last_used_at < $1;

-- name: AccessSigningKeys :many
SELECT * FROM signing_keys ORDER BY id DESC;

-- name: InsertSigningKey :exec
INSERT INTO signing_keys (id, algorithm, public_key, private_key, created_at, retired_at) VALUES ($1, $2, $3, $4, $5, 0);

-- name: RetireSigningKeys :exec
UPDATE signing_keys SET retired_at = $1 WHERE retired_at = 0 AND id <> $2;

-- name: DeleteSigningKeys :exec
DELETE FROM signing_keys WHERE retired_at <> 0 AND retired_at < $1;

-- name: CountUser :one
SELECT count(*) FROM users WHERE id = $1;

-- name: CountTokenName :one
SELECT count(*) FROM tokens WHERE user_id = $1 AND name = $2;
