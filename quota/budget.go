package quota

import (
	"context"
	"fmt"
	"sync"
	"time"

	"wxplatform/internal/db"
	"wxplatform/wechat"
)

const (
	// CountEvery is how often a replica should Count.
	CountEvery = 5 * time.Second

	quotaReadEvery  = 10 * time.Minute
	quotaReadSooner = time.Minute // if a fiftieth of the quota was used since
)

// budget is how many access tokens may be requested in one day of WeChat's, and how many were. Only
// renewals ahead of time respect it: a caller that needs a token always gets one.
type budget struct {
	limit int64 // 0: unknown
	used  int64
}

// forRenewals is what renewals may use. A fifth is kept for callers whose token is not kept fresh.
func (b budget) forRenewals() float64 { return 0.8 * float64(b.limit) }

// ahead reports whether tokens in use may be renewed ahead of time.
func (b budget) ahead() bool { return b.limit == 0 || float64(b.used) < b.forRenewals() }

// warm reports whether tokens that nobody used for a day may be renewed: only while the share of
// the budget that is used is below the share of the day that has passed.
func (b budget) warm(now time.Time) bool {
	passed := now.Sub(wechat.Day(now)).Hours() / 24
	return b.limit == 0 || float64(b.used) < b.forRenewals()*passed
}

// day is what SQL knows of one day of WeChat's.
type day struct {
	begun    time.Time
	sent     int64 // requests of all replicas
	quota    int64 // WeChat's own quota, 0 if it told none
	used     int64 // how much of it is used, by WeChat's count
	read     time.Time
	readSent int64 // sent when the quota was read
}

// budget is the operator's limit with our own count, or else WeChat's quota with WeChat's count.
// The two are not mixed, because it is not known whether WeChat counts per component or per
// account.
func (d day) budget(limit int64) budget {
	switch {
	case limit > 0:
		return budget{limit, d.sent}
	case d.quota > 0:
		return budget{d.quota, d.used}
	}
	return budget{0, d.sent}
}

// quotaDue reports whether it is time to read WeChat's quota.
func (d day) quotaDue(now time.Time) bool {
	used := d.quota > 0 && d.sent-d.readSent >= max(1, d.quota/50)
	ago := now.Sub(d.read).Abs()
	return ago >= quotaReadEvery || used && ago >= quotaReadSooner
}

// usage is what this replica knows of the day: what SQL said last, and what it sent itself since.
type usage struct {
	mu   sync.Mutex
	day  day
	sent int64
}

func (u *usage) add(sent int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sent += sent
}

func (u *usage) take() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	sent := u.sent
	u.sent = 0
	return sent
}

func (u *usage) set(d day) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.day = d
}

func (u *usage) today() day {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.day
}

// budget returns the budget of now's day. When a new day begins nothing is used, and the last known
// quota holds.
func (u *usage) budget(limit int64, now time.Time) budget {
	u.mu.Lock()
	defer u.mu.Unlock()
	d := u.day
	if begun := wechat.Day(now); !d.begun.Equal(begun) {
		d = day{begun: begun, quota: d.quota}
	}
	d.sent += u.sent
	return d.budget(limit)
}

// Sent counts one request for an access token.
func (l *Limiter) Sent() { l.usage.add(1) }

// MayRenew reports whether tokens in use may be renewed ahead of time.
func (l *Limiter) MayRenew() bool { return l.usage.budget(l.Budget, time.Now()).ahead() }

// MayRenewWarm reports whether tokens that nobody used for a day may be renewed ahead of time.
func (l *Limiter) MayRenewWarm() bool {
	now := time.Now()
	return l.usage.budget(l.Budget, now).warm(now)
}

// Count writes to SQL what this replica sent, and reads what all replicas sent. What SQL does not
// take is kept for the next Count. When a day begins, it deletes days that are older than KeepDays.
func (l *Limiter) Count(ctx context.Context) error {
	now, err := db.Now(ctx, l.db)
	if err != nil {
		return fmt.Errorf("count refreshes: %w", err)
	}
	begun, sent := wechat.Day(now), l.usage.take()
	if err := l.addSent(ctx, begun, sent); err != nil {
		l.usage.add(sent)
		return fmt.Errorf("count refreshes: %w", err)
	}
	d, err := l.loadDay(ctx, begun)
	if err != nil {
		return err
	}
	known := l.usage.today().begun
	l.usage.set(d)
	if !known.Equal(begun) {
		return l.deleteDays(ctx, begun.Add(-l.KeepDays))
	}
	return nil
}

// TakeReading reports whether the caller should read WeChat's quota now and pass it to SetQuota:
// the operator set no budget, a reading is due, and no other replica has taken it. If the
// reading fails nothing changes, and the next one is due in ten minutes.
func (l *Limiter) TakeReading(ctx context.Context) bool {
	d, now := l.usage.today(), time.Now()
	if _, paused := l.Paused(ctx); paused || l.Budget > 0 || d.begun.IsZero() || !d.quotaDue(now) {
		return false
	}
	mine, err := l.takeReading(ctx, d, now)
	return err == nil && mine
}

// SetQuota stores WeChat's quota for today and how much of it is used. It fails with
// db.ErrUnavailable.
func (l *Limiter) SetQuota(ctx context.Context, limit, used int64) error {
	begun := l.usage.today().begun
	return l.saveQuota(ctx, begun, limit, used)
}

// Usage is how much of the day's budget for access tokens is used.
type Usage struct {
	Limit int64 // 0: neither the operator nor WeChat told one
	Used  int64
}

// Renews reports whether tokens are still renewed ahead of time.
func (u Usage) Renews() bool { return budget{u.Limit, u.Used}.ahead() }

// Usage reads what all replicas used today.
func (l *Limiter) Usage(ctx context.Context) (Usage, error) {
	now, err := db.Now(ctx, l.db)
	if err != nil {
		return Usage{}, err
	}
	d, err := l.loadDay(ctx, wechat.Day(now))
	b := d.budget(l.Budget)
	return Usage{b.limit, b.used}, err
}
