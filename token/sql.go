package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/wechat"
)

// table is the rows of one kind in the table tokens.
type table struct {
	kind Kind
	db   *db.DB
	ring *seal.Ring
}

// lock loads the row and locks it until the transaction ends. If there is no row, it creates one or
// fails with ErrUnknown.
func (t table) lock(ctx context.Context, tx *db.Tx, id wechat.AppID, create bool) (row, error) {
	if create {
		if err := t.create(ctx, tx, id); err != nil {
			return row{}, err
		}
	}
	return t.one(ctx, tx, t.db.For(lockRow), id)
}

func (t table) create(ctx context.Context, tx *db.Tx, id wechat.AppID) error {
	_, err := db.Exec(ctx, tx, `
		INSERT INTO tokens (kind, id, access, refresh, spare)
		VALUES ($1, $2, $3, $3, $3)
		ON CONFLICT (kind, id) DO NOTHING`, t.kind, id, []byte{})
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
func (t table) load(ctx context.Context, id wechat.AppID) (row, error) {
	r, err := t.one(ctx, t.db, selectRow, id)
	if errors.Is(err, ErrUnknown) && t.kind == Component {
		return row{}, nil
	}
	return r, err
}

func (t table) one(ctx context.Context, q db.Querier, text string, id wechat.AppID) (row, error) {
	found, err := db.One(ctx, q, t.scan, text, t.kind, id)
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
func (t table) loadMany(ctx context.Context, ids []wechat.AppID) ([]stored, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	return db.All(ctx, t.db, t.scan, t.db.For(selectRows), t.kind, string(list))
}

// updateRow has the kind after the columns.
var updateRow = fmt.Sprintf(`
		UPDATE tokens
		SET %s
		WHERE id = $1 AND kind = $%d`, assigned, len((table{}).fields(&stored{}))+1)

func (t table) save(ctx context.Context, tx *db.Tx, id wechat.AppID, r row) error {
	_, err := db.Exec(ctx, tx, updateRow, append(t.fields(&stored{id, r}), t.kind)...)
	return err
}

func (t table) setOwner(ctx context.Context, q db.Querier, id wechat.AppID, owner Owner) error {
	_, err := db.Exec(ctx, q, `
		UPDATE tokens
		SET owner = $3
		WHERE kind = $1 AND id = $2 AND owner <> $3`, t.kind, id, owner)
	return err
}

// rankedMost is how many due rows due ranks, the longest due first, and rankedLeast is how many
// if that failed, perhaps by taking too long. PostgreSQL ranks a million in two to three seconds.
const (
	rankedMost  = 1_000_000
	rankedLeast = 100_000
)

// due lists rows by urgency, fairly: each owner's first row comes before any owner's second.
// First come, in turn, rows whose token may be dead and rows that should have been renewed by now;
// then rows that are renewed ahead of time; last rows without a token, which nobody can lose. Among
// equals the one that expires first comes first.
//
// It reads only the index of due rows, so its cost depends on how many are due.
func (t table) due(ctx context.Context, now time.Time, late time.Duration, warm bool, n int) (ids []wechat.AppID, err error) {
	for _, most := range []int{rankedMost, rankedLeast} {
		ids, err = db.All(ctx, t.db, db.Value[wechat.AppID], `
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
		LIMIT $6`, t.kind, flag(warm), db.Stamp(now), db.Stamp(now.Add(late)), most, n)
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return ids, err
}

// suspects returns up to limit suspect rows that settle after a time. It reads their index.
func (t table) suspects(ctx context.Context, after time.Time, limit int) ([]wechat.AppID, error) {
	return db.All(ctx, t.db, db.Value[wechat.AppID], `
		SELECT id
		FROM tokens
		WHERE kind = $1 AND unsettled_until > 0 AND unsettled_until > $2 AND retired_at = 0
		LIMIT $3`, t.kind, db.Stamp(after), limit)
}

// touchRows has the ids as the keys of a JSON object. A token that seemed to be out of use becomes
// due at its early time, which may have passed.
var touchRows = db.Text{
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

// touch records uses. known lists the ids in JSON, with the versions that this process knows.
func (t table) touch(ctx context.Context, now time.Time, known string) error {
	// In a transaction PostgreSQL can run this again if two replicas lock rows in another order.
	return t.db.Tx(ctx, func(tx *db.Tx) error {
		_, err := db.Exec(ctx, tx, t.db.For(touchRows), db.Stamp(now), t.kind, known)
		return err
	})
}

// selectRestored finds the rows that never issued a version that this process knows.
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

// restored returns the rows that were restored from an older dump, of those that known lists.
func (t table) restored(ctx context.Context, known string) ([]wechat.AppID, error) {
	return db.All(ctx, t.db, db.Value[wechat.AppID], t.db.For(selectRestored), t.kind, known)
}

// version returns the version stored for id, or 0 if there is none.
func (t table) version(ctx context.Context, q db.Querier, id wechat.AppID) (Version, error) {
	v, err := db.One(ctx, q, db.Value[Version], `SELECT version FROM tokens WHERE kind = $1 AND id = $2`, t.kind, id)
	if errors.Is(err, db.ErrNone) {
		return 0, nil
	}
	return v, err
}

func (t table) hasRefresh(ctx context.Context, q db.Querier, id wechat.AppID) (bool, error) {
	n, err := db.One(ctx, q, db.Value[int64], `
		SELECT COUNT(*)
		FROM tokens
		WHERE kind = $1 AND id = $2 AND LENGTH(refresh) > 0`, t.kind, id)
	return n > 0, err
}

// sealedColumns are the columns whose fields are sealed.
var sealedColumns = func() (names []string) {
	for _, c := range (table{}).columns(&stored{}) {
		if _, is := c.field.(sealed); is {
			names = append(names, c.name)
		}
	}
	return names
}()

func (t table) sealedTable() db.SealedTable {
	return db.SealedTable{Name: "tokens", Kind: string(t.kind), Key: "id", Columns: sealedColumns}
}

// oldest is how many rows a reading of an index found, and the time of the first.
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

// oldestDue counts the due rows that keepers must renew, up to limit.
func (t table) oldestDue(ctx context.Context, now time.Time, limit int) (oldest, error) {
	return db.One(ctx, t.db, readOldest, `
		SELECT COUNT(*), COALESCE(MIN(due), 0)
		FROM (SELECT due FROM tokens WHERE kind = $1 AND warm = 0 AND due > 0 AND due <= $2 ORDER BY due LIMIT $3) AS oldest`,
		t.kind, db.Stamp(now), limit)
}

// oldestSuspect counts the suspect rows that are due by a time, up to limit.
func (t table) oldestSuspect(ctx context.Context, due time.Time, limit int) (oldest, error) {
	return db.One(ctx, t.db, readOldest, `
		SELECT COUNT(*), COALESCE(MIN(unsettled_until), 0)
		FROM (SELECT unsettled_until FROM tokens WHERE kind = $1 AND unsettled_until > 0 AND retired_at = 0 AND due > 0 AND due <= $2 ORDER BY unsettled_until LIMIT $3) AS oldest`,
		t.kind, db.Stamp(due), limit)
}
