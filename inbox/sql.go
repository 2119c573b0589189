package inbox

import (
	"context"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/failpoint"
	"wxplatform/internal/seal"
	"wxplatform/wechat"
)

// event is one that is stored and not yet worked off.
type event struct {
	hash     string
	account  wechat.AppID // "" for one that waits for no other
	received time.Time
	due      time.Time
	lease    time.Time
	attempts int // counts the leases, so that it names the last one
	sealed   []byte
}

func readEvent(scan db.Scan) (event, error) {
	var e event
	var received, due, lease int64
	err := scan(&e.hash, &e.account, &received, &due, &lease, &e.attempts)
	e.received, e.due, e.lease = db.Time(received), db.Time(due), db.Time(lease)
	return e, err
}

var sealedTable = db.SealedTable{Name: "events", Key: "hash", Columns: []string{"body"}}

func place(hash string) seal.Place { return sealedTable.Place("body", hash) }

// store keeps an event of an account, once however often it is pushed: it is known by the hash of its plaintext.
func (b *Inbox) store(ctx context.Context, account wechat.AppID, message []byte) error {
	now, err := db.Now(ctx, b.db)
	if err != nil {
		return err
	}
	body := seal.NewSecret(string(message))
	_, err = db.Exec(ctx, b.db, `
		INSERT INTO events (hash, account, body, received_at, due)
		VALUES ($1, $2, $3, $4, $4)
		ON CONFLICT (hash) DO NOTHING`, body.Hash(), string(account), b.ring.Seal(body, place(body.Hash())...), db.Millis(now))
	if err == nil {
		failpoint.Hit("inbox", "stored")
		b.queue.Wake()
	}
	return err
}

// Due lists what mayWork allows, without a look at events that have to wait: there may be many of them.
func (w events) Due(ctx context.Context, most int) ([]event, error) {
	now, err := db.Now(ctx, w.db)
	if err != nil {
		return nil, err
	}
	return db.All(ctx, w.db, readEvent, `
		SELECT hash, account, received_at, due, lease_until, attempts
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
		LIMIT $4`, db.Millis(now), db.Millis(now.Add(lease)), holdUp, most)
}

const selectLine = `
		SELECT hash, account, received_at, due, lease_until, attempts
		FROM events
		WHERE done_at = 0 AND (hash = $1 OR account = $2 AND account <> '')
		ORDER BY received_at, hash`

var lockLine = db.Text{
	SQLite:   selectLine,
	Postgres: selectLine + ` FOR UPDATE`,
}

// Lease holds all events of the account while it decides, so that no other replica takes one of them at the same time. The time is read under the lock.
func (w events) Lease(ctx context.Context, e event) (leased event, ok bool, err error) {
	err = w.db.Tx(ctx, func(tx *db.Tx) error {
		line, err := db.All(ctx, tx, readEvent, w.db.For(lockLine), e.hash, string(e.account))
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

// saveLease also has the event due when the lease ends, and reads its content.
func (w events) saveLease(ctx context.Context, tx *db.Tx, e event, until time.Time) (event, error) {
	e.attempts++
	_, err := db.Exec(ctx, tx, `
		UPDATE events
		SET lease_until = $2, due = $2, attempts = $3
		WHERE hash = $1`, e.hash, db.Millis(until), e.attempts)
	if err != nil {
		return e, err
	}
	e.sealed, err = db.One(ctx, tx, db.Value[[]byte], `SELECT body FROM events WHERE hash = $1`, e.hash)
	return e, err
}

// Postpone does nothing where another lease was given since.
func (w events) Postpone(ctx context.Context, e event, again time.Duration) error {
	now, err := db.Now(ctx, w.db)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, w.db, `
		UPDATE events
		SET due = $3, lease_until = 0
		WHERE hash = $1 AND attempts = $2 AND done_at = 0`, e.hash, e.attempts, db.Millis(now.Add(again)))
	return err
}

// Finish empties the event and keeps its hash, so that a repeated push is recognized. It does nothing where another lease was given since.
func (w events) Finish(ctx context.Context, e event) error {
	now, err := db.Now(ctx, w.db)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, w.db, `
		UPDATE events
		SET done_at = $3, lease_until = 0, body = $4
		WHERE hash = $1 AND attempts = $2 AND done_at = 0`, e.hash, e.attempts, db.Millis(now), []byte{})
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
	return b.db.Reseal(ctx, b.ring, sealedTable, page)
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
