package inbox

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

func TestEventsAreForgottenAfterTheirTime(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		now := time.Now()
		d.Clock = func() time.Time { return now }
		b := &Inbox{KeepDone: 2 * time.Hour, db: d}
		at := func(ago time.Duration) int64 { return now.Add(-ago).UnixMilli() }
		for hash, c := range map[string]struct{ received, done int64 }{
			"done": {at(3 * time.Hour), at(time.Hour)}, "done-long-ago": {at(4 * time.Hour), at(3 * time.Hour)},
			"waiting": {at(6 * 24 * time.Hour), 0}, "given-up": {at(8 * 24 * time.Hour), 0},
		} {
			if _, err := db.Exec(context.Background(), d, `INSERT INTO events (hash, body, received_at, due, done_at) VALUES ($1, $2, $3, $3, $4)`, hash, []byte{}, c.received, c.done); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.forget(context.Background()); err != nil {
			t.Fatal(err)
		}
		left, err := db.All(context.Background(), d, db.Value[string], `SELECT hash FROM events`)
		slices.Sort(left)
		if got := strings.Join(left, " "); err != nil || got != "done waiting" {
			t.Errorf("got %q left, %v, want what was done lately and what waits", got, err)
		}
	})
}
