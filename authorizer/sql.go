package authorizer

import (
	"context"
	"errors"
	"time"

	"wxplatform/internal/db"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

func readAuthorizer(scan db.Scan) (Authorizer, error) {
	var a Authorizer
	var sets string
	var profileAt, since, authorizedAt, createdAt int64
	err := scan(&a.AppID, &a.Tenant, &a.UserName, &a.Alias, &a.NickName, &a.PrincipalName, &a.Kind, &a.VerifyType, &a.AccountStatus,
		&sets, &profileAt, &a.State, &a.Reason, &since, &authorizedAt, &createdAt)
	a.PermissionSets = wechat.ParsePermissionSets(sets)
	a.ProfileAt, a.Since, a.AuthorizedAt, a.CreatedAt = db.Time(profileAt), db.Time(since), db.Time(authorizedAt), db.Time(createdAt)
	return a, err
}

func orUnknown(err error) error {
	if errors.Is(err, db.ErrNone) {
		return ErrUnknown
	}
	return err
}

// One statement for what nobody has and for what another tenant has: neither can be told from the other.
func (r *Registry) load(ctx context.Context, owner tenant.ID, id wechat.AppID) (Authorizer, error) {
	a, err := db.One(ctx, r.db, readAuthorizer, `
		SELECT appid, tenant, user_name, alias, nick_name, principal_name, kind, verify_type, account_status,
		       permission_sets, profile_at, state, reason, since, authorized_at, created_at
		FROM authorizers
		WHERE tenant = $1 AND appid = $2 AND tenant <> ''`, string(owner), string(id))
	return a, orUnknown(err)
}

func (r *Registry) list(ctx context.Context, owner tenant.ID, after wechat.AppID, limit int) ([]Authorizer, error) {
	return db.All(ctx, r.db, readAuthorizer, `
		SELECT appid, tenant, user_name, alias, nick_name, principal_name, kind, verify_type, account_status,
		       permission_sets, profile_at, state, reason, since, authorized_at, created_at
		FROM authorizers
		WHERE tenant = $1 AND appid > $2 AND tenant <> ''
		ORDER BY appid
		LIMIT $3`, string(owner), string(after), limit)
}

func (r *Registry) all(ctx context.Context, after wechat.AppID, limit int) ([]Authorizer, error) {
	return db.All(ctx, r.db, readAuthorizer, `
		SELECT appid, tenant, user_name, alias, nick_name, principal_name, kind, verify_type, account_status,
		       permission_sets, profile_at, state, reason, since, authorized_at, created_at
		FROM authorizers
		WHERE appid > $1
		ORDER BY appid
		LIMIT $2`, string(after), limit)
}

func (r *Registry) find(ctx context.Context, q db.Querier, id wechat.AppID) (Authorizer, error) {
	a, err := db.One(ctx, q, readAuthorizer, `
		SELECT appid, tenant, user_name, alias, nick_name, principal_name, kind, verify_type, account_status,
		       permission_sets, profile_at, state, reason, since, authorized_at, created_at
		FROM authorizers
		WHERE appid = $1`, string(id))
	return a, orUnknown(err)
}

var lockAuthorizer = db.Text{
	SQLite:   `SELECT appid FROM authorizers WHERE appid = $1`,
	Postgres: `SELECT appid FROM authorizers WHERE appid = $1 FOR UPDATE`,
}

// lock holds the row until the transaction ends, and makes it where there is none.
func (r *Registry) lock(ctx context.Context, tx *db.Tx, id wechat.AppID, now time.Time) (Authorizer, error) {
	_, err := db.Exec(ctx, tx, `
		INSERT INTO authorizers (appid, created_at, since)
		VALUES ($1, $2, $2)
		ON CONFLICT (appid) DO NOTHING`, string(id), db.Millis(now))
	if err != nil {
		return Authorizer{}, err
	}
	if _, err := db.One(ctx, tx, db.Value[string], r.db.For(lockAuthorizer), string(id)); err != nil {
		return Authorizer{}, err
	}
	return r.find(ctx, tx, id)
}

func (r *Registry) bind(ctx context.Context, q db.Querier, id wechat.AppID, to tenant.ID) error {
	rows, err := db.Exec(ctx, q, `UPDATE authorizers SET tenant = $2 WHERE appid = $1`, string(id), string(to))
	if err == nil && rows == 0 {
		return ErrUnknown
	}
	return err
}

func (r *Registry) saveGrant(ctx context.Context, tx *db.Tx, a Authorizer) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE authorizers
		SET tenant = $2, permission_sets = $3, state = $4, reason = $5, since = $6, authorized_at = $7
		WHERE appid = $1`,
		string(a.AppID), string(a.Tenant), a.PermissionSets.String(), string(a.State), a.Reason, db.Millis(a.Since), db.Millis(a.AuthorizedAt))
	return err
}

func (r *Registry) saveProfile(ctx context.Context, tx *db.Tx, id wechat.AppID, p Profile, now time.Time) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE authorizers
		SET user_name = $2, alias = $3, nick_name = $4, principal_name = $5, kind = $6, verify_type = $7, account_status = $8, permission_sets = $9, profile_at = $10
		WHERE appid = $1`,
		string(id), string(p.UserName), p.Alias, p.NickName, p.PrincipalName, string(p.Kind), p.VerifyType, p.AccountStatus, p.PermissionSets.String(), db.Millis(now))
	return err
}

