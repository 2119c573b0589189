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

// Now is the database's time, in whole milliseconds: the clock by which leases are held and numbers are made.
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
		return Time(Millis(d.Clock())), nil
	}
	ms, err := One(ctx, q, Value[int64], d.For(now))
	return Time(ms), err
}

func (d *DB) own() time.Time {
	if d.Own != nil {
		return d.Own()
	}
	return time.Now()
}

// Jumped reports whether this process noticed within a time that the database's clock was set, forward or back. A process that had not read it before takes it for set where it is not the time of day by its own.
// Before that time is over, nothing can be told by how long ago something was by the database's clock.
func (d *DB) Jumped(within time.Duration) bool { return d.jumps.noticed(d.own(), within) }

// jumps compares the database's clock with this process's own, which is never set.
type jumps struct {
	mu   sync.Mutex
	read time.Time // the database's time as it was read last
	at   time.Time // when that was by the own clock
	last time.Time // when a jump was noticed last, by the own clock
}

// note is told each reading. A statement is given up after patience, so that a slow answer does not look like a jump, and a jump by less than that does not show.
func (j *jumps) note(read, at time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.parted(read, at).Abs() > patience {
		j.last = at
	}
	j.read, j.at = read, at
}

// parted is by how much the clocks went apart since they were read last. Who reads the database's for the first time has only the time of day by its own to compare it with: where they differ, a jump may have been a moment ago.
func (j *jumps) parted(read, at time.Time) time.Duration {
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

// Millis is how a time stands in SQL: Unix milliseconds, 0 for the zero time.
func Millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// Time reads what Millis wrote.
func Time(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// Next is the number after last: last + 1 or the time in ms, whichever is larger, so that what is numbered after the restore of an old dump is newer than all that went before it.
func Next(last int64, now time.Time) int64 { return max(last+1, Millis(now)) }
