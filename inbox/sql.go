package inbox

import (
	"context"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/failpoint"
	"wxplatform/internal/seal"
)

// event is one that is stored and not yet worked off.
type event struct {
	hash     string
	sealed   []byte
	due      int64
	attempts int
}

func readEvent(scan db.Scan) (event, error) {
	var e event
	err := scan(&e.hash, &e.sealed, &e.due, &e.attempts)
	return e, err
}

func place(hash string) []string { return []string{"events", "body", hash} }

// store keeps an event, once however often it is pushed: it is known by the hash of its plaintext.
func (b *Inbox) store(ctx context.Context, message []byte) error {
	now, err := db.Now(ctx, b.db)
	if err != nil {
		return err
	}
	body := seal.NewSecret(string(message))
	_, err = db.Exec(ctx, b.db, `
		INSERT INTO events (hash, body, received_at, due)
		VALUES ($1, $2, $3, $3)
		ON CONFLICT (hash) DO NOTHING`, body.Hash(), b.ring.Seal(body, place(body.Hash())...), db.Millis(now))
	if err == nil {
		failpoint.Hit("inbox", "stored")
		b.wake()
	}
	return err
}

func (b *Inbox) due(ctx context.Context, now time.Time) ([]event, error) {
	return db.All(ctx, b.db, readEvent, `
		SELECT hash, body, due, attempts
		FROM events
		WHERE done_at = 0 AND due <= $1
		ORDER BY due, hash
		LIMIT $2`, db.Millis(now), batch)
}

// take moves an event that still stands where it was found; false says that another replica has it.
func (b *Inbox) take(ctx context.Context, e event, until time.Time) (bool, error) {
	rows, err := db.Exec(ctx, b.db, `
		UPDATE events
		SET due = $3, attempts = attempts + 1
		WHERE hash = $1 AND due = $2 AND done_at = 0`, e.hash, e.due, db.Millis(until))
	return rows > 0, err
}

func (b *Inbox) postpone(ctx context.Context, e event, until time.Time) error {
	_, err := db.Exec(ctx, b.db, `UPDATE events SET due = $2 WHERE hash = $1 AND done_at = 0`, e.hash, db.Millis(until))
	return err
}

// finish empties the event and keeps its hash, so that a repeated push is recognized.
func (b *Inbox) finish(ctx context.Context, e event, now time.Time) error {
	_, err := db.Exec(ctx, b.db, `UPDATE events SET done_at = $2, body = $3 WHERE hash = $1`, e.hash, db.Millis(now), []byte{})
	return err
}

// forget removes what was worked off long ago, and what could not be worked off in a week: by then WeChat has forgotten its code, and reconciling has found the account.
func (b *Inbox) forget(ctx context.Context) error {
	now, err := db.Now(ctx, b.db)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, b.db, `
		DELETE FROM events
		WHERE done_at > 0 AND done_at < $1 OR received_at < $2`, db.Millis(now.Add(-keepDone)), db.Millis(now.Add(-giveUp)))
	return err
}

// Waiting counts the events that are not worked off yet.
func (b *Inbox) Waiting(ctx context.Context) (int, error) {
	return db.One(ctx, b.db, db.Value[int], `SELECT COUNT(*) FROM events WHERE done_at = 0`)
}

// Reseal moves a page of the events to the newest sealing key. One that is worked off meanwhile stays empty.
func (b *Inbox) Reseal(ctx context.Context, page db.Page) (db.Resealed, error) {
	return b.db.Reseal(ctx, b.ring, db.SealedTable{Read: readSealed, Replace: replaceSealed, Delete: deleteSealed}, page)
}

func readSealed(ctx context.Context, q db.Querier, after string, most int) ([]db.SealedRow, error) {
	return db.All(ctx, q, db.ReadSealed(places), `
		SELECT hash, body
		FROM events
		WHERE hash > $1
		ORDER BY hash
		LIMIT $2`, after, most)
}

func places(key string) []seal.Place { return []seal.Place{place(key)} }

func replaceSealed(ctx context.Context, tx *db.Tx, row db.SealedRow, fresh [][]byte) (bool, error) {
	rows, err := db.Exec(ctx, tx, `UPDATE events SET body = $2 WHERE hash = $1 AND body = $3`, row.Key, fresh[0], row.Sealed[0])
	return rows > 0, err
}

func deleteSealed(ctx context.Context, tx *db.Tx, row db.SealedRow) (bool, error) {
	rows, err := db.Exec(ctx, tx, `DELETE FROM events WHERE hash = $1 AND body = $2`, row.Key, row.Sealed[0])
	return rows > 0, err
}

// Oldest is how long the event that waits longest has been overdue, 0 where none is.
func (b *Inbox) Oldest(ctx context.Context) (time.Duration, error) {
	now, err := db.Now(ctx, b.db)
	if err != nil {
		return 0, err
	}
	due, err := db.One(ctx, b.db, db.Value[int64], `SELECT COALESCE(MIN(due), 0) FROM events WHERE done_at = 0 AND due <= $1`, db.Millis(now))
	if err != nil || due == 0 {
		return 0, err
	}
	return now.Sub(db.Time(due)), nil
}
