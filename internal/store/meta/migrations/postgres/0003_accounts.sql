-- +goose Up

-- Users become accounts, so that grants, tokens and events name people, robots and workloads by one id. Ids stay.
ALTER TABLE users RENAME TO accounts;
ALTER TABLE accounts ADD COLUMN kind TEXT NOT NULL DEFAULT 'user';   -- user, robot, workload (of a trust rule)
ALTER TABLE accounts ADD COLUMN group_id BIGINT NOT NULL DEFAULT 0;  -- that robots and workloads belong to; 0 for users
ALTER TABLE accounts DROP CONSTRAINT users_name_key;
ALTER TABLE accounts ADD CONSTRAINT accounts_name UNIQUE (group_id, name);
ALTER TABLE tokens RENAME COLUMN user_id TO account_id;
ALTER TABLE grants RENAME COLUMN user_id TO account_id;
ALTER TABLE grants ADD COLUMN origin TEXT NOT NULL DEFAULT '';       -- empty = given by people; else the sign-in provider that maps it
ALTER TABLE grants DROP CONSTRAINT grants_user_id_group_id_path_key;
ALTER TABLE grants ADD CONSTRAINT grants_place UNIQUE (account_id, group_id, path, origin);

-- Roles that people made, beside the built-in ones. Grants hold their names.
CREATE TABLE roles (
    id         BIGINT PRIMARY KEY,
    group_id   BIGINT NOT NULL,            -- 0 = the instance
    name       TEXT COLLATE "C" NOT NULL,
    actions    TEXT NOT NULL,              -- JSON list
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (group_id, name)
);

-- What a token of a foreign issuer must have to be the account. Name, group, and whether it is enabled, are the account's.
CREATE TABLE trust_rules (
    account_id BIGINT PRIMARY KEY REFERENCES accounts (id),
    issuer     TEXT NOT NULL,
    audience   TEXT NOT NULL,
    conditions TEXT NOT NULL,              -- JSON list of {claim, equals} or {claim, matches}
    keys       TEXT NOT NULL,              -- JWKS; empty = the issuer's own, found by discovery
    lifetime   BIGINT NOT NULL,            -- of the tokens it gives, in seconds
    single_use BOOLEAN NOT NULL
);

-- Tokens that were exchanged and must not be again.
CREATE TABLE used_tokens (
    hash       BYTEA PRIMARY KEY,          -- SHA-256 of issuer and jti
    expires_at BIGINT NOT NULL
);
CREATE INDEX used_tokens_expires ON used_tokens (expires_at);

-- Who a user is elsewhere.
CREATE TABLE identities (
    issuer       TEXT COLLATE "C" NOT NULL,
    subject      TEXT COLLATE "C" NOT NULL,
    account_id   BIGINT NOT NULL REFERENCES accounts (id),
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_account ON identities (account_id);

-- Logins of browsers.
CREATE TABLE sessions (
    id           BIGINT PRIMARY KEY,
    hash         BYTEA NOT NULL UNIQUE,    -- SHA-256 of the cookie
    account_id   BIGINT NOT NULL REFERENCES accounts (id),
    data         BYTEA NOT NULL,
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
