package db

import (
	"context"
	"time"
)

var now = Text{
	SQLite:   `SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)`,
	Postgres: `SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)`,
}

// Now is the database's time, in whole milliseconds: the clock by which leases are held and numbers are made.
func Now(ctx context.Context, q Querier) (time.Time, error) {
	d := q.database()
	if d.Clock != nil {
		return Time(Millis(d.Clock())), nil
	}
	ms, err := One(ctx, q, Value[int64], d.For(now))
	return Time(ms), err
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
