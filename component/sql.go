package component

import (
	"context"

	"wxplatform/internal/db"
)

// A ticket that was pushed before the stored one came late, and is not stored.
func (c *Component) saveTicket(ctx context.Context, t Ticket) error {
	_, err := db.Exec(ctx, c.db, `
		INSERT INTO tickets (component, ticket, created_at, received_at)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT (component) DO UPDATE
		SET ticket = excluded.ticket, created_at = excluded.created_at, received_at = excluded.received_at
		WHERE tickets.created_at <= excluded.created_at`,
		string(c.AppID), c.ring.Seal(t.Value, c.place()...), db.Millis(t.Created), db.Millis(t.Received))
	return err
}

func (c *Component) loadTicket(ctx context.Context) (Ticket, error) {
	return db.One(ctx, c.db, c.readTicket, `
		SELECT ticket, created_at, received_at
		FROM tickets
		WHERE component = $1`, string(c.AppID))
}

func (c *Component) readTicket(scan db.Scan) (Ticket, error) {
	var sealed []byte
	var created, received int64
	if err := scan(&sealed, &created, &received); err != nil {
		return Ticket{}, err
	}
	value, err := c.ring.Open(sealed, c.place()...)
	return Ticket{Value: value, Created: db.Time(created), Received: db.Time(received)}, err
}

func (c *Component) place() []string { return []string{"tickets", "ticket", string(c.AppID)} }
