-- Upload sessions.

-- name: InsertUpload :execrows
INSERT INTO uploads (id, repository_id, stage, stage_state, size, hash_state, created_at, updated_at)
VALUES (@id, @repository_id, @stage, @stage_state, @size, @hash_state, @created_at, @updated_at)
ON CONFLICT (id) DO NOTHING;

-- name: GetUpload :one
SELECT * FROM uploads WHERE id = @id AND repository_id = @repository_id;

-- name: SaveUpload :execrows
UPDATE uploads SET stage_state = @stage_state, size = @size, hash_state = @hash_state, updated_at = @updated_at
WHERE id = @id AND size = @old_size AND updated_at = @old_updated_at;

-- name: DeleteUpload :execrows
DELETE FROM uploads WHERE id = @id;

-- name: ListRepositoryUploads :many
SELECT id, stage FROM uploads WHERE repository_id = @repository_id LIMIT CAST(@n AS INTEGER);

-- name: ListStaleUploads :many
SELECT id, stage FROM uploads WHERE updated_at < @before ORDER BY updated_at LIMIT CAST(@n AS INTEGER);

-- name: DeleteStaleUpload :execrows
DELETE FROM uploads WHERE id = @id AND updated_at < @before;

-- name: StageIsOwned :one
SELECT EXISTS (SELECT 1 FROM uploads WHERE stage = @stage);
