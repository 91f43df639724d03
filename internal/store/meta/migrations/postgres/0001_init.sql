-- +goose Up

-- Definitions: what people configure. Optional references are 0, never NULL. Times are microseconds since 1970 (UTC).

CREATE TABLE groups (
    id         BIGINT PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL UNIQUE,
    enabled    BOOLEAN NOT NULL,           -- virtual registries of the group on or off
    generation BIGINT NOT NULL,            -- grows with every change of configuration; part of negative cache keys
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE credentials (
    id          BIGINT PRIMARY KEY,
    group_id    BIGINT NOT NULL REFERENCES groups (id),
    name        TEXT COLLATE "C" NOT NULL,
    kind        TEXT NOT NULL,             -- static, …
    username    TEXT NOT NULL,
    secret      BYTEA NOT NULL,            -- sealed; associated data names table, row, group, field and version
    fingerprint BYTEA NOT NULL,            -- keyed fingerprint of the secret, to see whether it changed
    hosts       TEXT NOT NULL,             -- JSON list of hosts it may be sent to
    version     BIGINT NOT NULL,           -- grows with every rotation
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    UNIQUE (group_id, name)
);

CREATE TABLE upstreams (
    id                 BIGINT PRIMARY KEY,
    group_id           BIGINT NOT NULL REFERENCES groups (id),
    name               TEXT COLLATE "C" NOT NULL,
    url                TEXT NOT NULL,      -- remote registry; empty for a local upstream
    local              TEXT NOT NULL,      -- "<group>/<prefix>" of hosted repositories; empty for a remote one
    credential_id      BIGINT NOT NULL,
    epoch              BIGINT NOT NULL,    -- changes with host, path or credential identity; older entries are not served
    enabled            BOOLEAN NOT NULL,
    on_unknown         TEXT NOT NULL,      -- continue, stop
    on_upstream_delete TEXT NOT NULL,      -- serve, refuse
    freshness          TEXT NOT NULL,      -- JSON {default, classes}
    settings           TEXT NOT NULL,      -- JSON of the rest: timeouts, ca, concurrency
    stale_before       BIGINT NOT NULL DEFAULT 0, -- references confirmed earlier are stale, whatever their freshness
    created_at         BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL,
    UNIQUE (group_id, name)
);

CREATE TABLE registries (
    id                BIGINT PRIMARY KEY,
    group_id          BIGINT NOT NULL REFERENCES groups (id),
    name              TEXT COLLATE "C" NOT NULL,
    format            TEXT NOT NULL,
    enabled           BOOLEAN NOT NULL,
    anonymous_pull    TEXT NOT NULL,       -- no, yes, loopback (only while the server is private to its machine)
    digest_first      TEXT NOT NULL,       -- deny, allow
    strict_precedence BOOLEAN NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    UNIQUE (group_id, name)
);

CREATE TABLE members (
    registry_id BIGINT NOT NULL REFERENCES registries (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    upstream_id BIGINT NOT NULL REFERENCES upstreams (id),
    enabled     BOOLEAN NOT NULL,
    claims      TEXT NOT NULL,             -- JSON list of patterns
    PRIMARY KEY (registry_id, position),
    UNIQUE (registry_id, upstream_id)
);

CREATE TABLE rules (
    id               BIGINT PRIMARY KEY,
    group_id         BIGINT NOT NULL REFERENCES groups (id),
    upstream_id      BIGINT NOT NULL,      -- rule on an upstream, else 0
    registry_id      BIGINT NOT NULL,      -- rule on a registry, else 0
    only_upstream_id BIGINT NOT NULL,      -- on a registry: only for this member, else 0
    position         INTEGER NOT NULL,
    action           TEXT NOT NULL,        -- allow, deny
    pattern          TEXT NOT NULL
);
CREATE INDEX rules_group ON rules (group_id);

CREATE TABLE hosted_prefixes (
    id                 BIGINT PRIMARY KEY,
    group_id           BIGINT NOT NULL REFERENCES groups (id),
    prefix             TEXT COLLATE "C" NOT NULL, -- path below the group, empty = all of it; the longest match decides
    anonymous_pull     BOOLEAN NOT NULL,
    allow_sparse_index BOOLEAN NOT NULL,
    UNIQUE (group_id, prefix)
);

CREATE TABLE host_bindings (
    host       TEXT COLLATE "C" PRIMARY KEY, -- host or host:port, lower case
    group_id   BIGINT NOT NULL REFERENCES groups (id),
    prefix     TEXT NOT NULL,              -- "<group>/<registry>" put before the name
    mirror     BOOLEAN NOT NULL,
    networks   TEXT NOT NULL               -- JSON list of CIDR; empty = any client
);

-- Content: hosted and cached alike. Digests are one byte of algorithm and the raw sum.

CREATE TABLE repositories (
    id          BIGINT PRIMARY KEY,
    group_id    BIGINT NOT NULL REFERENCES groups (id),
    upstream_id BIGINT NOT NULL,           -- 0 = hosted
    epoch       BIGINT NOT NULL,           -- of the upstream; 0 = hosted
    format      TEXT NOT NULL,
    name        TEXT COLLATE "C" NOT NULL, -- hosted: below the group; cached: the upstream's name
    created_at  BIGINT NOT NULL,
    UNIQUE (group_id, upstream_id, epoch, name)
);

CREATE TABLE blobs (
    digest      BYTEA PRIMARY KEY,
    size        BIGINT NOT NULL,
    storage_key TEXT NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE TABLE blob_links (
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    digest        BYTEA NOT NULL REFERENCES blobs (digest),
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest)
);
CREATE INDEX blob_links_digest ON blob_links (digest);

CREATE TABLE manifests (
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    digest        BYTEA NOT NULL,
    media_type    TEXT NOT NULL,
    artifact_type TEXT NOT NULL,
    size          BIGINT NOT NULL,         -- of the payload
    payload       BYTEA NOT NULL,          -- byte for byte
    subject       BYTEA,
    config_digest BYTEA,
    total_size    BIGINT NOT NULL,         -- payload, config and layers
    platform      TEXT NOT NULL,           -- os/arch[/variant], known when the config is here
    image_created BIGINT NOT NULL,
    labels        TEXT NOT NULL,           -- JSON of the config's labels
    annotations   TEXT NOT NULL,           -- JSON
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest)
);
CREATE INDEX manifests_subject ON manifests (repository_id, subject, digest) WHERE subject IS NOT NULL;
CREATE INDEX manifests_config ON manifests (repository_id, config_digest) WHERE config_digest IS NOT NULL;

CREATE TABLE manifest_references (
    repository_id BIGINT NOT NULL,
    parent        BYTEA NOT NULL,
    position      INTEGER NOT NULL,
    child         BYTEA NOT NULL,
    kind          TEXT NOT NULL,           -- manifest, config, layer
    size          BIGINT NOT NULL,
    media_type    TEXT NOT NULL,
    PRIMARY KEY (repository_id, parent, position),
    FOREIGN KEY (repository_id, parent) REFERENCES manifests (repository_id, digest) ON DELETE CASCADE
);
CREATE INDEX manifest_references_child ON manifest_references (repository_id, child);

CREATE TABLE tags (
    repository_id BIGINT NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    digest        BYTEA NOT NULL,
    checked_at    BIGINT NOT NULL,         -- cached: when the upstream last confirmed it
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL,         -- when it last moved
    PRIMARY KEY (repository_id, name),
    FOREIGN KEY (repository_id, digest) REFERENCES manifests (repository_id, digest)
);
CREATE INDEX tags_digest ON tags (repository_id, digest);

CREATE TABLE tag_history (
    id            BIGINT PRIMARY KEY,
    repository_id BIGINT NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    digest        BYTEA,                   -- NULL = the tag was deleted
    actor_id      BIGINT NOT NULL,
    at            BIGINT NOT NULL
);
CREATE INDEX tag_history_tag ON tag_history (repository_id, name, id);

-- How a digest entered a repository. Children and blobs inherit through manifest_references.
CREATE TABLE admissions (
    repository_id BIGINT NOT NULL,
    digest        BYTEA NOT NULL,
    via           TEXT NOT NULL,           -- tag, push, digest; subject and list for referrers
    tag           TEXT COLLATE "C" NOT NULL, -- of a referrer the one that speaks of its subject, sha256-<hex>; for push and digest empty
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest, via, tag)
);
-- The tag first: led by the repository, SQLite takes this index for questions about one digest too.
CREATE INDEX admissions_tag ON admissions (tag, repository_id, created_at);

