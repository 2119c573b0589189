package db

import (
	"context"
	"time"
)

const (
	trimMost  = 500                   // rows a statement
	trimPause = 10 * time.Millisecond // in which other writers of SQLite get their turn
)

// Trim deletes what a statement finds, in bites, so that it holds no lock for long: the statement
// deletes at most as many rows as its last argument says, which Trim adds, and is repeated while it
// deletes that many. It counts as background work. Several processes may trim one table at the same
// time. It returns how many rows it deleted, also if it fails.
func Trim(ctx context.Context, d *DB, statement string, args ...any) (deleted int64, err error) {
	ctx = Background(ctx)
	for {
		rows, err := Exec(ctx, d, statement, append(args[:len(args):len(args)], trimMost)...)
		deleted += rows
		if err != nil || rows < trimMost {
			return deleted, err
		}
		select {
		case <-ctx.Done():
			return deleted, ctx.Err()
		case <-time.After(trimPause):
		}
	}
}
