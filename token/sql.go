package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"wxplatform/internal/db"
	"wxplatform/wechat"
)

// change loads the row under a lock, has work change it, and saves it if it did, all in one transaction.
func (s *Store) change(ctx context.Context, id wechat.AppID, work func(*row, instant) error) error {
	return s.db.Tx(ctx, func(tx *db.Tx) error { return s.changeIn(ctx, tx, id, s.kind == Component, work) })
}

// changeIn is change in the caller's transaction. Where there is no row it is made, or it is ErrUnknown.
func (s *Store) changeIn(ctx context.Context, tx *db.Tx, id wechat.AppID, create bool, work func(*row, instant) error) error {
	r, err := s.lock(ctx, tx, id, create)
	if err != nil {
		return err
	}
	now, err := tx.Now(ctx)
	if err != nil {
		return err
	}
	m := s.instantAt(now)
	m.known = s.version(id)
	before := r
	r.mend(m)
	if err := work(&r, m); err != nil {
		return err
	}
	if r == before {
		return nil
	}
	return s.save(ctx, tx, id, r)
}

func (s *Store) lock(ctx context.Context, tx *db.Tx, id wechat.AppID, create bool) (row, error) {
	if create {
		if err := s.create(ctx, tx, id); err != nil {
			return row{}, err
		}
	}
	return s.one(ctx, tx, s.db.For(lockRow), id)
}

func (s *Store) create(ctx context.Context, tx *db.Tx, id wechat.AppID) error {
	_, err := db.Exec(ctx, tx, `
		INSERT INTO tokens (kind, id, access, refresh, spare)
		VALUES ($1, $2, $3, $3, $3)
		ON CONFLICT (kind, id) DO NOTHING`, s.kind, id, []byte{})
	return err
}

var selectRow = `
		SELECT ` + selected + `
		FROM tokens
		WHERE kind = $1 AND id = $2`

// SQLite's transaction holds the one write lock from its start.
var lockRow = db.Text{
	SQLite:   selectRow,
	Postgres: selectRow + ` FOR UPDATE`,
}

// load reads the row without a lock. Where there is none it is empty, or ErrUnknown.
func (s *Store) load(ctx context.Context, id wechat.AppID) (row, error) {
	r, err := s.one(ctx, s.db, selectRow, id)
	if errors.Is(err, ErrUnknown) && s.kind == Component {
		return row{}, nil
	}
	return r, err
}

func (s *Store) one(ctx context.Context, q db.Querier, text string, id wechat.AppID) (row, error) {
	found, err := db.One(ctx, q, s.scan, text, s.kind, id)
	if errors.Is(err, db.ErrNone) {
		return row{}, ErrUnknown
	}
	return found.row, err
}

var selectRows = db.Text{
	SQLite:   selectMany + ` AND id IN (SELECT value FROM json_each($2))`,
	Postgres: selectMany + ` AND id IN (SELECT json_array_elements_text(CAST($2 AS json)))`,
}

var selectMany = `
		SELECT ` + selected + `
		FROM tokens
		WHERE kind = $1`

// loadMany reads the rows of ids that there are, without a lock.
func (s *Store) loadMany(ctx context.Context, ids []wechat.AppID) ([]stored, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	return db.All(ctx, s.db, s.scan, s.db.For(selectRows), s.kind, string(list))
}

// updateRow has the kind after the columns.
var updateRow = fmt.Sprintf(`
		UPDATE tokens
		SET %s
		WHERE id = $1 AND kind = $%d`, assigned, len((&Store{}).fields(&stored{}))+1)

func (s *Store) save(ctx context.Context, tx *db.Tx, id wechat.AppID, r row) error {
	_, err := db.Exec(ctx, tx, updateRow, append(s.fields(&stored{id, r}), s.kind)...)
	return err
}

// SetOwner writes down for whom id is served, in the transaction that decides it. Where there is no row nothing is written: its grant will say so.
func (s *Store) SetOwner(ctx context.Context, q db.Querier, id wechat.AppID, owner Owner) error {
	_, err := db.Exec(ctx, q, `
		UPDATE tokens
		SET owner = $3
		WHERE kind = $1 AND id = $2 AND owner <> $3`, s.kind, id, owner)
	return err
}