// mayRead takes the right to read the profile, which is there once a minute.
func (r *Registry) mayRead(ctx context.Context, id wechat.AppID) (bool, error) {
	now, err := db.Now(ctx, r.db)
	if err != nil {
		return false, err
	}
	rows, err := db.Exec(ctx, r.db, `
		UPDATE authorizers
		SET profile_tried_at = $2
		WHERE appid = $1 AND (profile_tried_at <= $3 OR profile_tried_at > $2)`, string(id), db.Millis(now), db.Millis(now.Add(-rereadEvery)))
	return rows > 0, err
}

func (r *Registry) saveState(ctx context.Context, tx *db.Tx, id wechat.AppID, to State, reason string, now time.Time) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE authorizers
		SET state = $2, reason = $3, since = $4, check_at = 0, checks = 0
		WHERE appid = $1`, string(id), string(to), reason, db.Millis(now))
	return err
}

// scheduleCheck has the account's authorization asked about, at the earliest a minute after the last authorization. A check that is scheduled already stays.
func (r *Registry) scheduleCheck(ctx context.Context, id wechat.AppID) error {
	now, err := db.Now(ctx, r.db)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, r.db, `
		UPDATE authorizers
		SET check_at = CASE WHEN authorized_at + $3 > $2 THEN authorized_at + $3 ELSE $2 END, checks = 0
		WHERE appid = $1 AND check_at = 0 AND state <> 'revoked'`, string(id), db.Millis(now), afterAuthorization.Milliseconds())
	return err
}

// A check is one account to ask about.
type check struct {
	AppID wechat.AppID
	At    int64
	Done  int // how often WeChat contradicted already
}

func readCheck(scan db.Scan) (check, error) {
	var c check
	err := scan(&c.AppID, &c.At, &c.Done)
	return c, err
}

func (r *Registry) dueChecks(ctx context.Context, now time.Time, most int) ([]check, error) {
	return db.All(ctx, r.db, readCheck, `
		SELECT appid, check_at, checks
		FROM authorizers
		WHERE check_at > 0 AND check_at <= $1
		ORDER BY check_at, appid
		LIMIT $2`, db.Millis(now), most)
}

// reschedule moves a check that still stands where it was found; false says that another replica has it.
func (r *Registry) reschedule(ctx context.Context, q db.Querier, c check, to time.Time, done int) (bool, error) {
	rows, err := db.Exec(ctx, q, `
		UPDATE authorizers
		SET check_at = $3, checks = $4
		WHERE appid = $1 AND check_at = $2`, string(c.AppID), c.At, db.Millis(to), done)
	return rows > 0, err
}
