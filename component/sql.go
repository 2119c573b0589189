package component

import (
	"context"
	"fmt"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// saveTicket stores t, unless a later ticket is stored. An older build may have stored one whose
// time is far ahead: any ticket replaces it.
func (c *Component) saveTicket(ctx context.Context, t Ticket) error {
	_, err := db.Exec(ctx, c.db, `
		INSERT INTO tickets (component, ticket, created_at, received_at)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT (component) DO UPDATE
		SET ticket = excluded.ticket, created_at = excluded.created_at, received_at = excluded.received_at
		WHERE tickets.created_at <= excluded.created_at
		   OR tickets.created_at > $5`,
		string(c.AppID), c.ring.Seal(t.Value, c.place()...), db.Stamp(t.Created), db.Stamp(t.Received), db.Stamp(time.Now().Add(ticketAhead)))
	return err
}

func (c *Component) loadTicket(ctx context.Context) (Ticket, error) {
	return db.One(ctx, c.db, c.readTicket, `
		SELECT ticket, created_at, received_at
		FROM tickets
		WHERE component = $1`, string(c.AppID))
}

func (c *Component) readTicket(scan db.Scan) (t Ticket, err error) {
	var sealed []byte
	if err := scan(&sealed, (*db.Stamp)(&t.Created), (*db.Stamp)(&t.Received)); err != nil {
		return Ticket{}, err
	}
	if t.Value, err = c.ring.Open(sealed, c.place()...); err != nil {
		return Ticket{}, fmt.Errorf("%w: %w", ErrUnopened, err)
	}
	return t, nil
}

var sealedTable = db.SealedTable{Name: "tickets", Key: "component", Columns: []string{"ticket"}}

func (c *Component) place() seal.Place { return sealedTable.Place("ticket", string(c.AppID)) }

// Reseal seals the ticket with the newest sealing key, unless a newer ticket is stored meanwhile.
func (c *Component) Reseal(ctx context.Context, page db.Page) (db.Resealed, error) {
	return c.db.Reseal(ctx, c.ring, sealedTable, page)
}