// At most so many due rows are looked at, the longest due first, or so few where that took too long. PostgreSQL ranks a million in two to three seconds.
const (
	rankedMost  = 1_000_000
	rankedLeast = 100_000
)

// listDue lists rows by urgency, fairly: each owner's first comes before anybody's second, so that nobody waits for another's many.
// First, in turn, those that may be dead and those that should have been renewed by now; then those renewed early; last those without a token, which nobody can lose. Among equals the one that expires first.
// It reads the index of due rows alone, so it costs what is due, not what there is.
func (s *Store) listDue(ctx context.Context, now time.Time, warm bool, n int) (ids []wechat.AppID, err error) {
	for _, most := range []int{rankedMost, rankedLeast} {
		ids, err = db.All(ctx, s.db, db.Value[wechat.AppID], `
		SELECT id
		FROM (
			SELECT id, class, expires_at, ROW_NUMBER() OVER (PARTITION BY class, owner ORDER BY expires_at, id) AS place
			FROM (
				SELECT id, owner, expires_at,
					CASE WHEN expires_at = 0 THEN 3 WHEN unsettled_until > 0 THEN 0 WHEN expires_at <= $4 THEN 1 ELSE 2 END AS class
				FROM tokens
				WHERE kind = $1 AND warm = $2 AND due > 0 AND due <= $3
				ORDER BY due
				LIMIT $5) AS due_rows) AS placed
		ORDER BY CASE WHEN class <= 1 THEN 0 ELSE class END, place, class, expires_at, id
		LIMIT $6`, s.kind, flag(warm), db.Stamp(now), db.Stamp(now.Add(s.times.late())), most, n)
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return ids, err
}

// mendSuspects mends suspect rows that would be due later than they can be: the clock was set back. Nobody else looks at them before they are due. It reads the index of suspect rows, and each again under its lock:
// one who stood still since he read the time takes a row that became suspect meanwhile for such a one.
func (s *Store) mendSuspects(ctx context.Context, m instant) error {
	ids, err := db.All(ctx, s.db, db.Value[wechat.AppID], `
		SELECT id
		FROM tokens
		WHERE kind = $1 AND unsettled_until > 0 AND unsettled_until > $2 AND retired_at = 0
		LIMIT $3`, s.kind, db.Stamp(m.settles()), mendedAtOnce)
	return errors.Join(err, s.mend(ctx, ids))
}

const mendedAtOnce = 500

// mend has rows mended that nobody asks for.
func (s *Store) mend(ctx context.Context, ids []wechat.AppID) (err error) {
	for _, id := range ids {
		err = errors.Join(err, s.change(ctx, id, func(r *row, m instant) error {
			r.schedule(m)
			return nil
		}))
	}
	return err
}

// A token that was thought to be out of use is due when its early time comes, which may have passed.
var touch = db.Text{
	SQLite: `
		UPDATE tokens
		SET used_at = $1, warm = 0,
			due = CASE WHEN lease_until = 0 AND unsettled_until = 0 AND failures = 0 AND renew_early > 0 AND (due = 0 OR due > renew_early)
				THEN renew_early ELSE due END
		WHERE kind = $2 AND retired_at = 0 AND id IN (SELECT key FROM json_each($3))`,
	Postgres: `
		UPDATE tokens
		SET used_at = $1, warm = 0,
			due = CASE WHEN lease_until = 0 AND unsettled_until = 0 AND failures = 0 AND renew_early > 0 AND (due = 0 OR due > renew_early)
				THEN renew_early ELSE due END
		WHERE kind = $2 AND retired_at = 0 AND id IN (SELECT json_object_keys(CAST($3 AS json)))`,
}

// noteUse writes down that tokens were asked for, by their ids, with the versions that are known of them.
func (s *Store) noteUse(ctx context.Context, now time.Time, used map[wechat.AppID]Version) error {
	list, err := json.Marshal(used)
	if err != nil {
		return err
	}
	err = s.db.Tx(ctx, func(tx *db.Tx) error { // which PostgreSQL runs again where two replicas lock these rows in another order
		_, err := db.Exec(ctx, tx, s.db.For(touch), db.Stamp(now), s.kind, string(list))
		return err
	})
	if err != nil {
		return err
	}
	return s.mendRestored(ctx, string(list))
}

// Rows that never issued the version that is known.
var selectRestored = db.Text{
	SQLite: `
		SELECT tokens.id
		FROM tokens, json_each($2) AS known
		WHERE kind = $1 AND tokens.id = known.key AND fence < known.value`,
	Postgres: `
		SELECT tokens.id
		FROM tokens, json_each_text(CAST($2 AS json)) AS known
		WHERE kind = $1 AND tokens.id = known.key AND fence < CAST(known.value AS BIGINT)`,
}

// mendRestored mends rows that were restored from an older dump.
func (s *Store) mendRestored(ctx context.Context, known string) error {
	ids, err := db.All(ctx, s.db, db.Value[wechat.AppID], s.db.For(selectRestored), s.kind, known)
	return errors.Join(err, s.mend(ctx, ids))
}

// Version is the version that is stored for id, 0 where there is none. It differs after each refresh, grant and retirement.
func (s *Store) Version(ctx context.Context, q db.Querier, id wechat.AppID) (Version, error) {
	v, err := db.One(ctx, q, db.Value[Version], `SELECT version FROM tokens WHERE kind = $1 AND id = $2`, s.kind, id)
	if errors.Is(err, db.ErrNone) {
		return 0, nil
	}
	return v, err
}

// HasRefresh reports whether there is a refresh token for id.
func (s *Store) HasRefresh(ctx context.Context, q db.Querier, id wechat.AppID) (bool, error) {
	n, err := db.One(ctx, q, db.Value[int64], `
		SELECT COUNT(*)
		FROM tokens
		WHERE kind = $1 AND id = $2 AND LENGTH(refresh) > 0`, s.kind, id)
	return n > 0, err
}

// Reseal moves a page of the tokens to the newest sealing key. One that is refreshed meanwhile stays as its refresher saved it.
func (s *Store) Reseal(ctx context.Context, page db.Page) (db.Resealed, error) {
	return s.db.Reseal(ctx, s.ring, s.sealedTable(), page)
}

var sealedColumns = []string{"access", "refresh", "spare"}

func (s *Store) sealedTable() db.SealedTable {
	return db.SealedTable{Name: "tokens", Kind: string(s.kind), Key: "id", Columns: sealedColumns}
}

// Backlog is what keepers have before them. Both numbers are counted up to BacklogMost.
type Backlog struct {
	Due          int
	DueFor       time.Duration // of the row that waits longest
	Suspects     int           // rows whose token may not be the newest, that keepers look at soon
	SuspectsPast time.Duration // since the one that is settled longest could have been refreshed for good; negative: none could yet
}

// BacklogMost bounds what a reading of the backlog costs, however large the backlog is.
const BacklogMost = 10_000

// A suspect row whose keeper rests for longer than this has another trouble: its refresh token is dead, or its quota is used up.
const soon = 10 * time.Minute

// Backlog reads the indexes of due and of suspect rows, for metrics.
func (s *Store) Backlog(ctx context.Context) (Backlog, error) {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return Backlog{}, err
	}
	due, err := db.One(ctx, s.db, readOldest, `
		SELECT COUNT(*), COALESCE(MIN(due), 0)
		FROM (SELECT due FROM tokens WHERE kind = $1 AND warm = 0 AND due > 0 AND due <= $2 ORDER BY due LIMIT $3) AS oldest`,
		s.kind, db.Stamp(now), BacklogMost)
	if err != nil {
		return Backlog{}, err
	}
	suspect, err := db.One(ctx, s.db, readOldest, `
		SELECT COUNT(*), COALESCE(MIN(unsettled_until), 0)
		FROM (SELECT unsettled_until FROM tokens WHERE kind = $1 AND unsettled_until > 0 AND retired_at = 0 AND due > 0 AND due <= $2 ORDER BY unsettled_until LIMIT $3) AS oldest`,
		s.kind, db.Stamp(now.Add(soon)), BacklogMost)
	return Backlog{Due: due.count, DueFor: due.age(now), Suspects: suspect.count, SuspectsPast: suspect.age(now)}, err
}

type oldest struct {
	count int
	at    time.Time
}

func readOldest(scan db.Scan) (oldest, error) {
	var o oldest
	err := scan(&o.count, (*db.Stamp)(&o.at))
	return o, err
}

func (o oldest) age(now time.Time) time.Duration {
	if o.count == 0 {
		return 0
	}
	return now.Sub(o.at)
}
