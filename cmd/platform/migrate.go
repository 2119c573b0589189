package main

import (
	"context"
	"errors"
	"fmt"

	"wxplatform/audit"
	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/migrations"
)

type migrateCmd struct {
	From   string `placeholder:"sqlite:FILE" help:"First copy everything from this SQLite database into the empty database of PLATFORM_DATABASE_URL; stop serve before. 先把此 SQLite 数据库的全部内容复制到目标空库；须先停止服务。"`
	Cancel bool   `help:"With --from: cancel an interrupted move, so that the SQLite database can serve again. 与 --from 同用：取消中断的迁移，恢复旧库。"`
}

// Run migrates the tables or, with --from, moves everything from another database into them.
func (m migrateCmd) Run(s shell) error {
	c, err := loadConfig(s.lookup, needsDatabase)
	if err != nil {
		return err
	}
	d, err := db.Open(s.ctx, c.databaseURL)
	if err != nil {
		return fmt.Errorf("PLATFORM_DATABASE_URL: %w", err)
	}
	defer d.Close()
	d.Noted = recordMigration
	switch {
	case m.From != "":
		return m.move(s, d)
	case m.Cancel:
		return errors.New("--cancel requires --from")
	}
	if err := d.Migrate(s.ctx, migrations.Files); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "the tables (%s) are up to date\n", d.Engine())
	return err
}

// move moves everything from the database --from, or cancels an interrupted move.
func (m migrateCmd) move(s shell, into *db.DB) error {
	from, err := db.OpenExisting(s.ctx, seal.NewSecret(m.From))
	if err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	defer from.Close()
	if m.Cancel {
		if err := into.CancelMove(s.ctx, from, migrations.Files); err != nil {
			return fmt.Errorf("cancel the move: %w", err)
		}
		_, err := fmt.Fprintln(s.out, "The move is cancelled; the old database can serve again.\n已取消迁移，旧库可继续使用。")
		return err
	}
	err = into.Move(s.ctx, from, migrations.Files, func(table string, rows int) {
		_, _ = fmt.Fprintf(s.errOut, "%s: %d rows\n", table, rows)
	})
	if err != nil {
		return fmt.Errorf("move the database: %w", err)
	}
	_, err = fmt.Fprintln(s.out, "Everything is moved. The old database is kept, but the platform no longer serves from it. Start the platform with this PLATFORM_DATABASE_URL and the same sealing keys.\n"+
		"已全部迁移；旧数据库保留，但不再提供服务。请用当前的 PLATFORM_DATABASE_URL 和原有的加密主密钥启动。")
	return err
}

// recordMigration records a migration, or a move, in its transaction. A migration that comes before
// the one that makes the trail has no entry.
func recordMigration(ctx context.Context, tx *db.Tx, migration string) {
	c := audit.Change{Action: audit.DatabaseMigrate, Subject: migration}
	switch {
	case migration == "":
		c = audit.Change{Action: audit.DatabaseMove, Subject: tx.Engine()}
	case migration < migrations.Audit:
		return
	}
	audit.Record(ctx, tx, operator(), c)
}

type keygenCmd struct{}

// Run prints a sealing key and nothing else, so that the output can be a file.
func (keygenCmd) Run(s shell) error {
	_, err := fmt.Fprintln(s.out, seal.NewKey())
	return err
}
