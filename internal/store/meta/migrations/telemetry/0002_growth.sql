-- +goose Up

DROP INDEX pulls_last; -- nothing asks for it, and every pull had to move in it

-- +goose Down
-- Weir never migrates down: restore a backup.
