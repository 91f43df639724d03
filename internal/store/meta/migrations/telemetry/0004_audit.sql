-- +goose Up

-- Pulls, refusals and logins: each row holds those of a second, compressed.
CREATE TABLE pull_batches (
    id         INTEGER PRIMARY KEY,
    replica    BIGINT NOT NULL,
    first_at   BIGINT NOT NULL,
    last_at    BIGINT NOT NULL,
    events     BIGINT NOT NULL,
    payload    BLOB NOT NULL,              -- see event/audit, batch.go
    seal_id    BIGINT NOT NULL DEFAULT 0,  -- 0 = not sealed yet
    send_after BIGINT NOT NULL DEFAULT 0   -- claimed for a sink until then; the largest number: sent
);
CREATE INDEX pull_batches_last ON pull_batches (last_at);
CREATE INDEX pull_batches_unsealed ON pull_batches (id) WHERE seal_id = 0;
CREATE INDEX pull_batches_unsent ON pull_batches (send_after, id) WHERE send_after < 9223372036854775807;

CREATE TABLE pull_batch_groups (
    group_id BIGINT NOT NULL,
    batch_id BIGINT NOT NULL,
    PRIMARY KEY (group_id, batch_id)
) WITHOUT ROWID;
CREATE INDEX pull_batch_groups_batch ON pull_batch_groups (batch_id);

CREATE TABLE pull_batch_principals (
    principal_id BIGINT NOT NULL,
    batch_id     BIGINT NOT NULL,
    PRIMARY KEY (principal_id, batch_id)
) WITHOUT ROWID;
CREATE INDEX pull_batch_principals_batch ON pull_batch_principals (batch_id);

CREATE TABLE pull_addresses (
    id       INTEGER PRIMARY KEY,
    actor_id BIGINT NOT NULL,
    month    BIGINT NOT NULL,
    address  TEXT NOT NULL,
    UNIQUE (actor_id, month, address)
);
CREATE INDEX pull_addresses_month ON pull_addresses (month);

-- As seals, of pull_batches.
CREATE TABLE pull_seals (
    id         INTEGER PRIMARY KEY,
    replica    BIGINT NOT NULL,
    number     BIGINT NOT NULL,
    day        TEXT NOT NULL,
    events     BIGINT NOT NULL,            -- rows of pull_batches
    first_id   BIGINT NOT NULL,
    last_id    BIGINT NOT NULL,
    last_at    BIGINT NOT NULL,
    leaves     BLOB NOT NULL,
    leaves_sum BLOB NOT NULL,
    previous   BLOB NOT NULL,
    sum        BLOB NOT NULL,
    key_id     BIGINT NOT NULL,
    signature  BLOB NOT NULL,
    sealed_at  BIGINT NOT NULL,
    dropped_at BIGINT NOT NULL DEFAULT 0,
    UNIQUE (replica, number)
);
CREATE INDEX pull_seals_kept ON pull_seals (last_at) WHERE dropped_at = 0;

-- +goose Down
-- Weir never migrates down: restore a backup.
