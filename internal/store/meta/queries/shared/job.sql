-- Jobs. A job's id is that of the latest request for it, so that whoever runs it can tell a request that came meanwhile.
-- lease_owner is the id of the claim, 0 = none; a lease whose lease_until has passed is nobody's.

-- name: PutJob :exec
INSERT INTO jobs (id, kind, key, payload, run_after, lease_owner, lease_until, attempts, last_error, created_at)
VALUES (@id, @kind, @key, @payload, @run_after, 0, 0, 0, '', @created_at)
ON CONFLICT (kind, key) DO UPDATE SET id = excluded.id, payload = excluded.payload,
    run_after = CASE
        WHEN jobs.lease_owner <> 0 THEN excluded.run_after
        WHEN jobs.attempts > 0 OR jobs.run_after < excluded.run_after THEN jobs.run_after
        ELSE excluded.run_after
    END;

-- name: EnsureJob :execrows
INSERT INTO jobs (id, kind, key, payload, run_after, lease_owner, lease_until, attempts, last_error, created_at)
VALUES (@id, @kind, @key, @payload, @run_after, 0, 0, 0, '', @created_at)
ON CONFLICT (kind, key) DO NOTHING;

-- name: ListDueJobs :many
SELECT id FROM jobs WHERE kind = @kind AND run_after <= @now AND lease_until <= @now ORDER BY run_after, id LIMIT CAST(@n AS INTEGER);

-- name: ClaimJob :one
UPDATE jobs SET lease_owner = @lease_owner, lease_until = @lease_until, attempts = attempts + 1
WHERE id = @id AND run_after <= @now AND jobs.lease_until <= @now
RETURNING *;

-- name: RenewJob :execrows
UPDATE jobs SET lease_until = @lease_until WHERE kind = @kind AND key = @key AND lease_owner = @lease_owner;

-- name: FinishJob :execrows
DELETE FROM jobs WHERE id = @id AND lease_owner = @lease_owner;

-- name: RepeatJob :execrows
UPDATE jobs SET run_after = CASE WHEN id = @id THEN @next ELSE run_after END,
    lease_owner = 0, lease_until = 0, attempts = 0, last_error = ''
WHERE kind = @kind AND key = @key AND lease_owner = @lease_owner;

-- name: FailJob :execrows
UPDATE jobs SET run_after = @run_after, lease_owner = 0, lease_until = 0, last_error = @last_error
WHERE kind = @kind AND key = @key AND lease_owner = @lease_owner;

-- name: ReleaseJob :execrows
UPDATE jobs SET lease_owner = 0, lease_until = 0, attempts = attempts - 1
WHERE kind = @kind AND key = @key AND lease_owner = @lease_owner;

-- name: ListJobs :many
SELECT * FROM jobs WHERE kind > @after_kind OR (kind = @after_kind AND key > @after_key) ORDER BY kind, key LIMIT CAST(@n AS INTEGER);

-- name: RunJob :execrows
-- Under a new id, as PutJob: a run that goes on does not end this request.
UPDATE jobs SET id = @id, run_after = @now WHERE kind = @kind AND key = @key;
