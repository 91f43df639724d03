-- Accounts, tokens, grants, roles, trust rules and signing keys. Package access reads all but the tokens as a whole into memory.

-- name: AccessAccounts :many
SELECT * FROM accounts ORDER BY id;

-- name: AccessUsers :many
SELECT * FROM accounts WHERE kind = 'user' ORDER BY id;

-- name: AccessAccountByName :one
SELECT * FROM accounts WHERE group_id = $1 AND name = $2;

-- name: GetAccount :one
SELECT * FROM accounts WHERE id = $1;

-- name: InsertAccount :exec
INSERT INTO accounts (id, kind, group_id, name, password_hash, disabled, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: UpdateAccountPassword :execrows
UPDATE accounts SET password_hash = $1, updated_at = $2 WHERE id = $3 AND kind = 'user';

-- name: UpdateAccountDisabled :execrows
UPDATE accounts SET disabled = $1, updated_at = $2 WHERE id = $3;

-- name: DeleteAccount :execrows
DELETE FROM accounts WHERE id = $1;

-- name: CountAccount :one
SELECT count(*) FROM accounts WHERE id = $1;

-- name: DeleteGroupAccounts :exec
DELETE FROM accounts WHERE group_id = $1;

-- name: AccessGrants :many
SELECT * FROM grants ORDER BY account_id, group_id, path, origin;

-- name: PutGrant :exec
INSERT INTO grants (id, account_id, group_id, path, role, origin) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (account_id, group_id, path, origin) DO UPDATE SET role = excluded.role;

-- name: DeleteGrant :execrows
DELETE FROM grants WHERE account_id = $1 AND group_id = $2 AND path = $3 AND origin = $4;

-- name: DeleteAccountGrants :exec
DELETE FROM grants WHERE account_id = $1;

-- name: DeleteGroupGrants :exec
DELETE FROM grants WHERE group_id = $1;

-- name: DeleteGroupAccountGrants :exec
DELETE FROM grants WHERE account_id IN (SELECT id FROM accounts WHERE accounts.group_id = $1);

-- name: CountAdmins :one
SELECT count(DISTINCT grants.account_id) FROM grants JOIN accounts ON accounts.id = grants.account_id
WHERE grants.group_id = 0 AND grants.role = 'admin' AND NOT accounts.disabled AND accounts.kind = 'user';

-- name: AccessGroups :many
SELECT id, name FROM groups;

-- name: AccessRoles :many
SELECT * FROM roles ORDER BY group_id, name;

-- name: PutRole :exec
INSERT INTO roles (id, group_id, name, actions, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)
ON CONFLICT (group_id, name) DO UPDATE SET actions = excluded.actions, updated_at = excluded.updated_at;

-- name: DeleteRole :execrows
DELETE FROM roles WHERE group_id = $1 AND name = $2;

-- name: DeleteGroupRoles :exec
DELETE FROM roles WHERE group_id = $1;

-- name: AccessTrustRules :many
SELECT * FROM trust_rules ORDER BY account_id;

-- name: PutTrustRule :exec
INSERT INTO trust_rules (account_id, issuer, audience, conditions, keys, lifetime, single_use) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (account_id) DO UPDATE SET issuer = excluded.issuer, audience = excluded.audience, conditions = excluded.conditions,
    keys = excluded.keys, lifetime = excluded.lifetime, single_use = excluded.single_use;

-- name: DeleteTrustRule :exec
DELETE FROM trust_rules WHERE account_id = $1;

-- name: DeleteGroupTrustRules :exec
DELETE FROM trust_rules WHERE account_id IN (SELECT id FROM accounts WHERE accounts.group_id = $1);

-- name: InsertUsedToken :execrows
INSERT INTO used_tokens (hash, expires_at) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING;

-- name: TrimUsedTokens :execrows
DELETE FROM used_tokens WHERE expires_at < $1;

-- name: GetIdentity :one
SELECT * FROM identities WHERE issuer = $1 AND subject = $2;

-- name: PutIdentity :exec
INSERT INTO identities (issuer, subject, account_id, created_at, last_used_at) VALUES ($1, $2, $3, $4, $4)
ON CONFLICT (issuer, subject) DO UPDATE SET last_used_at = excluded.last_used_at;

-- name: DeleteAccountIdentities :exec
DELETE FROM identities WHERE account_id = $1;

-- name: InsertToken :exec
INSERT INTO tokens (id, account_id, name, hash, scope, created_at, expires_at, last_used_at, revoked_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0);

-- name: ReleaseTokenName :exec
UPDATE tokens SET name = name || ' (' || id || ')' WHERE account_id = $1 AND name = $2 AND revoked_at <> 0;

-- name: SucceedToken :execrows
UPDATE tokens SET name = name || ' (' || id || ')', expires_at = $1, revoked_at = $2 WHERE id = $3 AND account_id = $4 AND revoked_at = 0;

-- name: TokenByHash :one
SELECT * FROM tokens WHERE hash = $1;

-- name: TokenByID :one
SELECT * FROM tokens WHERE id = $1;

-- name: AccountTokens :many
SELECT * FROM tokens WHERE account_id = $1 ORDER BY id;

-- name: RevokeToken :execrows
UPDATE tokens SET revoked_at = $1 WHERE id = $2 AND account_id = $3 AND revoked_at = 0;

-- name: DeleteAccountTokens :exec
DELETE FROM tokens WHERE account_id = $1;

-- name: DeleteGroupTokens :exec
DELETE FROM tokens WHERE account_id IN (SELECT id FROM accounts WHERE accounts.group_id = $1);

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

-- name: CountTokenName :one
SELECT count(*) FROM tokens WHERE account_id = $1 AND name = $2;

-- name: InsertSession :exec
INSERT INTO sessions (id, hash, account_id, data, address, user_agent, created_at, last_used_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8);

-- name: SessionByHash :one
SELECT * FROM sessions WHERE hash = $1;

-- name: TouchSession :execrows
UPDATE sessions SET data = $1, last_used_at = $2, expires_at = $3 WHERE hash = $4;

-- name: AccountSessions :many
SELECT * FROM sessions WHERE account_id = $1 AND expires_at > $2 ORDER BY id;

-- name: DeleteSessionByHash :exec
DELETE FROM sessions WHERE hash = $1;

-- name: DeleteSession :execrows
DELETE FROM sessions WHERE id = $1 AND account_id = $2;

-- name: DeleteAccountSessions :exec
DELETE FROM sessions WHERE account_id = $1;

-- name: TrimSessions :execrows
DELETE FROM sessions WHERE expires_at < $1;

-- name: AccountGrants :many
SELECT * FROM grants WHERE account_id = $1 ORDER BY group_id, path, origin;

-- name: GetTrustRule :one
SELECT * FROM trust_rules WHERE account_id = $1;
