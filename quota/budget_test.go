package quota

import (
	"context"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/wechat"
)

func beijing(t *testing.T, clock string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, "2026-03-02T"+clock+"+08:00")
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestRenewalsKeepToTheBudget(t *testing.T) {
	for _, c := range []struct {
		limit, used int64
		at          string
		ahead, warm bool
	}{
		{0, 1 << 40, "12:00:00", true, true}, // none is known
		{1000, 0, "00:00:00", true, false},
		{1000, 0, "00:00:01", true, true},
		{1000, 399, "12:00:00", true, true},
		{1000, 400, "12:00:00", true, false},
		{1000, 799, "23:59:59", true, true},
		{1000, 799, "23:00:00", true, false},
		{1000, 800, "23:59:59", false, false},
		{1000, 5000, "12:00:00", false, false},
	} {
		b, now := budget{c.limit, c.used}, beijing(t, c.at)
		if b.ahead() != c.ahead || b.warm(now) != c.warm {
			t.Errorf("%d of %d at %s: got %v and %v, want %v ahead, %v warm", c.used, c.limit, c.at, b.ahead(), b.warm(now), c.ahead, c.warm)
		}
	}
}

func TestWhoseCountTheBudgetGoesBy(t *testing.T) {
	d := day{begun: wechat.Day(beijing(t, "08:00:00")), sent: 70, quota: 1000, used: 3}
	if got := d.budget(100); got != (budget{100, 70}) {
		t.Errorf("got %+v, want the operator's and our own count", got)
	}
	if got := d.budget(0); got != (budget{1000, 3}) {
		t.Errorf("got %+v, want WeChat's and its own count", got)
	}
	if d.quota = 0; d.budget(0).limit != 0 {
		t.Error("got a limit that nobody told")
	}
}

func TestADayBeginsWithNothingSpent(t *testing.T) {
	var u usage
	u.set(day{begun: wechat.Day(beijing(t, "23:59:00")), sent: 100})
	u.add(1)
	if got := u.budget(50, beijing(t, "23:59:59")); got.used != 101 {
		t.Errorf("got %d, want what SQL said and what was sent since", got.used)
	}
	if got := u.budget(50, beijing(t, "23:59:59").Add(time.Second)); got.used != 1 {
		t.Errorf("got %d at midnight, want what was not written down yet", got.used)
	}
	u.set(day{begun: wechat.Day(beijing(t, "23:59:00")), quota: 40, used: 39})
	if got := u.budget(0, beijing(t, "23:59:59").Add(time.Second)); got != (budget{40, 0}) {
		t.Errorf("got %+v at midnight, want WeChat's quota anew", got)
	}
}

func TestWhenWeChatIsAskedForItsQuota(t *testing.T) {
	now := beijing(t, "12:00:00")
	for _, c := range []struct {
		ago         time.Duration
		quota, sent int64
		want        bool
	}{
		{10 * time.Minute, 0, 0, true}, {9 * time.Minute, 0, 1 << 40, false}, {9 * time.Minute, 1000, 19, false},
		{time.Minute, 1000, 20, true}, {59 * time.Second, 1000, 1000, false}, {-11 * time.Minute, 0, 0, true}, // the clock was set back
	} {
		d := day{read: now.Add(-c.ago), quota: c.quota, sent: 5 + c.sent, readSent: 5}
		if got := d.quotaDue(now); got != c.want {
			t.Errorf("%v ago, %d sent of %d: got %v, want %v", c.ago, c.sent, c.quota, got, c.want)
		}
	}
}

var ctx = context.Background()

func TestAllReplicasUseOneBudget(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		one, other := New(d), New(d)
		other.Budget = 10
		for range 3 {
			one.Sent()
			other.Sent()
		}
		for _, l := range []*Limiter{one, other} {
			if err := l.Count(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if got := other.usage.budget(10, time.Now()); got.used != 6 {
			t.Errorf("got %d used, want both replicas' 6", got.used)
		}
		if got, err := other.Usage(ctx); err != nil || got != (Usage{10, 6}) || !got.Renews() {
			t.Errorf("got %+v, %v, want 6 of 10, and renewals", got, err)
		}
		if _, err := db.Exec(ctx, d, `ALTER TABLE refresh_days RENAME TO gone`); err != nil {
			t.Fatal(err)
		}
		one.Sent()
		if err := one.Count(ctx); err == nil || one.usage.budget(10, time.Now()).used != 4 {
			t.Errorf("got %v and %+v, want what SQL did not take kept", err, one.usage.budget(10, time.Now()))
		}
	})
}

// The days are trimmed too where the operator set a budget, and WeChat is never asked for its
// quota.
func TestOldDaysAreDeleted(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := New(d)
		l.Budget, l.KeepDays = 10, 48*time.Hour
		today := wechat.Day(time.Now())
		for _, ago := range []int{1, 2, 3, 400} {
			if err := l.addSent(ctx, today.AddDate(0, 0, -ago), 1); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Count(ctx); err != nil {
			t.Fatal(err)
		}
		if n, err := db.One(ctx, d, db.Value[int], `SELECT COUNT(*) FROM refresh_days`); err != nil || n != 3 {
			t.Errorf("got %d days, %v, want today and the two before", n, err)
		}
	})
}
