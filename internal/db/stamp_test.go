package db_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

func TestAStampReadsWhatItWrote(t *testing.T) {
	now := time.Now()
	last := time.Unix(math.MaxInt64/1000-1, 999_000_000)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, c := range []struct{ write, want time.Time }{
			{time.Time{}, time.Time{}},
			{now, now.Truncate(time.Millisecond)},
			{now.In(time.FixedZone("", 3600)), now.Truncate(time.Millisecond)},
			{time.UnixMilli(-1), time.UnixMilli(-1)},
			{last, last},
		} {
			got, err := stored(t, d, db.Stamp(c.write))
			if err != nil || !got.Equal(c.want) || got.IsZero() != c.want.IsZero() {
				t.Errorf("%v: got %v, %v, want %v", c.write, got, err, c.want)
			}
		}
		if got, err := stored(t, d, int64(0)); err != nil || !got.IsZero() {
			t.Errorf("got %v, %v for 0, want the zero time", got, err)
		}
	})
}

func TestAStampRefusesWhatDoesNotFit(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, far := range []time.Time{time.Unix(math.MaxInt64/1000, 0), time.Unix(math.MinInt64/1000, 0), time.Unix(1<<60, 0), time.Unix(-1<<60, 0)} {
			for _, value := range []any{db.Stamp(far), (*db.Stamp)(&far)} {
				if _, err := stored(t, d, value); err == nil || !strings.Contains(err.Error(), "does not fit") || errors.Is(err, db.ErrUnavailable) {
					t.Errorf("%v as %T: got %v, want it refused", far, value, err)
				}
			}
		}
	})
}

func TestAStampRefusesOtherTypes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, value := range []string{`NULL`, `'1700000000000'`, `1.5e0`, `CAST('x' AS ` + d.For(db.Text{SQLite: "BLOB", Postgres: "BYTEA"}) + `)`} {
			before := time.UnixMilli(1)
			got := before
			_, err := db.One(ctx, d, func(scan db.Scan) (int, error) { return 0, scan((*db.Stamp)(&got)) }, `SELECT `+value)
			if err == nil || errors.Is(err, db.ErrUnavailable) || !got.Equal(before) {
				t.Errorf("%s: got %v, %v, want an error that is no outage", value, got, err)
			}
		}
	})
}

// stored writes value into a BIGINT column and reads it back.
func stored(t *testing.T, d *db.DB, value any) (at time.Time, err error) {
	t.Helper()
	if _, err := db.Exec(ctx, d, `DELETE FROM tenants`); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(ctx, d, `INSERT INTO tenants (id, name, redirects, created_at) VALUES ('t', 'x', '[]', $1)`, value); err != nil {
		return at, err
	}
	_, err = db.One(ctx, d, func(scan db.Scan) (int, error) { return 0, scan((*db.Stamp)(&at)) }, `SELECT created_at FROM tenants`)
	return at, err
}
