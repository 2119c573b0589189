package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

type resealCmd struct {
	format
	Check  bool   `help:"Count only, change nothing. 只统计，不修改。" xor:"what"`
	GiveUp string `help:"Instead delete what is sealed under this key, which is lost for good: reconcile and WeChat bring back what they can. 放弃已永久丢失的密钥，删除用它封存的内容。" placeholder:"KEY" xor:"what"`
}

// resealPage is how many rows are moved in one transaction: so few that no refresh waits for long.
const resealPage = 200

// A page that SQL refuses is tried again this often.
const resealTries = 5

// sealedTable is one of the tables whose rows are sealed.
type sealedTable struct {
	name   string
	reseal func(context.Context, db.Page) (db.Resealed, error)
}

func (p *platform) sealedTables() []sealedTable {
	return []sealedTable{
		{"signing_keys", p.tenants.Reseal},
		{"tickets", p.component.Reseal},
		{"tokens (component)", p.tokens.component.Reseal},
		{"tokens (authorizer)", p.tokens.authorizer.Reseal},
		{"events", p.inbox.Reseal},
	}
}

// resealedTable is what became of one of them.
type resealedTable struct {
	Table     string             `json:"table"`
	Rows      int                `json:"rows"`
	Moved     int                `json:"values_moved"`
	Overtaken int                `json:"rows_overtaken"` // by a refresh meanwhile, which sealed them itself
	Stuck     []string           `json:"stuck,omitempty"`
	Deleted   int                `json:"rows_deleted,omitempty"` // for their key is lost
	Under     map[seal.KeyID]int `json:"values_under"`
}

type resealView struct {
	Tables []*resealedTable `json:"tables"`
	Keys   []sealingKeyView `json:"keys"`
}

// Run moves everything in SQL to the newest sealing key. It may be stopped at any moment and begun again: what is moved is passed over.
func (c resealCmd) Run(s stage) error {
	return withSealed(s, func(ctx context.Context, p *platform) error {
		if c.GiveUp != "" {
			return c.giveUp(ctx, s, p)
		}
		view, err := c.run(ctx, s, p)
		if err != nil {
			return fmt.Errorf("%w. What was moved stays so: run it again, and it passes over that", err)
		}
		if err := c.show(s, view); err != nil {
			return err
		}
		return c.verdict(s, view)
	})
}

func (c resealCmd) run(ctx context.Context, s stage, p *platform) (resealView, error) {
	began, err := db.Now(ctx, p.db)
	if err != nil {
		return resealView{}, err
	}
	if !c.Check {
		if err := p.db.StillSeals(ctx, p.ring); err != nil && !errors.Is(err, db.ErrMissingKey) {
			return resealView{}, err
		}
	}
	var view resealView
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
	written, err := p.forgetKeys(ctx, began, counts, c.Check)
	view.Keys = viewSealingKeys(p.ring, written, counts)
	return view, err
}

func resealTable(ctx context.Context, s stage, table sealedTable, page db.Page) (*resealedTable, error) {
	done := &resealedTable{Table: table.name, Under: map[seal.KeyID]int{}}
	told := time.Now()
	for {
		step, err := patiently(ctx, func() (db.Resealed, error) { return table.reseal(ctx, page) })
		if err != nil {
			return done, err
		}
		done.add(step)
		if time.Since(told) > 2*time.Second {
			told = time.Now()
			_, _ = fmt.Fprintf(s.errOut, "%s: %d rows, %d values moved\n", done.Table, done.Rows, done.Moved)
		}
		if page.After = step.Next; step.Next == "" {
			return done, nil
		}
	}
}

// patiently tries again where SQL was away for a moment.
func patiently(ctx context.Context, step func() (db.Resealed, error)) (db.Resealed, error) {
	for try := 1; ; try++ {
		done, err := step()
		if err == nil || ctx.Err() != nil || try == resealTries {
			return done, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (t *resealedTable) add(step db.Resealed) {
	t.Rows += step.Rows
	t.Moved += step.Moved
	t.Deleted += step.Deleted
	t.Overtaken += step.Overtaken
	t.Stuck = append(t.Stuck, step.Stuck...)
	for id, n := range step.Under {
		t.Under[id] += n
	}
}

// forgetKeys strikes out the keys under which nothing was found, of which no process said since well before the looking began that it seals with them. It returns those that are left.
func (p *platform) forgetKeys(ctx context.Context, began time.Time, counts map[seal.KeyID]int, checkOnly bool) ([]db.SealingKey, error) {
	written, err := p.db.SealingKeys(ctx)
	if err != nil || checkOnly {
		return written, err
	}
	for _, k := range written {
		if counts[k.ID] > 0 || k.ID == p.ring.Keys()[0] || k.Seen.After(began.Add(-sealsNoMore)) {
			continue
		}
		if _, err := p.db.ForgetKey(ctx, k); err != nil {
			return nil, err
		}
	}
	return p.db.SealingKeys(ctx)
}

func (c resealCmd) show(s stage, view resealView) error {
	if c.JSON {
		return c.print(s.out, view, "", nil)
	}
	var rows []string
	for _, t := range view.Tables {
		rows = append(rows, fmt.Sprintf("%s\t%d\t%d\t%d\t%d", t.Table, t.Rows, t.Moved, t.Overtaken, len(t.Stuck)))
	}
	if err := c.print(s.out, nil, "TABLE\tROWS\tVALUES MOVED\tROWS OVERTAKEN\tROWS STUCK", rows); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(s.out)
	return c.print(s.out, nil, sealingKeyHeading, sealingKeyRows(view.Keys))
}

// verdict says on stderr what is left to do, and fails where rows do not open.
func (c resealCmd) verdict(s stage, view resealView) error {
	say := func(text string, args ...any) { _, _ = fmt.Fprintf(s.errOut, text+"\n", args...) }
	stuck := false
	for _, t := range view.Tables {
		if len(t.Stuck) > 0 {
			stuck = true
			say("%s: %d rows do not open, such as %q: their key is not configured, or they were changed or moved", t.Table, len(t.Stuck), t.Stuck[:min(3, len(t.Stuck))])
		}
	}
	if stuck {
		return errSilent
	}
	for _, k := range view.Keys {
		if k.Seen != nil && *k.Values == 0 && k.Configured != "newest" && !c.Check {
			say("key %s: nothing is under it, but a process sealed with it until %s. Restart what still has it as its newest, and run this again %s later", k.ID, stamp(*k.Seen), sealsNoMore)
		}
	}
	if i := slices.IndexFunc(view.Keys, func(k sealingKeyView) bool { return k.MayGo && k.Configured == "yes" }); i >= 0 {
		say("key %s: nothing is under it and nobody seals with it. If it is an old one it may go out of PLATFORM_SEALING_KEYS two hours from now: until then Redis may hold values under it. Older backups still need it", view.Keys[i].ID)
	}
	return nil
}
