package quota

import (
	"context"
	"errors"
	"time"

	"wxplatform/internal/db"
)

func readPause(scan db.Scan) (p Pause, err error) {
	err = scan(&p.Code, (*db.Stamp)(&p.Since), (*db.Stamp)(&p.Until), (*db.Stamp)(&p.probe))
	return p, err
}

func (l *Limiter) loadPause(ctx context.Context) (Pause, error) {
	p, err := db.One(ctx, l.db, readPause, `
		SELECT code, since, until_at, probe_at
		FROM pauses
		WHERE one = 1`)
	if errors.Is(err, db.ErrNone) {
		return Pause{}, nil
	}
	return p, err
}

// savePause stores p, unless the stored pause ends later.
func (l *Limiter) savePause(ctx context.Context, p Pause) error {
	_, err := db.Exec(ctx, l.db, `
		INSERT INTO pauses (one, code, since, until_at, probe_at)
		VALUES (1, $1, $2, $3, $4)
		ON CONFLICT (one) DO UPDATE
		SET code = excluded.code, since = excluded.since, until_at = excluded.until_at, probe_at = excluded.probe_at
		WHERE pauses.until_at < excluded.until_at`, int(p.Code), db.Stamp(p.Since), db.Stamp(p.Until), db.Stamp(p.probe))
	return err
}

// moveProbe takes the probe of p. It returns false if another replica was first.
func (l *Limiter) moveProbe(ctx context.Context, p Pause, to time.Time) (bool, error) {
	rows, err := db.Exec(ctx, l.db, `
		UPDATE pauses
		SET probe_at = $3
		WHERE one = 1 AND since = $1 AND probe_at = $2`, db.Stamp(p.Since), db.Stamp(p.probe), db.Stamp(to))
	return rows > 0, err
}

func (l *Limiter) returnProbe(ctx context.Context, p Pause) error {
	_, err := db.Exec(ctx, l.db, `
		UPDATE pauses
		SET probe_at = $2
		WHERE one = 1 AND since = $1`, db.Stamp(p.Since), db.Stamp(p.probe))
	return err
}

func (l *Limiter) deletePause(ctx context.Context, p Pause) error {
	_, err := db.Exec(ctx, l.db, `
		DELETE FROM pauses
		WHERE one = 1 AND since = $1`, db.Stamp(p.Since))
	return err
}

func readDay(scan db.Scan) (d day, err error) {
	err = scan((*db.Stamp)(&d.begun), &d.sent, &d.quota, &d.used, (*db.Stamp)(&d.read), &d.readSent)
	return d, err
}

// loadDay returns what is stored about one day of WeChat's.
func (l *Limiter) loadDay(ctx context.Context, begun time.Time) (day, error) {
	d, err := db.One(ctx, l.db, readDay, `
		SELECT day, sent, quota, quota_used, asked_at, asked_sent
		FROM refresh_days
		WHERE day = $1`, db.Stamp(begun))
	if errors.Is(err, db.ErrNone) {
		return day{begun: begun}, nil
	}
	return d, err
}

func (l *Limiter) addSent(ctx context.Context, begun time.Time, sent int64) error {
	_, err := db.Exec(ctx, l.db, `
		INSERT INTO refresh_days (day, sent)
		VALUES ($1, $2)
		ON CONFLICT (day) DO UPDATE
		SET sent = refresh_days.sent + excluded.sent`, db.Stamp(begun), sent)
	return err
}

// takeReading takes the right to read WeChat's quota. It returns false if another replica has
// it.
func (l *Limiter) takeReading(ctx context.Context, d day, now time.Time) (bool, error) {
	rows, err := db.Exec(ctx, l.db, `
		UPDATE refresh_days
		SET asked_at = $3, asked_sent = sent
		WHERE day = $1 AND asked_at = $2`, db.Stamp(d.begun), db.Stamp(d.read), db.Stamp(now))
	return rows > 0, err
}

func (l *Limiter) saveQuota(ctx context.Context, begun time.Time, quota, used int64) error {
	_, err := db.Exec(ctx, l.db, `
		UPDATE refresh_days
		SET quota = $2, quota_used = $3
		WHERE day = $1`, db.Stamp(begun), quota, used)
	return err
}

func (l *Limiter) deleteDays(ctx context.Context, before time.Time) error {
	_, err := db.Exec(ctx, l.db, `
		DELETE FROM refresh_days
		WHERE day < $1`, db.Stamp(before))
	return err
}
