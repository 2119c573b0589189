package authorizer

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"wxplatform/internal/db"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// table is the rows of the authorizers in SQL.
type table struct{ db *db.DB }

// selectAuthorizer and readAuthorizer name the columns of an authorizer in the same order.
const selectAuthorizer = `
		SELECT appid, tenant, user_name, alias, nick_name, principal_name, kind, verify_type, account_status,
		       permission_sets, profile_at, state, reason, since, sought_at, next_at, authorized_at, created_at
		FROM authorizers`

func readAuthorizer(scan db.Scan) (a Authorizer, err error) {
	var sets string
	err = scan(&a.AppID, &a.Tenant, &a.UserName, &a.Alias, &a.NickName, &a.PrincipalName, &a.Kind, &a.VerifyType, &a.AccountStatus,
		&sets, (*db.Stamp)(&a.ProfileAt), &a.State, &a.Reason, (*db.Stamp)(&a.Since), (*db.Stamp)(&a.Sought), (*db.Stamp)(&a.Next),
		(*db.Stamp)(&a.AuthorizedAt), (*db.Stamp)(&a.CreatedAt))
	a.PermissionSets = wechat.ParsePermissionSets(sets)
	return a, err
}

func orUnknown(err error) error {
	if errors.Is(err, db.ErrNone) {
		return ErrUnknown
	}
	return err
}

// loadFact loads the authorizer id of owner, whose fact has the key owner/id.
func (t table) loadFact(ctx context.Context, key string) (Authorizer, error) {
	owner, id, _ := strings.Cut(key, "/")
	return t.load(ctx, tenant.ID(owner), wechat.AppID(id))
}

// load uses one statement for accounts that do not exist and for other tenants' accounts, so that
// neither can be told from the other.
func (t table) load(ctx context.Context, owner tenant.ID, id wechat.AppID) (Authorizer, error) {
	if !id.Plausible() {
		return Authorizer{}, ErrUnknown // a stranger's path can hold anything, also what no SQL can
	}
	a, err := db.One(ctx, t.db, readAuthorizer, selectAuthorizer+`
		WHERE tenant = $1 AND appid = $2 AND tenant <> ''`, string(owner), string(id))
	return a, orUnknown(err)
}

func (t table) list(ctx context.Context, owner tenant.ID, after wechat.AppID, limit int) ([]Authorizer, error) {
	return db.All(ctx, t.db, readAuthorizer, selectAuthorizer+`
		WHERE tenant = $1 AND appid > $2 AND tenant <> ''
		ORDER BY appid
		LIMIT $3`, string(owner), string(after), limit)
}

func (t table) all(ctx context.Context, after wechat.AppID, limit int) ([]Authorizer, error) {
	return db.All(ctx, t.db, readAuthorizer, selectAuthorizer+`
		WHERE appid > $1
		ORDER BY appid
		LIMIT $2`, string(after), limit)
}

func (t table) allInState(ctx context.Context, state State, after wechat.AppID, limit int) ([]Authorizer, error) {
	return db.All(ctx, t.db, readAuthorizer, selectAuthorizer+`
		WHERE state = $1 AND appid > $2
		ORDER BY appid
		LIMIT $3`, string(state), string(after), limit)
}

func (t table) find(ctx context.Context, q db.Querier, id wechat.AppID) (Authorizer, error) {
	a, err := db.One(ctx, q, readAuthorizer, selectAuthorizer+`
		WHERE appid = $1`, string(id))
	return a, orUnknown(err)
}

var lockAuthorizer = db.Text{
	SQLite:   `SELECT appid FROM authorizers WHERE appid = $1`,
	Postgres: `SELECT appid FROM authorizers WHERE appid = $1 FOR UPDATE`,
}

// lock locks the row until the transaction ends, and creates it if there is none.
func (t table) lock(ctx context.Context, tx *db.Tx, id wechat.AppID, now time.Time) (Authorizer, error) {
	_, err := db.Exec(ctx, tx, `
		INSERT INTO authorizers (appid, created_at, since)
		VALUES ($1, $2, $2)
		ON CONFLICT (appid) DO NOTHING`, string(id), db.Stamp(now))
	if err != nil {
		return Authorizer{}, err
	}
	return t.findLocked(ctx, tx, id)
}

// findLocked locks the row until the transaction ends. It fails with ErrUnknown.
func (t table) findLocked(ctx context.Context, tx *db.Tx, id wechat.AppID) (Authorizer, error) {
	if _, err := db.One(ctx, tx, db.Value[string], t.db.For(lockAuthorizer), string(id)); err != nil {
		return Authorizer{}, orUnknown(err)
	}
	return t.find(ctx, tx, id)
}

