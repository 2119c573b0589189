package token

import (
	"context"
	"time"

	"wxplatform/internal/db"
	"wxplatform/wechat"
)

// Freshness says whether an access token is usable.
type Freshness string

// An access token is Expiring when its renewal would be overdue if it were in use, and Missing if
// there never was one or it was retired.
const (
	Fresh    Freshness = "fresh"
	Expiring Freshness = "expiring"
	Expired  Freshness = "expired"
	Missing  Freshness = "none"
)

// Health describes a token, without its secrets.
type Health struct {
	Freshness Freshness
	Expires   time.Time // zero if it is Missing
	Version   Version
	Retry     time.Time // when keepers ask again; zero unless the last request failed
	Unopened  bool      // a sealed value of the row does not open
}

// health returns r's Health at a time by the database's clock.
func (r *row) health(now time.Time, t Times) Health {
	h := Health{Freshness: Missing, Version: r.version, Unopened: r.unopened != unopened{}}
	if r.failures > 0 {
		h.Retry = r.due
	}
	if r.access.IsZero() {
		return h
	}
	h.Expires = r.expires
	switch {
	case !r.alive(now, t):
		h.Freshness = Expired
	case !r.late.IsZero() && !now.Before(r.late):
		h.Freshness = Expiring
	default:
		h.Freshness = Fresh
	}
	return h
}

// Health returns the health of the tokens of ids, read without a lock. Ids without a row are left
// out.
func (s *Store) Health(ctx context.Context, ids []wechat.AppID) (map[wechat.AppID]Health, error) {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return nil, err
	}
	rows, err := s.table.loadMany(ctx, ids)
	if err != nil {
		return nil, err
	}
	all := make(map[wechat.AppID]Health, len(rows))
	for _, one := range rows {
		all[one.id] = one.row.health(now, s.times)
	}
	return all, nil
}
