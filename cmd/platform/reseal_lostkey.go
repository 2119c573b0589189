package main

import (
	"context"
	"fmt"
	"slices"

	"wxplatform/audit"
	"wxplatform/internal/db"
)

// discardLostKey deletes everything sealed under a key that is permanently lost, and then the
// record of the key, so that serve starts without it. What is not sealed stays: tenants, clients
// with their secrets' hashes, and which tenant an authorizer belongs to. It may be stopped and run
// again: the record goes last.
func (c resealCmd) discardLostKey(ctx context.Context, s shell, p *platform) error {
	lost, err := c.lostKey(ctx, p)
	if err != nil {
		return err
	}
	by := s.actor("reseal --give-up")
	var tables []*tableResult
	for _, table := range p.sealedTables() {
		losing := func(tx *db.Tx, rows int) {
			after := audit.Of(audit.Is("table", table.name), audit.Is("rows_deleted", rows))
			audit.Record(ctx, tx, by, audit.Change{Action: audit.SealingKeyGiveUp, Subject: lost.ID.String(), After: after})
		}
		done, err := resealTable(ctx, s, table, db.Page{Most: resealPage, Lost: lost.ID, Losing: losing})
		if err != nil {
			return fmt.Errorf("table %s: %w. Run it again", table.name, err)
		}
		tables = append(tables, done)
	}
	forgotten, err := p.forgetKey(ctx, by, lost)
	if err != nil {
		return err
	}
	if !forgotten {
		return fmt.Errorf("a process sealed with %s just now, so it is not lost", lost.ID)
	}
	if err := deletedTable.printAll(s.out, c.format, tables, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.errOut, "Now start the platform, wait until it has a component_verify_ticket (`platform doctor`), and run `platform reconcile`, which recovers the merchants' tokens from WeChat's list. Clients get new JWTs by themselves.\n"+
		"请启动平台，等收到 ticket（platform doctor）后执行 platform reconcile，从微信列表恢复商家令牌；客户端会自动换取新的 JWT。")
	return err
}

var deletedTable = table[*tableResult]{
	columns: []string{"TABLE", "ROWS", "ROWS DELETED"},
	cells:   func(t *tableResult) []any { return []any{t.Table, t.Rows, t.Deleted} },
}

// lostKey is the record of the key that --give-up names. It refuses a key that is configured, and
// one that a process still seals with: neither is lost.
func (c resealCmd) lostKey(ctx context.Context, p *platform) (db.SealingKey, error) {
	recorded, err := p.db.SealingKeys(ctx)
	if err != nil {
		return db.SealingKey{}, err
	}
	now, err := db.Now(ctx, p.db)
	if err != nil {
		return db.SealingKey{}, err
	}
	at := slices.IndexFunc(recorded, func(k db.SealingKey) bool { return k.ID.String() == c.GiveUp })
	switch {
	case at < 0:
		return db.SealingKey{}, fmt.Errorf("no key %s has sealed anything here: `platform key sealing` lists them", c.GiveUp)
	case slices.Contains(p.ring.Keys(), recorded[at].ID):
		return db.SealingKey{}, fmt.Errorf("key %s is configured, so it is not lost", c.GiveUp)
	case recorded[at].Seen.After(now.Add(-keyIdleAfter)):
		return db.SealingKey{}, fmt.Errorf("a process sealed with %s until %s, so it is not lost: read that process's PLATFORM_SEALING_KEYS, or stop it and run this again in %s",
			c.GiveUp, timestamp(recorded[at].Seen), keyIdleAfter)
	}
	return recorded[at], nil
}
