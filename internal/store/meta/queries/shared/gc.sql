-- What the check of rows against bytes reads and repairs. What the collector asks is in content.sql.

-- name: ListBlobPage :many
SELECT * FROM blobs WHERE digest > @after ORDER BY digest LIMIT CAST(@n AS INTEGER);

-- name: ListLinkingRepositories :many
SELECT repository_id FROM blob_links WHERE digest = @digest LIMIT CAST(@n AS INTEGER);
