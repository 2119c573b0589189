package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// assemble wires the platform and adopts its sealing keys: it fails where one is missing that something here may be sealed under. The caller closes what it returns.
func assemble(ctx context.Context, c config, log *slog.Logger) (*platform, error) {
	p, err := wire(ctx, c, log)
	if err != nil {
		return nil, err
	}
	if err := adoptKeys(ctx, p.db, c.ring); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func adoptKeys(ctx context.Context, d *db.DB, ring *seal.Ring) error {
	err := d.AdoptKeys(ctx, ring)
	if errors.Is(err, db.ErrMissingKey) {
		return fmt.Errorf("PLATFORM_SEALING_KEYS: %w. Put it back behind the newest one. A key may go when `platform reseal` says so. 缺少封存密钥，请放回（排在最新密钥之后）", err)
	}
	return err
}

// A process says every 30 seconds that it seals, so one that has not for this long no longer does.
const sealsNoMore = 3 * sealsEvery

// sealingKeyView is a sealing key as the operator sees it.
type sealingKeyView struct {
	ID         seal.KeyID `json:"key"`
	Configured string     `json:"configured"` // "newest", "yes", "no"
	Values     *int       `json:"values"`     // sealed under it in SQL; null where they were not counted
	Seen       *time.Time `json:"seals_at"`   // when a process last said that it seals with it; null where none ever did
	MayGo      bool       `json:"may_go"`     // out of PLATFORM_SEALING_KEYS: nothing in SQL is under it, and no process seals with it
}

const sealingKeyHeading = "KEY\tCONFIGURED\tVALUES\tLAST SEALED WITH\tMAY GO"

func (v sealingKeyView) row() string {
	values := "-"
	if v.Values != nil {
		values = fmt.Sprint(*v.Values)
	}
	seen := time.Time{}
	if v.Seen != nil {
		seen = *v.Seen
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%t", v.ID, v.Configured, values, stamp(seen), v.MayGo)
}

func sealingKeyRows(views []sealingKeyView) (rows []string) {
	for _, v := range views {
		rows = append(rows, v.row())
	}
	return rows
}

// viewSealingKeys lists the keys that are configured and then those that are not. written are those that may have sealed something: reseal strikes out the ones under which nothing is left.
func viewSealingKeys(ring *seal.Ring, written []db.SealingKey, counts map[seal.KeyID]int) []sealingKeyView {
	ids := ring.Keys()
	for _, k := range written {
		ids = append(ids, k.ID)
	}
	for id := range counts {
		ids = append(ids, id)
	}
	views := []sealingKeyView{}
	for i, id := range ids {
		if slices.Contains(ids[:i], id) {
			continue
		}
		at := slices.IndexFunc(written, func(k db.SealingKey) bool { return k.ID == id })
		v := sealingKeyView{ID: id, Configured: configured(ring, id), MayGo: at < 0 && counts[id] == 0 && i > 0}
		if at >= 0 {
			v.Seen = moment(written[at].Seen)
		}
		if counts != nil {
			n := counts[id]
			v.Values = &n
		}
		views = append(views, v)
	}
	return views
}

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

// Run lists the sealing keys, without looking at what they sealed.
func (c keySealingCmd) Run(s stage) error {
	return withSealed(s, func(ctx context.Context, p *platform) error {
		written, err := p.db.SealingKeys(ctx)
		if err != nil {
			return err
		}
		views := viewSealingKeys(p.ring, written, nil)
		return c.print(s.out, views, sealingKeyHeading, sealingKeyRows(views))
	})
}

// withSealed wires the platform for commands that are there for the case that a sealing key is missing.
func withSealed(s stage, work func(context.Context, *platform) error) error {
	c, err := loadConfig(s.lookup, needsTenants)
	if err != nil {
		return err
	}
	p, err := wire(s.ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return errors.Join(work(s.ctx, p), p.close())
}
