package tenant

import (
	"testing"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

func TestWhatIsSavedWhileItIsResealedStays(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		if _, err := db.Exec(t.Context(), d, `INSERT INTO signing_keys (kid, public, private, published_at, signs_from) VALUES ('k', $1, $1, 1, 1)`, []byte("old")); err != nil {
			t.Fatal(err)
		}
		dbtest.Overtaken(t, d, sealedTable, `UPDATE signing_keys SET private = $1`)
	})
}
