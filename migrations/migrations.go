// Package migrations embeds the SQL files that make the tables, for SQLite and PostgreSQL alike.
// Times are BIGINT Unix milliseconds, 0 for none. Sealed columns are BYTEA, empty for none.
package migrations

import "embed"

// Audit is the file that makes the table of the audit trail.
const Audit = "0011_audit.sql"

// Files are the migrations. db.Migrate runs them in the order of their names.
//
//go:embed *.sql
var Files embed.FS
