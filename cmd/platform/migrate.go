package main

import (
	"fmt"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/migrations"
)

type migrateCmd struct{}

// Run brings the tables up to date.
func (migrateCmd) Run(s stage) error {
	c, err := loadConfig(s.lookup, needsDatabase)
	if err != nil {
		return err
	}
	d, err := db.Open(s.ctx, c.databaseURL)
	if err != nil {
		return fmt.Errorf("PLATFORM_DATABASE_URL: %w", err)
	}
	defer d.Close()
	if err := d.Migrate(s.ctx, migrations.Files); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "the tables (%s) are up to date\n", d.Engine())
	return err
}

type keygenCmd struct{}

// Run prints a sealing key and nothing else, so that it can go straight into a file.
func (keygenCmd) Run(s stage) error {
	_, err := fmt.Fprintln(s.out, seal.NewKey())
	return err
}
