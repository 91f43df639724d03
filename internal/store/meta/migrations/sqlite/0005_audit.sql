-- +goose Up

-- The audit trail: docs/reference/audit.md says what it promises.

-- Who, from where, and why. Names and addresses stand in tables of their own, so that a person can be forgotten and the trail stays.
ALTER TABLE events ADD COLUMN actor_kind TEXT NOT NULL DEFAULT '';     -- user, robot, workload, operator, anonymous, server
ALTER TABLE events ADD COLUMN token_id BIGINT NOT NULL DEFAULT 0;      -- that the actor showed; 0 = none
ALTER TABLE events ADD COLUMN address_id BIGINT NOT NULL DEFAULT 0;    -- where it came from; 0 = from no network
ALTER TABLE events ADD COLUMN decision_id TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN seal_id BIGINT NOT NULL DEFAULT 0;       -- 0 = not sealed yet
ALTER TABLE events ADD COLUMN send_after BIGINT NOT NULL DEFAULT 0;    -- claimed for a sink until then; the largest number: sent
CREATE INDEX events_actor ON events (actor_id, id);
-- What is sealed or sent leaves these, so they stay small. A cursor would miss what commits late.
CREATE INDEX events_unsealed ON events (id) WHERE seal_id = 0;
CREATE INDEX events_unsent ON events (send_after, id) WHERE send_after < 9223372036854775807;

-- Where an actor came from in a month. They go with the actor, and when they are old.
CREATE TABLE addresses (
    id       INTEGER PRIMARY KEY,
    actor_id BIGINT NOT NULL,
    month    BIGINT NOT NULL,              -- since year 0
    address  TEXT NOT NULL,
    UNIQUE (actor_id, month, address)
);
CREATE INDEX addresses_month ON addresses (month);

-- What accounts were called that are gone.
CREATE TABLE actors (
    id         INTEGER PRIMARY KEY,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,           -- of robots and workloads with the group before it
    removed_at BIGINT NOT NULL
);
CREATE INDEX actors_name ON actors (name, id);

-- Closed ranges of events of one replica and day, each chained to the one before it.
CREATE TABLE seals (
    id         INTEGER PRIMARY KEY,
    replica    BIGINT NOT NULL,
    number     BIGINT NOT NULL,            -- within the chain of the replica, from 1
    day        TEXT NOT NULL,              -- 2006-01-02, UTC
    events     BIGINT NOT NULL,
    first_id   BIGINT NOT NULL,
    last_id    BIGINT NOT NULL,
    last_at    BIGINT NOT NULL,
    leaves     BLOB NOT NULL,              -- for each row its id, 8 bytes, and its SHA-256; empty once the rows were dropped
    leaves_sum BLOB NOT NULL,              -- SHA-256 of them
    previous   BLOB NOT NULL,              -- sum of the seal before it
    sum        BLOB NOT NULL,              -- SHA-256 of all of the above
    key_id     BIGINT NOT NULL,
    signature  BLOB NOT NULL,              -- Ed25519 of sum
    sealed_at  BIGINT NOT NULL,
    dropped_at BIGINT NOT NULL DEFAULT 0,  -- 0 = the rows are there
    UNIQUE (replica, number)
);
CREATE INDEX seals_kept ON seals (last_at) WHERE dropped_at = 0;

CREATE TABLE audit_keys (
    id          INTEGER PRIMARY KEY,
    public_key  BLOB NOT NULL,             -- Ed25519
    private_key BLOB NOT NULL,             -- sealed
    created_at  BIGINT NOT NULL
);

-- +goose Down
-- Weir never migrates down: restore a backup.
