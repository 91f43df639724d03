-- +goose Up

-- Users become accounts, so that grants, tokens and events name people, robots and workloads by one id. Ids stay. SQLite cannot
-- drop a constraint: the three tables are made anew.
CREATE TABLE accounts (
    id            INTEGER PRIMARY KEY,
    name          TEXT NOT NULL,
    password_hash TEXT NOT NULL,           -- argon2id, PHC string; empty = no password
    disabled      BOOLEAN NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL,
    kind          TEXT NOT NULL DEFAULT 'user',   -- user, robot, workload (of a trust rule)
    group_id      BIGINT NOT NULL DEFAULT 0,      -- that robots and workloads belong to; 0 for users
    UNIQUE (group_id, name)
);
INSERT INTO accounts (id, name, password_hash, disabled, created_at, updated_at)
SELECT id, name, password_hash, disabled, created_at, updated_at FROM users;

CREATE TABLE new_tokens (
    id           INTEGER PRIMARY KEY,
    account_id   BIGINT NOT NULL REFERENCES accounts (id),
    name         TEXT NOT NULL,
    hash         BLOB NOT NULL UNIQUE,     -- SHA-256 of the token
    scope        TEXT NOT NULL,            -- JSON ceiling; empty = everything the account may
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,          -- 0 = never
    last_used_at BIGINT NOT NULL,
    revoked_at   BIGINT NOT NULL,          -- 0 = not
    UNIQUE (account_id, name)
);
INSERT INTO new_tokens SELECT id, user_id, name, hash, scope, created_at, expires_at, last_used_at, revoked_at FROM tokens;

CREATE TABLE new_grants (
    id         INTEGER PRIMARY KEY,
    account_id BIGINT NOT NULL REFERENCES accounts (id),
    group_id   BIGINT NOT NULL,            -- 0 = the instance
    path       TEXT NOT NULL,              -- below the group; empty = all of it
    role       TEXT NOT NULL,              -- reader, developer, maintainer, owner, admin, or one of the table roles
    origin     TEXT NOT NULL DEFAULT '',   -- empty = given by people; else the sign-in provider that maps it
    UNIQUE (account_id, group_id, path, origin)
);
INSERT INTO new_grants (id, account_id, group_id, path, role) SELECT id, user_id, group_id, path, role FROM grants;

DROP TABLE tokens;
DROP TABLE grants;
DROP TABLE users;
ALTER TABLE new_tokens RENAME TO tokens;
ALTER TABLE new_grants RENAME TO grants;

-- Roles that people made, beside the built-in ones. Grants hold their names.
CREATE TABLE roles (
    id         INTEGER PRIMARY KEY,
    group_id   BIGINT NOT NULL,            -- 0 = the instance
    name       TEXT NOT NULL,
    actions    TEXT NOT NULL,              -- JSON list
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (group_id, name)
);

-- What a token of a foreign issuer must have to be the account. Name, group, and whether it is enabled, are the account's.
CREATE TABLE trust_rules (
    account_id INTEGER PRIMARY KEY REFERENCES accounts (id),
    issuer     TEXT NOT NULL,
    audience   TEXT NOT NULL,
    conditions TEXT NOT NULL,              -- JSON list of {claim, equals} or {claim, matches}
    keys       TEXT NOT NULL,              -- JWKS; empty = the issuer's own, found by discovery
    lifetime   BIGINT NOT NULL,            -- of the tokens it gives, in seconds
    single_use BOOLEAN NOT NULL
);

-- Tokens that were exchanged and must not be again.
CREATE TABLE used_tokens (
    hash       BLOB PRIMARY KEY,           -- SHA-256 of issuer and jti
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX used_tokens_expires ON used_tokens (expires_at);

-- Who a user is elsewhere.
CREATE TABLE identities (
    issuer       TEXT NOT NULL,
    subject      TEXT NOT NULL,
    account_id   BIGINT NOT NULL REFERENCES accounts (id),
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
) WITHOUT ROWID;
CREATE INDEX identities_account ON identities (account_id);

-- Logins of browsers.
CREATE TABLE sessions (
    id           INTEGER PRIMARY KEY,
    hash         BLOB NOT NULL UNIQUE,     -- SHA-256 of the cookie
    account_id   BIGINT NOT NULL REFERENCES accounts (id),
    data         BLOB NOT NULL,
    address      TEXT NOT NULL,            -- of the client that logged in
    user_agent   TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,          -- exact to a minute
    expires_at   BIGINT NOT NULL           -- unless it is used before
);
CREATE INDEX sessions_account ON sessions (account_id, id);
CREATE INDEX sessions_expires ON sessions (expires_at);

-- +goose Down
-- Weir never migrates down: restore a backup.
