// Package migrations holds the tables, in SQL that SQLite and PostgreSQL share. Times are BIGINT Unix milliseconds, 0 for none; sealed columns are BYTEA, empty for none.
package migrations

import "embed"

// Files are run in the order of their names by db.Migrate.
//
//go:embed *.sql
var Files embed.FS
