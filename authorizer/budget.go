package authorizer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"wxplatform/internal/db"
	"wxplatform/wechat"
)

const (
	countEvery  = 5 * time.Second
	quotaEvery  = 10 * time.Minute
	quotaSooner = time.Minute // where a fiftieth of it was spent since
	daysKept    = 7 * 24 * time.Hour
)

// budget is how many access tokens may be asked for in a day of WeChat's, and how many were. Only renewals ahead of time keep to it: whoever waits for a token gets it.
type budget struct {
	limit int64 // 0: none is known
	used  int64
}

// forRenewals is what renewals may spend: a fifth is kept for callers whose token nobody keeps fresh.
func (b budget) forRenewals() float64 { return 0.8 * float64(b.limit) }

// ahead reports whether tokens in use may be renewed ahead of time.
func (b budget) ahead(time.Time) bool { return b.limit == 0 || float64(b.used) < b.forRenewals() }

// warm reports whether those may that nobody called for a day: only while no more is spent than the share of the day that has passed.
func (b budget) warm(now time.Time) bool {
	passed := now.Sub(wechat.Day(now)).Hours() / 24
	return b.limit == 0 || float64(b.used) < b.forRenewals()*passed
}

// day is what SQL knows of one day of WeChat's.
type day struct {
	begun     time.Time
	sent      int64 // by all replicas
	quota     int64 // WeChat's own, 0 where it told none
	used      int64 // of it, by WeChat's count
	asked     time.Time
	askedSent int64 // what sent was then
}

// budget is the operator's limit with our own count, else WeChat's with its own: the two must be of one kind, for nobody knows whether WeChat counts a component's refreshes or a pair's.
func (d day) budget(limit int64) budget {
	switch {
	case limit > 0:
		return budget{limit, d.sent}
	case d.quota > 0:
		return budget{d.quota, d.used}
	}
	return budget{0, d.sent}
}

// asksQuota reports whether it is time to ask WeChat for its quota.
func (d day) asksQuota(now time.Time) bool {
	spent := d.quota > 0 && d.sent-d.askedSent >= max(1, d.quota/50)
	ago := now.Sub(d.asked).Abs()
	return ago >= quotaEvery || spent && ago >= quotaSooner
}

// spending is what this replica knows of the day: what SQL said last, and what it sent itself since.
type spending struct {
	mu   sync.Mutex
	day  day
	sent int64
}

func (s *spending) spend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent++
}

func (s *spending) take() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := s.sent
	s.sent = 0
	return sent
}

// giveBack takes what could not be written down.
func (s *spending) giveBack(sent int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent += sent
}

func (s *spending) read(d day) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.day = d
}

// budget is that of the day in which now is. At its beginning nothing is spent, and WeChat's quota is yesterday's.
func (s *spending) budget(limit int64, now time.Time) budget {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.day
	if begun := wechat.Day(now); !d.begun.Equal(begun) {
		d = day{begun: begun, quota: d.quota}
	}
	d.sent += s.sent
	return d.budget(limit)
}

// count writes down what this replica sent, and reads what all did.
func (r *Registry) count(ctx context.Context) error {
	now, err := db.Now(ctx, r.db)
	if err != nil {
		return fmt.Errorf("count refreshes: %w", err)
	}
	begun, sent := wechat.Day(now), r.spending.take()
	if err := r.addSent(ctx, begun, sent); err != nil {
		r.spending.giveBack(sent)
		return fmt.Errorf("count refreshes: %w", err)
	}
	d, err := r.loadDay(ctx, begun)
	if err == nil {
		r.spending.read(d)
	}
	return err
}

// askQuota asks WeChat for its quota where the operator gave no budget. Where WeChat does not tell it nothing changes.
func (r *Registry) askQuota(ctx context.Context) {
	d, now := r.spending.today(), time.Now()
	if _, paused := r.Paused(ctx); paused || r.RefreshBudget > 0 || d.begun.IsZero() || !d.asksQuota(now) {
		return
	}
	if mine, err := r.mayAskQuota(ctx, d, now); err != nil || !mine {
		return
	}
	if limit, used, err := r.readQuota(ctx); err == nil && limit > 0 {
		_ = r.saveQuota(ctx, d.begun, limit, used) // else the next answer is
	}
	_ = r.deleteDays(ctx, d.begun.Add(-daysKept))
}

func (s *spending) today() day {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.day
}

// Spending is how much of the day's budget for access tokens is spent.
type Spending struct {
	Limit int64 // 0: neither the operator nor WeChat told one
	Used  int64
}

// Renews reports whether tokens are still renewed ahead of time.
func (s Spending) Renews() bool { return budget{s.Limit, s.Used}.ahead(time.Time{}) }

// Spending reads what all replicas spent today.
func (r *Registry) Spending(ctx context.Context) (Spending, error) {
	now, err := db.Now(ctx, r.db)
	if err != nil {
		return Spending{}, err
	}
	d, err := r.loadDay(ctx, wechat.Day(now))
	b := d.budget(r.RefreshBudget)
	return Spending{b.limit, b.used}, err
}
