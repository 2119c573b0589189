package component

import (
	"testing"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

func TestResealKeepsATicketSavedMeanwhile(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		if _, err := db.Exec(t.Context(), d, `INSERT INTO tickets (component, ticket, created_at, received_at) VALUES ('wx1', $1, 1, 1)`, []byte("old")); err != nil {
			t.Fatal(err)
		}
		dbtest.Overtaken(t, d, sealedTable, `UPDATE tickets SET ticket = $1`)
	})
}
