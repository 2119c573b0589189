package db

import (
	"context"
	"sync"
	"time"
)

var now = Text{
	SQLite:   `SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)`,
	Postgres: `SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)`,
}

// Now returns the database's time, in whole milliseconds. Leases and version numbers are made with
// this clock.
func Now(ctx context.Context, q Querier) (time.Time, error) {
	d := q.database()
	read, err := d.read(ctx, q)
	if err == nil {
		d.jumps.note(read, d.own())
	}
	return read, err
}

func (d *DB) read(ctx context.Context, q Querier) (time.Time, error) {
	if d.Clock != nil {
		return fromMillis(millis(d.Clock())), nil
	}
	at, err := One(ctx, q, Value[Stamp], d.For(now))
	return time.Time(at), err
}

func (d *DB) own() time.Time {
	if d.Own != nil {
		return d.Own()
	}
	return time.Now()
}

// Jumped reports whether this process noticed within the given time that the database's clock was
// set, forward or back. For a process that has just started, a clock that differs from the
// process's own counts as set. While Jumped is true, times in the database do not tell how long ago
// something was.
func (d *DB) Jumped(within time.Duration) bool { return d.jumps.noticed(d.own(), within) }

// jumps compares the database's clock with this process's own, which nobody sets.
type jumps struct {
	mu   sync.Mutex
	read time.Time // the database's time at the last reading
	at   time.Time // the time of that reading by the own clock
	last time.Time // when a jump was last noticed, by the own clock
}

// note compares a reading with the one before. Differences up to patience are ignored: a slow
// answer causes those.
func (j *jumps) note(read, at time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.drift(read, at).Abs() > patience {
		j.last = at
	}
	j.read, j.at = read, at
}

// drift returns by how much the clocks moved apart since the last reading. The first reading is
// compared with the own clock: if they differ, the database's may have been set just before.
func (j *jumps) drift(read, at time.Time) time.Duration {
	if j.at.IsZero() {
		return read.Sub(at)
	}
	return read.Sub(j.read) - at.Sub(j.at)
}

func (j *jumps) noticed(now time.Time, within time.Duration) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.last.IsZero() && now.Sub(j.last) < within
}

// millis returns t in Unix milliseconds, 0 for the zero time, as SQL stores it.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// fromMillis is the inverse of millis.
func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// Next returns the number after last: last+1 or the time in milliseconds, whichever is larger. So
// after an old dump was restored, new numbers are still above all that were used before.
func Next(last int64, now time.Time) int64 { return max(last+1, millis(now)) }
