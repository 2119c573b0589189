package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"wxplatform/audit"
	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

type resealCmd struct {
	format
	Check  bool   `help:"Only count; change nothing. 只统计，不修改。" xor:"what"`
	GiveUp string `help:"Instead delete everything sealed under this key, which is permanently lost; afterwards reconcile recovers what WeChat still has. 放弃已永久丢失的密钥，删除用它加密的内容。" placeholder:"KEY" xor:"what"`
}

const (
	resealPage  = 200 // rows moved in one transaction: few enough that no refresh waits long
	resealTries = 5   // attempts at a page while SQL fails
	resealPause = time.Second

	resealProgressEvery = 2 * time.Second
)

// sealedTable is a table that has sealed columns.
type sealedTable struct {
	name   string
	reseal func(context.Context, db.Page) (db.Resealed, error)
}

func (p *platform) sealedTables() []sealedTable {
	return []sealedTable{
		{"signing_keys", p.tenants.Keys.Reseal},
		{"tickets", p.component.Reseal},
		{"tokens (component)", p.tokens.component.Reseal},
		{"tokens (authorizer)", p.tokens.authorizer.Reseal},
		{"events", p.inbox.Reseal},
	}
}

// tableResult counts what reseal did in one table.
type tableResult struct {
	Table     string             `json:"table"`
	Rows      int                `json:"rows"`
	Moved     int                `json:"values_moved"`
	Overtaken int                `json:"rows_overtaken"`         // changed meanwhile by a refresh, which sealed them itself
	Stuck     []string           `json:"stuck,omitempty"`        // rows that do not open
	Deleted   int                `json:"rows_deleted,omitempty"` // because their key is lost
	Under     map[seal.KeyID]int `json:"values_under"`
	In        map[seal.Form]int  `json:"values_in_form"`
}

type resealView struct {
	Form   seal.Form        `json:"form"` // in which new values are sealed
	Tables []*tableResult   `json:"tables"`
	Keys   []sealingKeyView `json:"keys"`
}

// Run seals everything in SQL again under the newest sealing key and in the configured form. It may
// be stopped at any time and run again; it then skips what is already moved.
func (c resealCmd) Run(s shell) error {
	return withSealed(s, func(ctx context.Context, p *platform) error {
		if c.GiveUp != "" {
			return c.discardLostKey(ctx, s, p)
		}
		view, err := c.reseal(ctx, s, p)
		if err != nil {
			return fmt.Errorf("%w. Run it again: it continues with what is left", err)
		}
		if err := c.show(s, view); err != nil {
			return err
		}
		return c.advise(s, view)
	})
}

// reseal reseals every table, or with --check counts, and then removes the record of keys that are
// no longer used.
func (c resealCmd) reseal(ctx context.Context, s shell, p *platform) (resealView, error) {
	began, err := db.Now(ctx, p.db)
	if err != nil {
		return resealView{}, err
	}
	if !c.Check {
		if err := p.db.StillSeals(ctx, p.ring); err != nil && !errors.Is(err, db.ErrMissingKey) {
			return resealView{}, err
		}
	}
	view := resealView{Form: p.ring.Form}
	counts := map[seal.KeyID]int{}
	for _, table := range p.sealedTables() {
		done, err := resealTable(ctx, s, table, db.Page{Most: resealPage, CountOnly: c.Check})
		if err != nil {
			return view, fmt.Errorf("table %s: %w", table.name, err)
		}
		view.Tables = append(view.Tables, done)
		for id, n := range done.Under {
			counts[id] += n
		}
	}
	recorded, err := p.forgetKeys(ctx, operator(), began, counts, c.Check)
	view.Keys = viewSealingKeys(p.ring, recorded, counts)
	return view, err
}

// resealTable reseals one table page by page and prints its progress.
func resealTable(ctx context.Context, s shell, table sealedTable, page db.Page) (*tableResult, error) {
	done := &tableResult{Table: table.name, Under: map[seal.KeyID]int{}, In: map[seal.Form]int{}}
	printed := time.Now()
	for {
		step, err := retry(ctx, func() (db.Resealed, error) { return table.reseal(ctx, page) })
		if err != nil {
			return done, err
		}
		done.add(step)
		if time.Since(printed) > resealProgressEvery {
			printed = time.Now()
			_, _ = fmt.Fprintf(s.errOut, "%s: %d rows, %d values moved\n", done.Table, done.Rows, done.Moved)
		}
		if page.After = step.Next; step.Next == "" {
			return done, nil
		}
	}
}

