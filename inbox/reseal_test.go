package inbox

import (
	"testing"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

func TestWhatIsSavedWhileItIsResealedStays(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		if _, err := db.Exec(t.Context(), d, `INSERT INTO events (hash, body, received_at, due) VALUES ('h', $1, 1, 1)`, []byte("old")); err != nil {
			t.Fatal(err)
		}
		dbtest.Overtaken(t, d, sealedTable, `UPDATE events SET body = $1`)
	})
}
