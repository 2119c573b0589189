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

// change loads and locks the row, applies work, and saves the row if it changed, all in one
// transaction.
func (s *Store) change(ctx context.Context, id wechat.AppID, work func(*row, instant) error) error {
	return s.db.Tx(ctx, func(tx *db.Tx) error { return s.changeIn(ctx, tx, id, s.kind == Component, work) })
}

// changeIn is change in the caller's transaction. If there is no row, it creates one or fails with
// ErrUnknown.
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
	r.repair(m)
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

// load reads the row without a lock. If there is none, the component's is empty, and for an
// authorizer it fails with ErrUnknown.
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

// loadMany reads the rows of ids, without a lock. It skips ids that have no row.
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

// SetOwner records the owner of id, in the transaction that decides it. If there is no row it does
// nothing: a grant is followed by SetOwner in the same transaction.
func (s *Store) SetOwner(ctx context.Context, q db.Querier, id wechat.AppID, owner Owner) error {
	_, err := db.Exec(ctx, q, `
		UPDATE tokens
		SET owner = $3
		WHERE kind = $1 AND id = $2 AND owner <> $3`, s.kind, id, owner)
	return err
}

// rankedMost is how many due rows listDue ranks, the longest due first, and rankedLeast is how many
// if that failed, perhaps by taking too long. PostgreSQL ranks a million in two to three seconds.
const (
	rankedMost  = 1_000_000
	rankedLeast = 100_000
)

// listDue lists rows by urgency, fairly: each owner's first row comes before any owner's second.
// First come, in turn, rows whose token may be dead and rows that should have been renewed by now;
// then rows that are renewed ahead of time; last rows without a token, which nobody can lose. Among
// equals the one that expires first comes first.
//
// It reads only the index of due rows, so its cost depends on how many are due.
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

// repairSuspects repairs suspect rows that are due later than possible because the clock was set
// back. Nobody else looks at them before they are due. It finds them in the index of suspect rows,
// and checks each again under its lock: if this process was paused since it read the time, a row
// that became suspect meanwhile looks like one of them.
func (s *Store) repairSuspects(ctx context.Context, m instant) error {
	ids, err := db.All(ctx, s.db, db.Value[wechat.AppID], `
		SELECT id
		FROM tokens
		WHERE kind = $1 AND unsettled_until > 0 AND unsettled_until > $2 AND retired_at = 0
		LIMIT $3`, s.kind, db.Stamp(m.settles()), repairsAtOnce)
	return errors.Join(err, s.repair(ctx, ids))
}

const repairsAtOnce = 500

// repair repairs rows that no caller asks for.
func (s *Store) repair(ctx context.Context, ids []wechat.AppID) (err error) {
	for _, id := range ids {
		err = errors.Join(err, s.change(ctx, id, func(r *row, m instant) error {
			r.schedule(m)
			return nil
		}))
	}
	return err
}

// touch records uses. A token that seemed to be out of use becomes due at its early time, which may
// have passed.
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

// noteUse records that tokens were used, by their ids, with the versions that this process knows.
func (s *Store) noteUse(ctx context.Context, now time.Time, used map[wechat.AppID]Version) error {
	list, err := json.Marshal(used)
	if err != nil {
		return err
	}
	// In a transaction PostgreSQL can run this again if two replicas lock rows in another order.
	err = s.db.Tx(ctx, func(tx *db.Tx) error {
		_, err := db.Exec(ctx, tx, s.db.For(touch), db.Stamp(now), s.kind, string(list))
		return err
	})
	if err != nil {
		return err
	}
	return s.repairRestored(ctx, string(list))
}

// selectRestored finds rows that never issued a version that this process knows.
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

// repairRestored repairs rows that were restored from an older dump.
func (s *Store) repairRestored(ctx context.Context, known string) error {
	ids, err := db.All(ctx, s.db, db.Value[wechat.AppID], s.db.For(selectRestored), s.kind, known)
	return errors.Join(err, s.repair(ctx, ids))
}

// Version returns the version stored for id, or 0 if there is none. Each refresh, grant and
// retirement changes it.
func (s *Store) Version(ctx context.Context, q db.Querier, id wechat.AppID) (Version, error) {
	v, err := db.One(ctx, q, db.Value[Version], `SELECT version FROM tokens WHERE kind = $1 AND id = $2`, s.kind, id)
	if errors.Is(err, db.ErrNone) {
		return 0, nil
	}
	return v, err
}

// HasRefresh reports whether a refresh token is stored for id.
func (s *Store) HasRefresh(ctx context.Context, q db.Querier, id wechat.AppID) (bool, error) {
	n, err := db.One(ctx, q, db.Value[int64], `
		SELECT COUNT(*)
		FROM tokens
		WHERE kind = $1 AND id = $2 AND LENGTH(refresh) > 0`, s.kind, id)
	return n > 0, err
}

// Reseal seals a page of the tokens with the newest sealing key. A row that is refreshed meanwhile
// stays as the refresh saved it.
func (s *Store) Reseal(ctx context.Context, page db.Page) (db.Resealed, error) {
	return s.db.Reseal(ctx, s.ring, s.sealedTable(), page)
}

var sealedColumns = []string{"access", "refresh", "spare"}

func (s *Store) sealedTable() db.SealedTable {
	return db.SealedTable{Name: "tokens", Kind: string(s.kind), Key: "id", Columns: sealedColumns}
}

// Backlog counts the work that waits for keepers. Both counts stop at BacklogMost.
type Backlog struct {
	Due          int
	DueFor       time.Duration // how long the row due longest has waited
	Suspects     int           // rows whose token may not be the newest, and that keepers look at soon
	SuspectsPast time.Duration // how long the first of them could have been refreshed; negative: none can yet
}

// BacklogMost limits the cost of reading a large backlog.
const BacklogMost = 10_000

// soon is how long keepers may leave a suspect row alone for Backlog to count it. One that waits
// longer has another problem: its refresh token is dead, or its quota is used up.
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
