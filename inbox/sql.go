package inbox

import (
	"context"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/failpoint"
	"wxplatform/internal/seal"
	"wxplatform/wechat"
)

// event is a stored push that is not handled yet.
type event struct {
	hash     string
	account  wechat.AppID // "" if it need not wait for other events
	received time.Time
	due      time.Time
	lease    time.Time
	attempts int // how often it was leased; it identifies the last lease
	sealed   []byte
}

const eventColumns = `hash, account, received_at, due, lease_until, attempts`

func scanEvent(scan db.Scan) (event, error) {
	var e event
	err := scan(&e.hash, &e.account, (*db.Stamp)(&e.received), (*db.Stamp)(&e.due), (*db.Stamp)(&e.lease), &e.attempts)
	return e, err
}

var sealedTable = db.SealedTable{Name: "events", Key: "hash", Columns: []string{"body"}}

func place(hash string) seal.Place { return sealedTable.Place("body", hash) }

// store seals and stores an event of an account. A push that is repeated has the same plaintext and
// so the same hash, and is stored once.
func (b *Inbox) store(ctx context.Context, account wechat.AppID, message []byte) error {
	now, err := db.Now(ctx, b.db)
	if err != nil {
		return err
	}
	body := seal.NewSecret(string(message))
	_, err = db.Exec(ctx, b.db, `
		INSERT INTO events (hash, account, body, received_at, due)
		VALUES ($1, $2, $3, $4, $4)
		ON CONFLICT (hash) DO NOTHING`, body.Hash(), string(account), b.ring.Seal(body, place(body.Hash())...), db.Stamp(now))
	if err == nil {
		failpoint.Hit("inbox", "stored")
		b.queue.Wake()
	}
	return err
}

// Due lists up to most events that mayWork allows. SQL leaves out those that have to wait, because
// there may be many.
func (w events) Due(ctx context.Context, most int) ([]event, error) {
	now, err := db.Now(ctx, w.db)
	if err != nil {
		return nil, err
	}
	return db.All(ctx, w.db, scanEvent, `
		SELECT `+eventColumns+`
		FROM events AS e
		WHERE done_at = 0 AND due <= $1
		  AND NOT (lease_until > $1 AND lease_until <= $2)
		  AND NOT EXISTS (
		    SELECT 1
		    FROM events AS other
		    WHERE other.account = e.account AND other.account <> '' AND other.done_at = 0
		      AND (other.lease_until > $1 AND other.lease_until <= $2
		        OR (other.received_at < e.received_at OR other.received_at = e.received_at AND other.hash < e.hash)
		          AND (other.attempts < $3 OR other.due <= $1)))
		ORDER BY due, hash
		LIMIT $4`, db.Stamp(now), db.Stamp(now.Add(lease)), holdUp, most)
}

const selectLine = `
		SELECT ` + eventColumns + `
		FROM events
		WHERE done_at = 0 AND (hash = $1 OR account = $2 AND account <> '')
		ORDER BY received_at, hash`

var lockLine = db.Text{
	SQLite:   selectLine,
	Postgres: selectLine + ` FOR UPDATE`,
}

// Lease locks all events of the account while it decides, so that no other replica leases one of
// them at the same time. The time is read under the lock.
func (w events) Lease(ctx context.Context, e event) (leased event, ok bool, err error) {
	err = w.db.Tx(ctx, func(tx *db.Tx) error {
		line, err := db.All(ctx, tx, scanEvent, w.db.For(lockLine), e.hash, string(e.account))
		if err != nil {
			return err
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		if leased, ok = mayWork(line, e.hash, now); !ok {
			return nil
		}
		leased, err = w.saveLease(ctx, tx, leased, now.Add(lease))
		return err
	})
	return leased, ok && err == nil, err
}

// saveLease stores the lease, makes the event due when the lease ends, and reads its content.
func (w events) saveLease(ctx context.Context, tx *db.Tx, e event, until time.Time) (event, error) {
	e.attempts++
	_, err := db.Exec(ctx, tx, `
		UPDATE events
		SET lease_until = $2, due = $2, attempts = $3
		WHERE hash = $1`, e.hash, db.Stamp(until), e.attempts)
	if err != nil {
		return e, err
	}
	e.sealed, err = db.One(ctx, tx, db.Value[[]byte], `SELECT body FROM events WHERE hash = $1`, e.hash)
	return e, err
}

// Postpone makes the event due after a pause. It does nothing if the event was leased again since.
func (w events) Postpone(ctx context.Context, e event, again time.Duration) error {
	now, err := db.Now(ctx, w.db)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, w.db, `
		UPDATE events
		SET due = $3, lease_until = 0
		WHERE hash = $1 AND attempts = $2 AND done_at = 0`, e.hash, e.attempts, db.Stamp(now.Add(again)))
	return err
}

// Finish deletes the event's content and keeps its hash, so that a repeated push is recognized. It
// does nothing if the event was leased again since.
func (w events) Finish(ctx context.Context, e event) error {
	now, err := db.Now(ctx, w.db)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, w.db, `
		UPDATE events
		SET done_at = $3, lease_until = 0, body = $4
		WHERE hash = $1 AND attempts = $2 AND done_at = 0`, e.hash, e.attempts, db.Stamp(now), []byte{})
	return err
}

// forget deletes events that were handled long ago, and those that could not be handled in a week:
// by then their auth codes have expired, and reconciling has found the accounts.
func (b *Inbox) forget(ctx context.Context) error {
	now, err := db.Now(ctx, b.db)
	if err != nil {
		return err
	}
	_, err = db.Trim(ctx, b.db, `
		DELETE FROM events
		WHERE hash IN (
		  SELECT hash
		  FROM events
		  WHERE done_at > 0 AND done_at < $1 OR received_at < $2
		  LIMIT $3)`, db.Stamp(now.Add(-b.KeepDone)), db.Stamp(now.Add(-max(giveUp, b.KeepDone))))
	return err
}

// Waiting counts the events that are not handled yet.
func (b *Inbox) Waiting(ctx context.Context) (int, error) {
	return db.One(ctx, b.db, db.Value[int], `SELECT COUNT(*) FROM events WHERE done_at = 0`)
}

// Reseal moves a page of the events to the newest sealing key. An event that is finished meanwhile
// stays empty.
func (b *Inbox) Reseal(ctx context.Context, page db.Page) (db.Resealed, error) {
	return b.db.Reseal(ctx, b.ring, sealedTable, page)
}

// Oldest returns for how long the event that waits longest has been overdue; 0 if none is.
func (b *Inbox) Oldest(ctx context.Context) (time.Duration, error) {
	now, err := db.Now(ctx, b.db)
	if err != nil {
		return 0, err
	}
	due, err := db.One(ctx, b.db, scanStamp, `
		SELECT COALESCE(MIN(due), 0)
		FROM events
		WHERE done_at = 0 AND due <= $1`, db.Stamp(now))
	if err != nil || due.IsZero() {
		return 0, err
	}
	return now.Sub(due), nil
}

func scanStamp(scan db.Scan) (time.Time, error) {
	var at time.Time
	err := scan((*db.Stamp)(&at))
	return at, err
}
