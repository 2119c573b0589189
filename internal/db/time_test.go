package db_test

import (
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

func TestSettingTheClockIsNoticed(t *testing.T) {
	for _, step := range []time.Duration{time.Minute, -time.Minute} {
		d := dbtest.SQLite(t)
		start := time.UnixMilli(1_000_000)
		own, clock := start, start
		d.Clock, d.Own = func() time.Time { return clock }, func() time.Time { return own }
		pass := func(by time.Duration) {
			own, clock = own.Add(by), clock.Add(by)
			if _, err := db.Now(ctx, d); err != nil {
				t.Fatal(err)
			}
		}
		pass(0)
		pass(time.Hour)
		clock = clock.Add(time.Second) // a slow answer looks like that
		pass(time.Second)
		if d.Jumped(time.Hour) {
			t.Errorf("got a jump noticed before the clock was set by %v", step)
		}
		clock = clock.Add(step)
		pass(time.Second)
		pass(time.Minute)
		if !d.Jumped(61*time.Second) || d.Jumped(time.Minute) {
			t.Errorf("got the clock set by %v a minute ago noticed within 61 s: %v, within 60 s: %v, want true and false", step, d.Jumped(61*time.Second), d.Jumped(time.Minute))
		}
	}
}

func TestAClockThatDiffersFromTheOwnAtTheFirstReadingCountsAsSet(t *testing.T) {
	for off, want := range map[time.Duration]bool{0: false, time.Second: false, time.Minute: true, -time.Minute: true} {
		d := dbtest.SQLite(t)
		d.Clock = func() time.Time { return time.Now().Add(off) }
		if _, err := db.Now(ctx, d); err != nil || d.Jumped(time.Hour) != want {
			t.Errorf("%v off: got a jump noticed %v, %v, want %v", off, d.Jumped(time.Hour), err, want)
		}
	}
}