-- Tag lists and referrers an upstream answered.
CREATE TABLE cached_lists (
    repository_id BIGINT NOT NULL,
    kind          TEXT NOT NULL,           -- tags, referrers
    subject       BYTEA NOT NULL,          -- digest for referrers, empty for tags
    payload       BYTEA NOT NULL,          -- JSON
    checked_at    BIGINT NOT NULL,
    PRIMARY KEY (repository_id, kind, subject)
);

-- Other checksums of a blob, for formats that name content by them.
CREATE TABLE digest_aliases (
    algorithm TEXT NOT NULL,               -- sha1, md5
    value     BYTEA NOT NULL,
    digest    BYTEA NOT NULL,
    PRIMARY KEY (algorithm, value, digest)
);

CREATE TABLE uploads (
    id            TEXT PRIMARY KEY,
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    stage         TEXT NOT NULL,           -- the blob store's id of the staged bytes
    stage_state   BYTEA NOT NULL,          -- the blob store's state, for another replica to go on
    size          BIGINT NOT NULL,         -- bytes acknowledged
    hash_state    BYTEA NOT NULL,          -- sha256 over them
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);
CREATE INDEX uploads_updated ON uploads (updated_at);

-- Collection.

CREATE TABLE gc_candidates (
    kind          TEXT NOT NULL,           -- blob, manifest, link
    repository_id BIGINT NOT NULL,         -- 0 for a blob
    digest        BYTEA NOT NULL,
    review_after  BIGINT NOT NULL,
    attempts      INTEGER NOT NULL,
    PRIMARY KEY (kind, repository_id, digest)
);
CREATE INDEX gc_candidates_due ON gc_candidates (review_after);