func (t table) bind(ctx context.Context, tx *db.Tx, id wechat.AppID, to tenant.ID) error {
	rows, err := db.Exec(ctx, tx, `UPDATE authorizers SET tenant = $2 WHERE appid = $1`, string(id), string(to))
	if err == nil && rows == 0 {
		return ErrUnknown
	}
	return err
}

func (t table) unbindFrom(ctx context.Context, tx *db.Tx, owner tenant.ID, id wechat.AppID) (bool, error) {
	rows, err := db.Exec(ctx, tx, `
		UPDATE authorizers
		SET tenant = ''
		WHERE tenant = $1 AND appid = $2`, string(owner), string(id))
	return rows > 0, err
}

// saveGrant also moves a scheduled check to a minute after this authorization, if it is due before.
// That takes it from a process that is asking WeChat just now.
func (t table) saveGrant(ctx context.Context, tx *db.Tx, a Authorizer) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE authorizers
		SET tenant = $2, permission_sets = $3, state = $4, reason = $5, since = $6, authorized_at = $7, noted_version = 0, sought_at = 0, next_at = 0,
		    check_at = CASE WHEN check_at > 0 AND check_at < $8 THEN $8 ELSE check_at END
		WHERE appid = $1`,
		string(a.AppID), string(a.Tenant), a.PermissionSets.String(), string(a.State), a.Reason, db.Stamp(a.Since), db.Stamp(a.AuthorizedAt),
		db.Stamp(a.AuthorizedAt.Add(afterAuthorization)))
	return err
}

// saveProfile does not count a first reading as the minute's one.
func (t table) saveProfile(ctx context.Context, tx *db.Tx, id wechat.AppID, p Profile, now time.Time) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE authorizers
		SET user_name = $2, alias = $3, nick_name = $4, principal_name = $5, kind = $6, verify_type = $7, account_status = $8, permission_sets = $9,
		    profile_tried_at = CASE WHEN profile_at = 0 THEN 0 ELSE profile_tried_at END, profile_at = $10
		WHERE appid = $1`,
		string(id), string(p.UserName), p.Alias, p.NickName, p.PrincipalName, string(p.Kind), p.VerifyType, p.AccountStatus, p.PermissionSets.String(), db.Stamp(now))
	return err
}

// mayRead takes the right to read the profile, which is available again after a time.
func (t table) mayRead(ctx context.Context, id wechat.AppID, again time.Duration) (bool, error) {
	now, err := db.Now(ctx, t.db)
	if err != nil {
		return false, err
	}
	rows, err := db.Exec(ctx, t.db, `
		UPDATE authorizers
		SET profile_tried_at = $2
		WHERE appid = $1 AND (profile_tried_at <= $3 OR profile_tried_at > $2)`, string(id), db.Stamp(now), db.Stamp(now.Add(-again)))
	return rows > 0, err
}

// markReading tells other replicas that a first reading is under way.
func (t table) markReading(ctx context.Context, id wechat.AppID) error {
	now, err := db.Now(ctx, t.db)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, t.db, `
		UPDATE authorizers
		SET profile_tried_at = $2
		WHERE appid = $1 AND profile_at = 0`, string(id), db.Stamp(now))
	return err
}

// readingUnderWay reports whether a process that took the right to read a profile may not have
// stored it yet.
func (t table) readingUnderWay(ctx context.Context, id wechat.AppID) (bool, error) {
	now, err := db.Now(ctx, t.db)
	if err != nil {
		return false, err
	}
	found, err := db.All(ctx, t.db, db.Value[wechat.AppID], `
		SELECT appid
		FROM authorizers
		WHERE appid = $1 AND profile_at = 0 AND profile_tried_at > $2 AND profile_tried_at <= $3`,
		string(id), db.Stamp(now.Add(-readingTakes)), db.Stamp(now))
	return len(found) > 0, err
}

// unverified counts the accounts that WeChat says are not verified, of those that can be called.
func (t table) unverified(ctx context.Context) (int64, error) {
	return db.One(ctx, t.db, db.Value[int64], `
		SELECT COUNT(*)
		FROM authorizers
		WHERE verify_type < 0 AND profile_at > 0 AND state <> 'revoked'`)
}

var lockOneCondition = db.Text{
	SQLite:   selectCondition,
	Postgres: selectCondition + ` FOR UPDATE`,
}

const selectCondition = `
		SELECT state, reason, since, sought_at, next_at, noted_version
		FROM authorizers
		WHERE appid = $1`

