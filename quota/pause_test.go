package quota

import (
	"errors"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/wechat"
)

func TestWhichRefusalsMayBeThePlatformsFault(t *testing.T) {
	for _, n := range []wechat.Code{61004, 40125, 61005, 61006, 61011, 40001, 40014, 42001, 42006} {
		if !IsPlatformFault(n) {
			t.Errorf("%d: got one account's fault, want one that may be the platform's", n)
		}
	}
	for _, n := range []wechat.Code{0, -1, 45009, 45011, 48001, 61003, 61007, 61023, 42007} {
		if IsPlatformFault(n) {
			t.Errorf("%d: got the platform's fault, want one account's", n)
		}
	}
}

func TestAProbeIsTakenOnceByAllReplicasAndMayBeGivenBack(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		one, other := New(d), New(d)
		p := Pause{Code: wechat.DayQuota, Since: time.Now(), Until: time.Now().Add(time.Hour), probe: time.Now().Add(-time.Second)}
		if err := one.savePause(ctx, p); err != nil {
			t.Fatal(err)
		}
		may := func(l *Limiter) Permit {
			l.pauses.read = time.Time{} // as if a second had passed
			permit, err := l.Permit(ctx)
			if pause := (*PauseError)(nil); err != nil && !errors.As(err, &pause) {
				t.Fatal(err)
			}
			return permit
		}
		other.pauses.setShared(p)
		other.pauses.read = time.Now() // it looked before the probe was taken
		taken := may(one)
		if permit, _ := other.Permit(ctx); permit.IsProbe() {
			t.Error("got the probe taken twice")
		}
		if !taken.IsProbe() || may(other).IsProbe() || may(one).IsProbe() {
			t.Fatal("got no probe or two, want one in ten minutes")
		}
		if err := one.Done(ctx, taken, Result{}); err != nil || !may(other).IsProbe() {
			t.Errorf("got %v, want a probe that was not needed given back", err)
		}
		if err := one.Done(ctx, Permit{}, Result{Sent: true, Served: true}); err != nil {
			t.Error(err)
		}
		if _, paused := one.Paused(ctx); !paused {
			t.Error("got the pause ended by an ask that began before it")
		}
		if err := one.Done(ctx, taken, Result{Sent: true, Served: true}); err != nil {
			t.Error(err)
		}
		may(other)
		if _, paused := other.Paused(ctx); paused {
			t.Error("got the pause kept after a probe's success")
		}
	})
}

func TestFiveRefusalsInAMinutePauseAll(t *testing.T) {
	var p pauses
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	for i, s := range []int{0, 10, 20, 30} {
		if p.refused(wechat.DayQuota, at(s)) {
			t.Errorf("got all paused by refusal %d", i+1)
		}
	}
	if p.refused(wechat.MinuteQuota, at(35)) || p.refused(wechat.DayQuota, at(61)) {
		t.Error("got all paused by another quota, or by a refusal after the minute")
	}
	if !p.refused(wechat.DayQuota, at(62)) {
		t.Error("got none paused by five in a minute")
	}
}

func TestAPauseForAQuotaEndsWithIt(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 0, 30, 0, time.UTC)
	day, minute := quotaPause(wechat.DayQuota, now), quotaPause(wechat.MinuteQuota, now)
	if got := day.Until.UTC().Format(time.RFC3339); got != "2026-03-01T16:00:00Z" || day.probe != now.Add(10*time.Minute) {
		t.Errorf("got %s and a probe at %v, want midnight in Beijing and a probe in 10 minutes", got, day.probe)
	}
	if got := minute.Until.UTC().Format(time.RFC3339); got != "2026-03-01T10:01:00Z" || minute.probe.Before(minute.Until) {
		t.Errorf("got %s and a probe at %v, want the next minute and none", got, minute.probe)
	}
	if !day.holds(now) || day.holds(day.Until) {
		t.Error("got a pause that holds at the wrong time")
	}
}
