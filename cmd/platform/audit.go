package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"wxplatform/audit"
	"wxplatform/internal/db"
	"wxplatform/migrations"
)

type auditCmd struct {
	List   auditListCmd   `cmd:"" help:"List the newest entries of the audit trail. 列出最近的审计记录。"`
	Follow auditFollowCmd `cmd:"" help:"Print new entries of the audit trail as they come, until Ctrl-C. 持续显示新的审计记录。"`
}

// withTrail opens the database for a command that only reads the audit trail, and closes it
// afterwards.
func withTrail(s shell, work func(context.Context, *db.DB, *audit.Trail) error) error {
	c, err := loadConfig(s.lookup, needsDatabase)
	if err != nil {
		return err
	}
	d, err := db.OpenExisting(s.ctx, c.databaseURL)
	if err != nil {
		return fmt.Errorf("PLATFORM_DATABASE_URL: %w", err)
	}
	pending, err := d.Pending(s.ctx, migrations.Files)
	if err == nil && len(pending) > 0 {
		err = errors.New("the tables are of an older version: run `platform migrate` first")
	}
	if err == nil {
		err = work(s.ctx, d, audit.New(d))
	}
	return errors.Join(err, d.Close())
}

// auditFilter has the flags that say which entries to print.
type auditFilter struct {
	Tenant audit.Owner  `help:"Only entries about this tenant and what it owns. 只列该租户的。"`
	Action audit.Action `help:"Only entries with this action, such as tenant.suspend. 只列该操作的。"`
	Since  string       `help:"Only entries since this time: 2026-11-28, 2026-11-28T21:30:00Z, or how long ago: 90m, 7d. 起始时间。" placeholder:"TIME"`
}

func (f auditFilter) read(ctx context.Context, d *db.DB) (audit.Filter, error) {
	now, err := db.Now(ctx, d)
	if err != nil {
		return audit.Filter{}, err
	}
	since, err := parseSince(f.Since, now)
	return audit.Filter{Owner: f.Tenant, Action: f.Action, Since: since}, err
}

// parseSince reads a time, or how long ago it was. "" is the zero time.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := parseDays(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("--since: %q is not a time such as 2026-11-28T21:30:00Z or 7d", text)
}

var auditTable = table[audit.View]{
	columns: []string{"TIME", "ACTOR", "ACTION", "TENANT", "SUBJECT", "BEFORE", "AFTER", "REQUEST", "ID"},
	cells: func(v audit.View) []any {
		return []any{timestamp(v.At), actorCell(v.Actor), v.Action, orDash(string(v.Tenant)), v.Subject.ID, orDash(v.Before.String()), orDash(v.After.String()), orDash(v.RequestID), v.ID}
	},
}

func actorCell(w audit.Who) string {
	switch w.Kind {
	case "operator":
		return w.OSUser + "@" + w.Host
	case "client":
		return "client " + w.Client
	}
	return w.Kind
}

type auditListCmd struct {
	format
	auditFilter
	Before audit.ID `help:"Only entries before the one with this id. 只列该编号之前的。" placeholder:"ID"`
	Limit  int      `help:"The most entries to list. 最多条数。" default:"100"`
}

// Run prints the newest entries, the last one last. It reads one more, to know whether there are
// older ones.
func (c auditListCmd) Run(s shell) error {
	if c.Limit < 1 {
		return errLimit
	}
	return withTrail(s, func(ctx context.Context, d *db.DB, trail *audit.Trail) error {
		filter, err := c.read(ctx, d)
		if err != nil {
			return err
		}
		all, err := trail.Newest(ctx, filter, c.Before, c.Limit+1)
		if err != nil {
			return err
		}
		if older := len(all) > c.Limit; older {
			all = all[1:]
			_, _ = fmt.Fprintf(s.errOut, "There are older entries: --before %d. 还有更早的记录。\n", all[0].ID)
		}
		return auditTable.printAll(s.out, c.format, viewsOf(all, audit.Entry.View), nil)
	})
}

type auditFollowCmd struct {
	format
	auditFilter
}

// Run prints entries until the command is told to stop: new ones only, or all since a time.
func (c auditFollowCmd) Run(s shell) error {
	return withTrail(s, func(ctx context.Context, d *db.DB, trail *audit.Trail) error {
		filter, err := c.read(ctx, d)
		if err != nil {
			return err
		}
		after, err := trail.Last(ctx)
		if err != nil {
			return err
		}
		if c.Since != "" {
			after = 0
		}
		return trail.Follow(ctx, filter, after, c.printTo(s.out), func(err error) {
			_, _ = fmt.Fprintf(s.errOut, "platform: %v; trying again\n", err)
		})
	})
}

// printTo returns a function that prints an entry: as a row of one table, or in JSON on one line.
func (c auditFollowCmd) printTo(out io.Writer) func(audit.Entry) error {
	if c.JSON {
		lines := json.NewEncoder(out)
		lines.SetEscapeHTML(false)
		return func(e audit.Entry) error { return lines.Encode(e.View()) }
	}
	rows := auditTable.listing(out, format{})
	return func(e audit.Entry) error { return rows.print([]audit.View{e.View()}) }
}