CREATE TABLE doomed_keys (                 -- bytes whose row is gone; deleted after the transaction, then the row here
    storage_key TEXT PRIMARY KEY,
    created_at  BIGINT NOT NULL
);

-- Work, replicas, changes, events.

CREATE TABLE jobs (
    id          BIGINT PRIMARY KEY,
    kind        TEXT NOT NULL,
    key         TEXT NOT NULL,             -- one open job for each (kind, key)
    payload     TEXT NOT NULL,             -- JSON
    run_after   BIGINT NOT NULL,
    lease_owner BIGINT NOT NULL,           -- id of the claim, which holds the replica; 0 = none
    lease_until BIGINT NOT NULL,
    attempts    INTEGER NOT NULL,
    last_error  TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    UNIQUE (kind, key)
);
CREATE INDEX jobs_due ON jobs (run_after);

CREATE TABLE replicas (
    number       INTEGER PRIMARY KEY,      -- 0…1023, part of the ids the replica makes
    id           TEXT NOT NULL,
    host         TEXT NOT NULL,
    version      TEXT NOT NULL,
    started_at   BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL
);

CREATE TABLE changes (
    seq      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid      XID8 NOT NULL DEFAULT pg_current_xact_id(), -- readers stop before the oldest open transaction: no late commit is lost
    group_id BIGINT NOT NULL,
    kind     TEXT NOT NULL,
    key      TEXT NOT NULL,
    at       BIGINT NOT NULL
);
CREATE INDEX changes_at ON changes (at);
CREATE INDEX changes_xid ON changes (xid);

CREATE TABLE events (
    id          BIGINT PRIMARY KEY,
    group_id    BIGINT NOT NULL,
    kind        TEXT NOT NULL,
    actor_id    BIGINT NOT NULL,
    subject     TEXT NOT NULL,
    detail      TEXT NOT NULL,             -- JSON, without secrets
    request_id  TEXT NOT NULL,
    at          BIGINT NOT NULL
);
CREATE INDEX events_group ON events (group_id, id);

-- Access.

CREATE TABLE users (
    id            BIGINT PRIMARY KEY,
    name          TEXT COLLATE "C" NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,           -- argon2id, PHC string; empty = no password
    disabled      BOOLEAN NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);

CREATE TABLE tokens (
    id           BIGINT PRIMARY KEY,
    user_id      BIGINT NOT NULL REFERENCES users (id),
    name         TEXT NOT NULL,
    hash         BYTEA NOT NULL UNIQUE,    -- SHA-256 of the token
    scope        TEXT NOT NULL,            -- JSON ceiling; empty = everything the user may
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,          -- 0 = never
    last_used_at BIGINT NOT NULL,
    revoked_at   BIGINT NOT NULL,          -- 0 = not
    UNIQUE (user_id, name)
);

CREATE TABLE grants (
    id       BIGINT PRIMARY KEY,
    user_id  BIGINT NOT NULL REFERENCES users (id),
    group_id BIGINT NOT NULL,              -- 0 = the instance
    path     TEXT COLLATE "C" NOT NULL,    -- below the group; empty = all of it
    role     TEXT NOT NULL,                -- reader, developer, maintainer, owner, admin
    UNIQUE (user_id, group_id, path)
);

CREATE TABLE signing_keys (
    id          BIGINT PRIMARY KEY,
    algorithm   TEXT NOT NULL,
    public_key  BYTEA NOT NULL,
    private_key BYTEA NOT NULL,            -- sealed
    created_at  BIGINT NOT NULL,
    retired_at  BIGINT NOT NULL            -- 0 = in use
);

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- Telemetry: written in batches, never in the transaction of a change. SQLite keeps it in a second file.

CREATE TABLE pulls (
    repository_id  BIGINT NOT NULL,
    digest         BYTEA NOT NULL,         -- manifest
    last_pulled_at BIGINT NOT NULL,
    pull_count     BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest)
);
CREATE INDEX pulls_last ON pulls (last_pulled_at);

-- +goose Down
-- Weir never migrates down: restore a backup.