// retry repeats step a few times while it fails, for SQL may be unavailable for a moment.
func retry(ctx context.Context, step func() (db.Resealed, error)) (db.Resealed, error) {
	for try := 1; ; try++ {
		done, err := step()
		if err == nil || ctx.Err() != nil || try == resealTries {
			return done, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(resealPause):
		}
	}
}

func (t *tableResult) add(step db.Resealed) {
	t.Rows += step.Rows
	t.Moved += step.Moved
	t.Deleted += step.Deleted
	t.Overtaken += step.Overtaken
	t.Stuck = append(t.Stuck, step.Stuck...)
	for id, n := range step.Under {
		t.Under[id] += n
	}
	for form, n := range step.In {
		t.In[form] += n
	}
}

// forgetKeys removes from the database the record of each old key that nothing is sealed under and
// that no process used since well before the count began. It returns the records that are left;
// with checkOnly it removes none.
func (p *platform) forgetKeys(ctx context.Context, by audit.Actor, began time.Time, counts map[seal.KeyID]int, checkOnly bool) ([]db.SealingKey, error) {
	recorded, err := p.db.SealingKeys(ctx)
	if err != nil || checkOnly {
		return recorded, err
	}
	for _, k := range recorded {
		if counts[k.ID] > 0 || k.ID == p.ring.Keys()[0] || k.Seen.After(began.Add(-keyIdleAfter)) {
			continue
		}
		if _, err := p.forgetKey(ctx, by, k); err != nil {
			return nil, err
		}
	}
	return p.db.SealingKeys(ctx)
}

// forgetKey is db.ForgetKey, with its entry in the audit trail.
func (p *platform) forgetKey(ctx context.Context, by audit.Actor, k db.SealingKey) (forgotten bool, err error) {
	err = p.db.Tx(ctx, func(tx *db.Tx) (err error) {
		if forgotten, err = db.ForgetKey(ctx, tx, k); err == nil && forgotten {
			audit.Record(ctx, tx, by, audit.Change{Action: audit.SealingKeyForget, Subject: k.ID.String(), Before: audit.Of(audit.When("last_sealed_at", k.Seen))})
		}
		return err
	})
	return forgotten, err
}

var tableResultTable = table[*tableResult]{
	columns: []string{"TABLE", "ROWS", "VALUES MOVED", "ROWS OVERTAKEN", "ROWS STUCK", "IN FORM 1", "IN FORM 2"},
	cells: func(t *tableResult) []any {
		return []any{t.Table, t.Rows, t.Moved, t.Overtaken, len(t.Stuck), t.In[seal.Form1], t.In[seal.Form2]}
	},
}

func (c resealCmd) show(s shell, view resealView) error {
	if c.JSON {
		return printJSON(s.out, view)
	}
	if err := tableResultTable.printTable(s.out, view.Tables); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(s.out)
	return sealingKeyTable.printTable(s.out, view.Keys)
}

// advise prints on standard error what the operator does next. It fails if rows do not open.
func (c resealCmd) advise(s shell, view resealView) error {
	if c.printStuck(s, view.Tables) {
		return errSilent
	}
	for _, k := range view.Keys {
		if k.Seen != nil && *k.Values == 0 && k.Configured != "newest" && !c.Check {
			_, _ = fmt.Fprintf(s.errOut, "key %s: nothing is sealed under it, but a process sealed with it until %s. Restart the processes that still have it as their newest key, and run this again %s later\n",
				k.ID, timestamp(*k.Seen), keyIdleAfter)
		}
	}
	if i := slices.IndexFunc(view.Keys, func(k sealingKeyView) bool { return k.MayGo && k.Configured == "yes" }); i >= 0 {
		_, _ = fmt.Fprintf(s.errOut, "key %s: nothing is sealed under it and no process seals with it. If it is an old key, remove it from PLATFORM_SEALING_KEYS in two hours: until then Redis may hold values under it. Older backups still need it\n",
			view.Keys[i].ID)
	}
	return nil
}

// printStuck names rows that do not open, and reports whether there are any.
func (c resealCmd) printStuck(s shell, tables []*tableResult) bool {
	stuck := false
	for _, t := range tables {
		if len(t.Stuck) > 0 {
			stuck = true
			_, _ = fmt.Fprintf(s.errOut, "%s: %d rows do not open, such as %q: their key is not configured, or they were changed or moved\n",
				t.Table, len(t.Stuck), t.Stuck[:min(3, len(t.Stuck))])
		}
	}
	return stuck
}
