package authorizer

import (
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/seal"
	"wxplatform/migrations"
	"wxplatform/tenant"
	"wxplatform/token"
)

// Keepers are fair between the owners of tokens, so the owner must follow the binding.
func TestTheTokensOwnerFollowsTheBinding(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := registry(t, d)
		owned := func(want tenant.ID) {
			t.Helper()
			a, err := r.Find(ctx, id)
			got, err2 := db.One(ctx, d, db.Value[tenant.ID], `SELECT owner FROM tokens WHERE kind = 'authorizer' AND id = $1`, id)
			if err != nil || err2 != nil || got != want || a.Tenant != want {
				t.Errorf("got the token for %q and the authorizer bound to %q, %v, %v, want %q", got, a.Tenant, err, err2, want)
			}
		}
		owned("")
		if refused, err := r.Assign(ctx, tester, []Assignment{{id, "one"}}); err != nil || len(refused) != 0 {
			t.Fatal(refused, err)
		}
		owned("one")
		if refused, err := r.Assign(ctx, tester, []Assignment{{id, "two"}}); err != nil || len(refused) != 1 {
			t.Fatal(refused, err)
		}
		owned("one")
		if err := r.Move(ctx, tester, id, "two"); err != nil {
			t.Fatal(err)
		}
		owned("two")
		if err := r.states.change(ctx, id, func(_ *db.Tx, c condition, now time.Time) (condition, error) { return c.withdrawn(now), nil }); err != nil {
			t.Fatal(err)
		}
		owned("two")
		err := d.Tx(ctx, func(tx *db.Tx) error {
			_, err := r.Grant(ctx, tx, Grant{AppID: id, Answer: token.Answer{Refresh: seal.NewSecret("r2")}, Sent: time.Now(), Inviter: "three"})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		owned("three")
	})
}

func TestTheMigrationGivesTokensTheirOwners(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := registry(t, d)
		if err := r.Move(ctx, tester, id, "one"); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{`UPDATE tokens SET owner = ''`, `DELETE FROM migrations WHERE name = '0003_owner_of_each.sql'`} {
			if _, err := db.Exec(ctx, d, text); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Migrate(ctx, migrations.Files); err != nil {
			t.Fatal(err)
		}
		if got, err := db.One(ctx, d, db.Value[string], `SELECT owner FROM tokens WHERE kind = 'authorizer'`); err != nil || got != "one" {
			t.Errorf("got %q, %v, want the tenant", got, err)
		}
	})
}

func TestTheMigrationKeepsWhenAccountsAreTried(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := registry(t, d)
		for _, text := range []string{
			`UPDATE authorizers SET state = 'reauthorize', attempt_at = 7`,
			`DROP INDEX authorizers_to_try`, `DROP INDEX authorizers_sought`, `ALTER TABLE authorizers DROP COLUMN next_at`,
			`DELETE FROM migrations WHERE name = '0009_next_at.sql'`,
		} {
			if _, err := db.Exec(ctx, d, text); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Migrate(ctx, migrations.Files); err != nil {
			t.Fatal(err)
		}
		for ms, want := range map[int64]int{6: 0, 7: 1} {
			if due, err := r.table.dueAttempts(ctx, time.UnixMilli(ms), 9); err != nil || len(due) != want {
				t.Errorf("got %v, %v at %d, want %d accounts due from 7", due, err, ms, want)
			}
		}
	})
}
