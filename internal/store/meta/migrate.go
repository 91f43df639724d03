package meta

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// telemetryMigrations is the folder of SQLite's second file.
const telemetryMigrations = "telemetry"

// migrateUp brings db up to the newest schema of a folder of migrations. Replicas that start together take turns by a row
// with a lease, not by a session's lock, which a transaction-pooling proxy would lose.
func migrateUp(ctx context.Context, db *sql.DB, folder string, log *slog.Logger) error {
	files, err := fs.Sub(migrations, "migrations/"+folder)
	if err != nil {
		return err
	}
	dialect, options := goose.DialectSQLite3, []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithSlog(log)}
	if folder == telemetryMigrations { // both files are visible to each connection, so the tables must not share a name
		options = append(options, goose.WithTableName("telemetry_version"))
	}
	if folder == PostgreSQL {
		dialect = goose.DialectPostgres
		locker, err := lock.NewPostgresTableLocker(lock.WithTableLockTimeout(time.Second, 300))
		if err != nil {
			return err
		}
		options = append(options, goose.WithLocker(locker))
	}
	provider, err := goose.NewProvider(dialect, db, files, options...)
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", folder, err)
	}
	if pending, err := provider.HasPending(ctx); err == nil && !pending {
		return nil
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}