func readCondition(scan db.Scan) (c condition, err error) {
	err = scan(&c.State, &c.Reason, (*db.Stamp)(&c.Since), (*db.Stamp)(&c.Sought), (*db.Stamp)(&c.Next), &c.Version)
	return c, err
}

func (t table) condition(ctx context.Context, id wechat.AppID) (condition, error) {
	c, err := db.One(ctx, t.db, readCondition, selectCondition, string(id))
	return c, orUnknown(err)
}

func (t table) lockCondition(ctx context.Context, tx *db.Tx, id wechat.AppID) (condition, error) {
	c, err := db.One(ctx, tx, readCondition, t.db.For(lockOneCondition), string(id))
	return c, orUnknown(err)
}

func (t table) saveCondition(ctx context.Context, tx *db.Tx, id wechat.AppID, c condition) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE authorizers
		SET state = $2, reason = $3, since = $4, sought_at = $5, next_at = $6, noted_version = $7
		WHERE appid = $1`,
		string(id), string(c.State), c.Reason, db.Stamp(c.Since), db.Stamp(c.Sought), db.Stamp(c.Next), c.Version)
	return err
}

// inState returns up to limit accounts in a state whose appid is greater than after.
func (t table) inState(ctx context.Context, state State, after wechat.AppID, limit int) ([]conditioned, error) {
	return db.All(ctx, t.db, readConditioned, `
		SELECT state, reason, since, sought_at, next_at, noted_version, appid
		FROM authorizers
		WHERE state = $1 AND appid > $2
		ORDER BY appid
		LIMIT $3`, string(state), string(after), limit)
}

func readConditioned(scan db.Scan) (one conditioned, err error) {
	one.condition, err = readCondition(func(dest ...any) error { return scan(append(dest, &one.id)...) })
	return one, err
}

func (t table) dueAttempts(ctx context.Context, now time.Time, most int) ([]wechat.AppID, error) {
	return db.All(ctx, t.db, db.Value[wechat.AppID], `
		SELECT appid
		FROM authorizers
		WHERE state = 'reauthorize' AND next_at <= $1
		ORDER BY next_at, appid
		LIMIT $2`, db.Stamp(now), most)
}

type stateCount struct {
	state State
	count int64
}

func readStateCount(scan db.Scan) (stateCount, error) {
	var one stateCount
	err := scan(&one.state, &one.count)
	return one, err
}

// countStates reads only the index on the state.
func (t table) countStates(ctx context.Context) ([]stateCount, error) {
	return db.All(ctx, t.db, readStateCount, `
		SELECT state, COUNT(*)
		FROM authorizers
		GROUP BY state`)
}

// scheduleCheck schedules a check of the authorization, at the earliest a minute after the last
// authorization. A scheduled check stays when it is, and counts contradictions anew.
func (t table) scheduleCheck(ctx context.Context, id wechat.AppID) error {
	now, err := db.Now(ctx, t.db)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, t.db, `
		UPDATE authorizers
		SET check_at = CASE WHEN check_at > 0 THEN check_at WHEN authorized_at + $3 > $2 THEN authorized_at + $3 ELSE $2 END, checks = 0
		WHERE appid = $1 AND (check_at = 0 OR checks > 0) AND state <> 'revoked'`, string(id), db.Stamp(now), afterAuthorization.Milliseconds())
	return err
}

// check is one account whose authorization is checked.
type check struct {
	AppID wechat.AppID
	At    time.Time // when it is due
	Done  int       // how often WeChat contradicted already
}

func readCheck(scan db.Scan) (check, error) {
	var c check
	err := scan(&c.AppID, (*db.Stamp)(&c.At), &c.Done)
	return c, err
}

func (t table) dueChecks(ctx context.Context, now time.Time, most int) ([]check, error) {
	return db.All(ctx, t.db, readCheck, `
		SELECT appid, check_at, checks
		FROM authorizers
		WHERE check_at > 0 AND check_at <= $1
		ORDER BY check_at, appid
		LIMIT $2`, db.Stamp(now), most)
}

// reschedule moves a check that is still where it was found, with the contradictions that were
// counted then. It returns false if another replica has it, or if there was a new doubt.
func (t table) reschedule(ctx context.Context, q db.Querier, c check, to time.Time, done int) (bool, error) {
	rows, err := db.Exec(ctx, q, `
		UPDATE authorizers
		SET check_at = $3, checks = $4
		WHERE appid = $1 AND check_at = $2 AND checks = $5`, string(c.AppID), db.Stamp(c.At), db.Stamp(to), done, c.Done)
	return rows > 0, err
}

// unread returns some accounts whose profile was never read, those first that were tried longest
// ago. An account that has just authorized is left to the process that exchanged its code.
func (t table) unread(ctx context.Context, now time.Time, most int) ([]wechat.AppID, error) {
	return db.All(ctx, t.db, db.Value[wechat.AppID], `
		SELECT appid
		FROM authorizers
		WHERE profile_at = 0 AND profile_tried_at <= $1 AND authorized_at <= $2 AND state <> 'revoked'
		ORDER BY profile_tried_at, appid
		LIMIT $3`, db.Stamp(now.Add(-unreadEvery)), db.Stamp(now.Add(-afterAuthorization)), most)
}

func (t table) sought(ctx context.Context, most int) ([]wechat.AppID, error) {
	now, err := db.Now(ctx, t.db)
	if err != nil {
		return nil, err
	}
	return db.All(ctx, t.db, db.Value[wechat.AppID], `
		SELECT appid
		FROM authorizers
		WHERE sought_at > 0 AND next_at <= $1
		ORDER BY next_at, appid
		LIMIT $2`, db.Stamp(now), most)
}

func (t table) notFound(ctx context.Context, begun time.Time) error {
	now, err := db.Now(ctx, t.db)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, t.db, `
		UPDATE authorizers
		SET next_at = $3,
		    check_at = CASE WHEN check_at > 0 THEN check_at WHEN authorized_at + $4 > $2 THEN authorized_at + $4 ELSE $2 END
		WHERE sought_at > 0 AND sought_at < $1 AND next_at <= $1`,
		db.Stamp(begun), db.Stamp(now), db.Stamp(now.Add(seekAgain)), afterAuthorization.Milliseconds())
	return err
}

var selectConditions = db.Text{
	SQLite:   selectConditioned + ` WHERE appid IN (SELECT value FROM json_each($1))`,
	Postgres: selectConditioned + ` WHERE appid IN (SELECT json_array_elements_text(CAST($1 AS json)))`,
}

const selectConditioned = `
		SELECT state, reason, since, sought_at, next_at, noted_version, appid
		FROM authorizers`

// conditions returns the conditions of those ids that exist.
func (t table) conditions(ctx context.Context, ids []wechat.AppID) (map[wechat.AppID]condition, error) {
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	all, err := db.All(ctx, t.db, readConditioned, t.db.For(selectConditions), string(list))
	if err != nil {
		return nil, err
	}
	byID := make(map[wechat.AppID]condition, len(all))
	for _, one := range all {
		byID[one.id] = one.condition
	}
	return byID, nil
}

var markListed = db.Text{
	SQLite: `
		UPDATE authorizers
		SET listed_at = $1
		WHERE appid IN (SELECT value FROM json_each($2))`,
	Postgres: `
		UPDATE authorizers
		SET listed_at = $1
		WHERE appid IN (SELECT json_array_elements_text(CAST($2 AS json)))`,
}

func (t table) markListed(ctx context.Context, ids []wechat.AppID, begun time.Time) error {
	list, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	return t.db.Tx(ctx, func(tx *db.Tx) error { // which PostgreSQL runs again after a deadlock
		_, err := db.Exec(ctx, tx, t.db.For(markListed), db.Stamp(begun), string(list))
		return err
	})
}

func readLastListed(scan db.Scan) (one lastListed, err error) {
	err = scan(&one.id, &one.state, (*db.Stamp)(&one.listed), (*db.Stamp)(&one.authorized), (*db.Stamp)(&one.created))
	return one, err
}

func (t table) whenListed(ctx context.Context, after wechat.AppID, limit int) ([]lastListed, error) {
	return db.All(ctx, t.db, readLastListed, `
		SELECT appid, state, listed_at, authorized_at, created_at
		FROM authorizers
		WHERE appid > $1
		ORDER BY appid
		LIMIT $2`, string(after), limit)
}

// bindFree binds an account without a tenant. It returns false if it is a tenant's already, or
// unknown.
func (t table) bindFree(ctx context.Context, tx *db.Tx, id wechat.AppID, to tenant.ID) (bool, error) {
	rows, err := db.Exec(ctx, tx, `
		UPDATE authorizers
		SET tenant = $2
		WHERE appid = $1 AND tenant = ''`, string(id), string(to))
	return rows > 0, err
}

// isOf reports whether an account belongs to owner.
func (t table) isOf(ctx context.Context, tx *db.Tx, owner tenant.ID, id wechat.AppID) (bool, error) {
	n, err := db.One(ctx, tx, db.Value[int], `
		SELECT COUNT(*)
		FROM authorizers
		WHERE tenant = $1 AND appid = $2`, string(owner), string(id))
	return n > 0, err
}
