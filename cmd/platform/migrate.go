package main

import (
	"errors"
	"fmt"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/migrations"
)

type migrateCmd struct {
	From   string `placeholder:"sqlite:FILE" help:"First copy everything from this SQLite database, from which nothing serves any more, into the empty one of PLATFORM_DATABASE_URL. 先把此 SQLite 数据库的全部内容复制到目标空库；须先停止服务。"`
	Cancel bool   `help:"With --from: take back a move into PLATFORM_DATABASE_URL that was cut off, so that the SQLite database serves again. 与 --from 同用：取消中断的迁移，恢复旧库。"`
}

// Run brings the tables up to date, after it has filled them from another database where one is named.
func (m migrateCmd) Run(s stage) error {
	c, err := loadConfig(s.lookup, needsDatabase)
	if err != nil {
		return err
	}
	d, err := db.Open(s.ctx, c.databaseURL)
	if err != nil {
		return fmt.Errorf("PLATFORM_DATABASE_URL: %w", err)
	}
	defer d.Close()
	switch {
	case m.From != "":
		return m.move(s, d)
	case m.Cancel:
		return errors.New("--cancel goes with --from")
	}
	if err := d.Migrate(s.ctx, migrations.Files); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "the tables (%s) are up to date\n", d.Engine())
	return err
}

func (m migrateCmd) move(s stage, into *db.DB) error {
	from, err := db.OpenExisting(s.ctx, seal.NewSecret(m.From))
	if err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	defer from.Close()
	if m.Cancel {
		if err := into.CancelMove(s.ctx, from, migrations.Files); err != nil {
			return fmt.Errorf("cancel the move: %w", err)
		}
		_, err := fmt.Fprintln(s.out, "the move is cancelled; the old database serves again.\n已取消迁移，旧库可继续使用。")
		return err
	}
	err = into.Move(s.ctx, from, migrations.Files, func(table string, rows int) {
		_, _ = fmt.Fprintf(s.errOut, "%s: %d rows\n", table, rows)
	})
	if err != nil {
		return fmt.Errorf("move the database: %w", err)
	}
	_, err = fmt.Fprintln(s.out, "everything is moved; the old database is kept, but nothing serves from it any more. Start the platform with this PLATFORM_DATABASE_URL and the same sealing keys.\n"+
		"已全部迁移；旧数据库保留，但不再提供服务。请用当前的 PLATFORM_DATABASE_URL 和原有的密封密钥启动。")
	return err
}

type keygenCmd struct{}

// Run prints a sealing key and nothing else, so that it can go straight into a file.
func (keygenCmd) Run(s stage) error {
	_, err := fmt.Fprintln(s.out, seal.NewKey())
	return err
}
