package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// assemble wires the platform and records its sealing keys in the database. It fails if a key is
// missing that something in the database may be sealed under. The caller closes the platform.
func assemble(ctx context.Context, c config, log io.Writer) (*platform, error) {
	p, err := wire(ctx, c, log)
	if err != nil {
		return nil, err
	}
	if err := adoptKeys(ctx, p.db, c.ring); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// adoptKeys records ring's newest key in the database, and fails if a key is missing.
func adoptKeys(ctx context.Context, d *db.DB, ring *seal.Ring) error {
	err := d.AdoptKeys(ctx, ring)
	if errors.Is(err, db.ErrMissingKey) {
		return fmt.Errorf("PLATFORM_SEALING_KEYS: %w. Put it back after the newest one. Remove a key only when `platform reseal` says so. %s. 缺少加密主密钥，请放回（排在最新密钥之后）。%s", err, lostForGood.en, lostForGood.zh)
	}
	return err
}

// lostForGood is what to do about a sealing key that nobody has any more.
var lostForGood = say("If it is lost for good, `platform reseal --give-up KEY` goes on without it: first read docs/operate/keys.md, \"A lost sealing key\"",
	"确已永久丢失的，用 platform reseal --give-up 密钥编号 放弃；请先阅读 docs/zh/operate/keys.md 的“加密主密钥丢失”一节")

// keyIdleAfter is when a key counts as no longer in use: every process records its newest key in
// the database each sealsEvery.
const keyIdleAfter = 3 * sealsEvery

// sealingKeyView is a sealing key as the commands print it.
type sealingKeyView struct {
	ID         seal.KeyID `json:"key"`
	Configured string     `json:"configured"` // "newest", "yes", "no"
	Values     *int       `json:"values"`     // sealed under it in SQL; null if not counted
	Seen       *time.Time `json:"seals_at"`   // when a process last recorded it as its newest; null if none did
	MayGo      bool       `json:"may_go"`     // nothing in SQL is sealed under it and no process seals with it
}

var sealingKeyTable = table[sealingKeyView]{
	columns: []string{"KEY", "CONFIGURED", "VALUES", "LAST SEALED WITH", "MAY GO"},
	cells: func(v sealingKeyView) []any {
		values := "-"
		if v.Values != nil {
			values = fmt.Sprint(*v.Values)
		}
		return []any{v.ID, v.Configured, values, timestampOrDash(v.Seen), v.MayGo}
	},
}

// viewSealingKeys lists the configured keys, newest first, and then the others. recorded are the
// keys that the database says may have sealed something; counts are the values found under each
// key, nil if they were not counted.
func viewSealingKeys(ring *seal.Ring, recorded []db.SealingKey, counts map[seal.KeyID]int) []sealingKeyView {
	newest := ring.Keys()[0]
	views := []sealingKeyView{}
	for _, id := range knownKeys(ring, recorded, counts) {
		v := sealingKeyView{ID: id, Configured: configured(ring, id)}
		at := slices.IndexFunc(recorded, func(k db.SealingKey) bool { return k.ID == id })
		v.MayGo = at < 0 && counts[id] == 0 && id != newest
		if at >= 0 {
			v.Seen = timeOrNull(recorded[at].Seen)
		}
		if counts != nil {
			n := counts[id]
			v.Values = &n
		}
		views = append(views, v)
	}
	return views
}

// knownKeys are the ids of all keys that are configured, recorded or counted, each once.
func knownKeys(ring *seal.Ring, recorded []db.SealingKey, counts map[seal.KeyID]int) []seal.KeyID {
	ids := ring.Keys()
	add := func(id seal.KeyID) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, k := range recorded {
		add(k.ID)
	}
	for id := range counts {
		add(id)
	}
	return ids
}

// configured says where id is in PLATFORM_SEALING_KEYS: "newest", "yes" or "no".
func configured(ring *seal.Ring, id seal.KeyID) string {
	switch slices.Index(ring.Keys(), id) {
	case -1:
		return "no"
	case 0:
		return "newest"
	}
	return "yes"
}

type keySealingCmd struct{ format }

// Run prints the sealing keys, without counting what is sealed under them.
func (c keySealingCmd) Run(s shell) error {
	return withSealed(s, func(ctx context.Context, p *platform) error {
		recorded, err := p.db.SealingKeys(ctx)
		return sealingKeyTable.printAll(s.out, c.format, viewSealingKeys(p.ring, recorded, nil), err)
	})
}

// withSealed wires the platform for a command that must also work while a sealing key is missing,
// and closes it afterwards.
func withSealed(s shell, work func(context.Context, *platform) error) error {
	c, err := loadConfig(s.lookup, needsTenants)
	if err != nil {
		return err
	}
	p, err := wire(s.ctx, c, io.Discard)
	if err != nil {
		return err
	}
	return errors.Join(work(s.ctx, p), p.close())
}
