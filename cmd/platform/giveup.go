package main

import (
	"context"
	"fmt"
	"slices"

	"wxplatform/internal/db"
)

// giveUp deletes what is sealed under a key that is lost for good, and strikes the key out, so that serve starts without it. What is sealed under no key stays: tenants, clients with their secrets, and whose an authorizer is.
// It may be stopped and begun again: the key goes last.
func (c resealCmd) giveUp(ctx context.Context, s stage, p *platform) error {
	lost, err := c.lostKey(ctx, p)
	if err != nil {
		return err
	}
	var tables []*resealedTable
	var rows []string
	for _, table := range p.sealedTables() {
		done, err := resealTable(ctx, s, table, db.Page{Most: resealPage, Lost: lost.ID})
		if err != nil {
			return fmt.Errorf("table %s: %w. Run it again", table.name, err)
		}
		tables = append(tables, done)
		rows = append(rows, fmt.Sprintf("%s\t%d\t%d", done.Table, done.Rows, done.Deleted))
	}
	forgotten, err := p.db.ForgetKey(ctx, lost)
	if err != nil {
		return err
	}
	if !forgotten {
		return fmt.Errorf("a process sealed with %s just now, so it is not lost", lost.ID)
	}
	if err := c.print(s.out, tables, "TABLE\tROWS\tROWS DELETED", rows); err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.errOut, "now start the platform, wait until it has a component_verify_ticket (`platform doctor`), and run `platform reconcile`: WeChat's list gives the merchants' tokens back. Clients get new JWTs.\n"+
		"请启动平台，等收到 ticket（platform doctor）后执行 platform reconcile，从微信列表恢复商家令牌；客户端会换取新的 JWT。")
	return err
}

// lostKey is the key to be given up. One that is configured is not lost, and one that a process seals with is not either.
func (c resealCmd) lostKey(ctx context.Context, p *platform) (db.SealingKey, error) {
	written, err := p.db.SealingKeys(ctx)
	if err != nil {
		return db.SealingKey{}, err
	}
	now, err := db.Now(ctx, p.db)
	if err != nil {
		return db.SealingKey{}, err
	}
	at := slices.IndexFunc(written, func(k db.SealingKey) bool { return k.ID.String() == c.GiveUp })
	switch {
	case at < 0:
		return db.SealingKey{}, fmt.Errorf("no key %s has sealed anything here: `platform key sealing` lists them", c.GiveUp)
	case slices.Contains(p.ring.Keys(), written[at].ID):
		return db.SealingKey{}, fmt.Errorf("key %s is configured, so it is not lost", c.GiveUp)
	case written[at].Seen.After(now.Add(-sealsNoMore)):
		return db.SealingKey{}, fmt.Errorf("a process sealed with %s until %s, so it is not lost: read its PLATFORM_SEALING_KEYS, or stop it and run this again in %s", c.GiveUp, stamp(written[at].Seen), sealsNoMore)
	}
	return written[at], nil
}
