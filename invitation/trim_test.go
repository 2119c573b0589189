package invitation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

func exec(t *testing.T, d *db.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.Exec(context.Background(), d, statement, args...); err != nil {
		t.Fatal(err)
	}
}

// left returns the hashes that a table still has.
func left(t *testing.T, d *db.DB, table string) string {
	t.Helper()
	all, err := db.All(context.Background(), d, db.Value[string], `SELECT hash FROM `+table)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestWhatIsNoLongerNeededIsDeleted(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		d.Clock = func() time.Time { return noon }
		s := &Service{db: d, table: table{d}, KeepEnded: 48 * time.Hour, KeepCodes: 2 * time.Hour}
		exec(t, d, `INSERT INTO tenants (id, name, redirects, created_at) VALUES ('t1', 'Tea', '[]', 1)`)
		at := func(ago time.Duration) int64 { return noon.Add(-ago).UnixMilli() }
		for hash, c := range map[string]struct {
			status         string
			expires, ended int64
		}{
			"pending": {"pending", at(-time.Hour), 0}, "expired": {"pending", at(47 * time.Hour), 0}, "expired-long-ago": {"pending", at(49 * time.Hour), 0},
			"used": {"authorized", at(-time.Hour), at(47 * time.Hour)}, "used-long-ago": {"authorized", at(-time.Hour), at(49 * time.Hour)},
			"cancelled-long-ago": {"cancelled", at(-time.Hour), at(49 * time.Hour)}, "named": {"authorized", at(50 * time.Hour), at(49 * time.Hour)},
			"used-late": {"authorized", at(50 * time.Hour), at(time.Hour)}, "of-an-older-version": {"authorized", at(49 * time.Hour), 0},
		} {
			exec(t, d, `INSERT INTO invitations (hash, tenant, redirect_url, kind, status, created_at, expires_at, ended_at) VALUES ($1, 't1', '', 'pc', $2, 1, $3, $4)`, hash, c.status, c.expires, c.ended)
		}
		exec(t, d, `INSERT INTO invitation_secrets (hash, kind, invitation, expires_at) VALUES ('old', 'pre-auth', 'used', $1), ('new', 'pre-auth', 'named', $2)`, at(1), at(-time.Minute))
		exec(t, d, `INSERT INTO exchanges (hash, created_at, sent_at, lease_until) VALUES ('new', $1, 0, 0), ('sent', $2, $1, 0), ('held', $2, $2, $3), ('old', $2, $2, 0), ('never-sent', $2, 0, 0), ('of-an-older-version', 0, $2, 0)`,
			at(time.Hour), at(3*time.Hour), at(-time.Second))
		if err := s.Sweep(context.Background()); err != nil {
			t.Fatal(err)
		}
		for table, want := range map[string]string{"invitations": "expired named pending used used-late", "invitation_secrets": "new", "exchanges": "held new sent"} {
			if got := left(t, d, table); got != want {
				t.Errorf("%s: got %q left, want %q", table, got, want)
			}
		}
	})
}

func TestManyRowsAreDeletedInBites(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		const rows = 1203
		values := make([]string, rows)
		for i := range values {
			values[i] = fmt.Sprintf("('h%d', 1, 1)", i)
		}
		exec(t, d, `INSERT INTO exchanges (hash, created_at, sent_at) VALUES `+strings.Join(values, ","))
		bites := 0
		d.Gate = func(_ context.Context, text string, _ []any) db.Fate {
			if strings.Contains(text, "DELETE FROM exchanges") {
				bites++
			}
			return db.Done
		}
		if err := (&Service{db: d, table: table{d}}).Sweep(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := left(t, d, "exchanges"); got != "" || bites != 3 {
			t.Errorf("got %d bites and %d characters left, want 3 bites and nothing", bites, len(got))
		}
	})
}
