package invitation

import (
	"context"
	"errors"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// table is the rows of the invitations and of their codes in SQL.
type table struct{ db *db.DB }

const invitationColumns = `hash, tenant, redirect_url, kind, appid, permission_sets, state, status, bound,
		  created_at, expires_at, lease_until`

func scanInvitation(scan db.Scan) (Invitation, error) {
	var i Invitation
	var sets string
	err := scan(&i.hash, &i.Tenant, &i.RedirectURL, &i.Kind, &i.AppID, &sets, &i.State, &i.Status, &i.Bound,
		(*db.Stamp)(&i.Created), (*db.Stamp)(&i.Expires), (*db.Stamp)(&i.lease))
	i.PermissionSets = wechat.ParsePermissionSets(sets)
	return i, err
}

func (t table) insert(ctx context.Context, tx *db.Tx, i Invitation) error {
	_, err := db.Exec(ctx, tx, `
		INSERT INTO invitations (hash, tenant, redirect_url, kind, appid, permission_sets, state, status,
		  created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		i.hash, string(i.Tenant), i.RedirectURL, string(i.Kind), string(i.AppID), i.PermissionSets.String(),
		i.State, string(i.Status), db.Stamp(i.Created), db.Stamp(i.Expires))
	return err
}

// find reads an invitation by its hash, or fails with ErrUnknown. It is not told the tenant: a
// merchant's browser has only the link, and Get compares the tenant.
func (t table) find(ctx context.Context, q db.Querier, hash string) (Invitation, error) {
	i, err := db.One(ctx, q, scanInvitation, `
		SELECT `+invitationColumns+`
		FROM invitations
		WHERE hash = $1`, hash)
	if errors.Is(err, db.ErrNone) {
		err = ErrUnknown
	}
	return i, err
}

// list reads up to limit of the owner's invitations, newest first, those that follow after.
func (t table) list(ctx context.Context, owner tenant.ID, after place, limit int) ([]Invitation, error) {
	return db.All(ctx, t.db, scanInvitation, `
		SELECT `+invitationColumns+`
		FROM invitations
		WHERE tenant = $1 AND (created_at, hash) < ($2, $3)
		ORDER BY created_at DESC, hash DESC
		LIMIT $4`, string(owner), after.created, after.hash, limit)
}

// listIn is list for those that are stored as status and expire within a time.
func (t table) listIn(ctx context.Context, owner tenant.ID, stored Status, expire span, after place, limit int) ([]Invitation, error) {
	return db.All(ctx, t.db, scanInvitation, `
		SELECT `+invitationColumns+`
		FROM invitations
		WHERE tenant = $1 AND status = $2 AND (created_at, hash) < ($3, $4) AND expires_at > $5 AND expires_at <= $6
		ORDER BY created_at DESC, hash DESC
		LIMIT $7`, string(owner), string(stored), after.created, after.hash, expire.after, expire.until, limit)
}

// cancel reports whether the invitation was still pending.
func (t table) cancel(ctx context.Context, tx *db.Tx, owner tenant.ID, hash string) (bool, error) {
	now, err := tx.Now(ctx)
	if err != nil {
		return false, err
	}
	rows, err := db.Exec(ctx, tx, `
		UPDATE invitations
		SET status = 'cancelled', ended_at = $3
		WHERE tenant = $1 AND hash = $2 AND status = 'pending' AND expires_at > $3`,
		string(owner), hash, db.Stamp(now))
	return rows > 0, err
}

const selectInvitationHash = `SELECT hash FROM invitations WHERE hash = $1`

var lockInvitation = db.Text{SQLite: selectInvitationHash, Postgres: selectInvitationHash + ` FOR UPDATE`}

// locked reads an invitation and locks it until the transaction ends. For a code that came by no
// invitation it returns the zero one.
func (t table) locked(ctx context.Context, tx *db.Tx, hash string) (Invitation, error) {
	if hash == "" {
		return Invitation{}, nil
	}
	if _, err := db.One(ctx, tx, db.Value[string], t.db.For(lockInvitation), hash); err != nil {
		return Invitation{}, err
	}
	return t.find(ctx, tx, hash)
}

// saveEnd stores how an invitation ended, and ends its lease.
func (t table) saveEnd(ctx context.Context, tx *db.Tx, hash string, result Result) error {
	now, err := tx.Now(ctx)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, tx, `
		UPDATE invitations
		SET status = $2, bound = $3, ended_at = $4, lease_until = 0
		WHERE hash = $1`, hash, string(result.Status), string(result.AppID), db.Stamp(now))
	return err
}

func (t table) unlease(ctx context.Context, q db.Querier, hash string) error {
	_, err := db.Exec(ctx, q, `
		UPDATE invitations
		SET lease_until = 0
		WHERE hash = $1`, hash)
	return err
}

// preAuth is the kind of the secrets that name an invitation in WeChat's events. Versions before
// also stored the cookies of browsers.
const preAuth = "pre-auth"

func (t table) remember(ctx context.Context, preAuthCode seal.Secret, invitation string, expires time.Time) error {
	_, err := db.Exec(ctx, t.db, `
		INSERT INTO invitation_secrets (hash, kind, invitation, expires_at)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT (hash) DO NOTHING`, preAuthCode.Hash(), preAuth, invitation, db.Stamp(expires))
	return err
}

// invitationOf returns the hash of the invitation that a pre-auth code names, or "".
func (t table) invitationOf(ctx context.Context, code seal.Secret) (string, error) {
	if code.IsZero() {
		return "", nil
	}
	hash, err := db.One(ctx, t.db, db.Value[string], `
		SELECT invitation
		FROM invitation_secrets
		WHERE hash = $1 AND kind = $2`, code.Hash(), preAuth)
	if errors.Is(err, db.ErrNone) {
		return "", nil
	}
	return hash, err
}

const codeColumns = `hash, invitation, cookie, named, sent_at, lease_until, appid, result, bound, done`

func scanCode(scan db.Scan) (codeRecord, error) {
	var r codeRecord
	var bound, done int64
	err := scan(&r.hash, &r.invitation, &r.cookie, &r.named, (*db.Stamp)(&r.sent), (*db.Stamp)(&r.lease),
		&r.result.AppID, &r.result.Status, &bound, &done)
	r.result.boundNow, r.done = bound > 0, done > 0
	return r, err
}

const selectCode = `
		SELECT ` + codeColumns + `
		FROM exchanges
		WHERE hash = $1`

var lockCode = db.Text{SQLite: selectCode, Postgres: selectCode + ` FOR UPDATE`}

// lockCode reads what is known of a code, which may be nothing, and locks it until the transaction
// ends.
func (t table) lockCode(ctx context.Context, tx *db.Tx, hash, invitation string) (codeRecord, error) {
	now, err := tx.Now(ctx)
	if err != nil {
		return codeRecord{}, err
	}
	_, err = db.Exec(ctx, tx, `
		INSERT INTO exchanges (hash, invitation, created_at)
		VALUES ($1, $2, $3)
		ON CONFLICT (hash) DO NOTHING`, hash, invitation, db.Stamp(now))
	if err != nil {
		return codeRecord{}, err
	}
	return db.One(ctx, tx, scanCode, t.db.For(lockCode), hash)
}

// lease records that a code is about to be sent, and how it came, and leases the code and its
// invitation.
func (t table) lease(ctx context.Context, tx *db.Tx, r codeRecord, now time.Time) error {
	until := db.Stamp(now.Add(exchangeLease))
	_, err := db.Exec(ctx, tx, `
		UPDATE exchanges
		SET invitation = $2, cookie = $3, named = $4, sent_at = $5, lease_until = $6
		WHERE hash = $1`, r.hash, r.invitation, r.cookie, string(r.named), db.Stamp(now), until)
	if err != nil || r.invitation == "" {
		return err
	}
	_, err = db.Exec(ctx, tx, `
		UPDATE invitations
		SET lease_until = $2
		WHERE hash = $1`, r.invitation, until)
	return err
}

// confirm records that WeChat's event named the account of a code that came by the event's own
// invitation.
func (t table) confirm(ctx context.Context, tx *db.Tx, r codeRecord, from source) error {
	if from.appid == "" || !r.done || r.invitation != from.invitation {
		return nil
	}
	_, err := db.Exec(ctx, tx, `
		UPDATE exchanges
		SET named = $2
		WHERE hash = $1`, r.hash, string(from.appid))
	return err
}

// countUsed counts the codes, other than the given one, that were sent for an invitation.
func (t table) countUsed(ctx context.Context, tx *db.Tx, hash string, from source) (used, error) {
	return db.One(ctx, tx, scanUsed, `
		SELECT COUNT(CASE WHEN cookie = $3 THEN 1 END), COUNT(CASE WHEN cookie <> '' THEN 1 END),
		  COUNT(CASE WHEN cookie = '' AND named <> '' AND done = 1 THEN 1 END)
		FROM exchanges
		WHERE invitation = $1 AND hash <> $2 AND sent_at > 0`, from.invitation, hash, from.cookie)
}

func scanUsed(scan db.Scan) (u used, err error) {
	err = scan(&u.byCookie, &u.byBrowsers, &u.byEvents)
	return u, err
}

// unconfirmed returns the codes by which browsers bound the account of an event through other
// invitations since the merchant consented, if no event named that invitation for the account.
func (t table) unconfirmed(ctx context.Context, tx *db.Tx, from source) ([]codeRecord, error) {
	return db.All(ctx, tx, scanCode, `
		SELECT `+codeColumns+`
		FROM exchanges AS e
		WHERE appid = $1 AND bound = 1 AND invitation <> $2 AND cookie <> '' AND sent_at >= $3
		  AND NOT EXISTS (
		    SELECT 1
		    FROM exchanges AS other
		    WHERE other.invitation = e.invitation AND other.appid = e.appid AND other.named <> '')
		ORDER BY hash`, string(from.appid), from.invitation, db.Stamp(from.consented()))
}

// release ends the leases of an exchange that failed.
func (t table) release(ctx context.Context, hash, invitation string) error {
	_, err := db.Exec(ctx, t.db, `
		UPDATE exchanges
		SET lease_until = 0
		WHERE hash = $1`, hash)
	return errors.Join(err, t.unlease(ctx, t.db, invitation))
}

func (t table) saveResult(ctx context.Context, tx *db.Tx, hash string, r Result) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE exchanges
		SET appid = $2, result = $3, bound = $4, done = 1, lease_until = 0
		WHERE hash = $1`, hash, string(r.AppID), string(r.Status), bit(r.boundNow))
	return err
}

func bit(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// saveInvalid records that WeChat did not know a code.
func (t table) saveInvalid(ctx context.Context, hash string) error {
	_, err := db.Exec(ctx, t.db, `
		UPDATE exchanges
		SET done = 1
		WHERE hash = $1`, hash)
	return err
}

// savedResult returns what became of a code that came by the invitation, and whether that is known.
func (t table) savedResult(ctx context.Context, code seal.Secret, invitation string) (Result, bool, error) {
	r, err := db.One(ctx, t.db, scanCode, selectCode+` AND invitation = $2`, code.Hash(), invitation)
	if errors.Is(err, db.ErrNone) {
		return Result{}, false, nil
	}
	return r.result, r.done, err
}

// countPending counts the owner's pending invitations, up to most.
func (t table) countPending(ctx context.Context, tx *db.Tx, owner tenant.ID, now time.Time, most int) (int, error) {
	return db.One(ctx, tx, db.Value[int], `
		SELECT COUNT(*)
		FROM (
		  SELECT 1
		  FROM invitations
		  WHERE tenant = $1 AND status = 'pending' AND expires_at > $2
		  LIMIT $3) AS pending`, string(owner), db.Stamp(now), most)
}

// Sweep deletes what is no longer needed: pre-auth codes that have expired, what is known of auth
// codes after KeepCodes, and invitations KeepEnded after they ended. It fails with
// db.ErrUnavailable.
func (s *Service) Sweep(ctx context.Context) error {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return err
	}
	_, secrets := db.Trim(ctx, s.db, `
		DELETE FROM invitation_secrets
		WHERE hash IN (
		  SELECT hash
		  FROM invitation_secrets
		  WHERE expires_at < $1
		  LIMIT $2)`, db.Stamp(now))
	_, codes := db.Trim(ctx, s.db, `
		DELETE FROM exchanges
		WHERE hash IN (
		  SELECT hash
		  FROM exchanges
		  WHERE created_at < $1 AND sent_at < $1 AND lease_until < $1
		  LIMIT $2)`, db.Stamp(now.Add(-s.KeepCodes)))
	_, ended := db.Trim(ctx, s.db, `
		DELETE FROM invitations
		WHERE hash IN (
		  SELECT hash
		  FROM invitations AS i
		  WHERE (ended_at > 0 AND ended_at < $1 OR ended_at = 0 AND expires_at < $1)
		    AND NOT EXISTS (SELECT 1 FROM invitation_secrets AS s WHERE s.invitation = i.hash)
		  LIMIT $2)`, db.Stamp(now.Add(-s.KeepEnded)))
	return errors.Join(secrets, codes, ended)
}
