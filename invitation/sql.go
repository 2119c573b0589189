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

func (s *Service) insert(ctx context.Context, i Invitation) error {
	_, err := db.Exec(ctx, s.db, `
		INSERT INTO invitations (hash, tenant, redirect_url, kind, appid, permission_sets, state, status,
		  created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		i.hash, string(i.Tenant), i.RedirectURL, string(i.Kind), string(i.AppID), i.PermissionSets.String(),
		i.State, string(i.Status), db.Stamp(i.Created), db.Stamp(i.Expires))
	return err
}

// find reads an invitation by its hash, or fails with ErrUnknown. It is not told the tenant: a
// merchant's browser has only the link, and Get compares the tenant.
func (s *Service) find(ctx context.Context, q db.Querier, hash string) (Invitation, error) {
	i, err := db.One(ctx, q, scanInvitation, `
		SELECT `+invitationColumns+`
		FROM invitations
		WHERE hash = $1`, hash)
	if errors.Is(err, db.ErrNone) {
		err = ErrUnknown
	}
	return i, err
}

// cancel reports whether the invitation was still pending.
func (s *Service) cancel(ctx context.Context, owner tenant.ID, hash string) (bool, error) {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return false, err
	}
	rows, err := db.Exec(ctx, s.db, `
		UPDATE invitations
		SET status = 'cancelled'
		WHERE tenant = $1 AND hash = $2 AND status = 'pending' AND expires_at > $3`,
		string(owner), hash, db.Stamp(now))
	return rows > 0, err
}

const selectInvitationHash = `SELECT hash FROM invitations WHERE hash = $1`

var lockInvitation = db.Text{SQLite: selectInvitationHash, Postgres: selectInvitationHash + ` FOR UPDATE`}

// locked reads an invitation and locks it until the transaction ends. For a code that came by no
// invitation it returns the zero one.
func (s *Service) locked(ctx context.Context, tx *db.Tx, hash string) (Invitation, error) {
	if hash == "" {
		return Invitation{}, nil
	}
	if _, err := db.One(ctx, tx, db.Value[string], s.db.For(lockInvitation), hash); err != nil {
		return Invitation{}, err
	}
	return s.find(ctx, tx, hash)
}

// saveEnd stores how an invitation ended, and ends its lease.
func (s *Service) saveEnd(ctx context.Context, tx *db.Tx, hash string, result Result) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE invitations
		SET status = $2, bound = $3, lease_until = 0
		WHERE hash = $1`, hash, string(result.Status), string(result.AppID))
	return err
}

func (s *Service) unlease(ctx context.Context, q db.Querier, hash string) error {
	_, err := db.Exec(ctx, q, `
		UPDATE invitations
		SET lease_until = 0
		WHERE hash = $1`, hash)
	return err
}

// The kinds of secrets that name an invitation.
const (
	preAuth = "pre-auth" // in WeChat's event
	cookie  = "cookie"   // in the browser that opened the page
)

func (s *Service) remember(
	ctx context.Context, kind string, secret seal.Secret, invitation string, expires time.Time,
) error {
	_, err := db.Exec(ctx, s.db, `
		INSERT INTO invitation_secrets (hash, kind, invitation, expires_at)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT (hash) DO NOTHING`, secret.Hash(), kind, invitation, db.Stamp(expires))
	return err
}

// invitationOf returns the hash of the invitation that a secret names, or "".
func (s *Service) invitationOf(ctx context.Context, kind string, secret seal.Secret) (string, error) {
	if secret.IsZero() {
		return "", nil
	}
	hash, err := db.One(ctx, s.db, db.Value[string], `
		SELECT invitation
		FROM invitation_secrets
		WHERE hash = $1 AND kind = $2`, secret.Hash(), kind)
	if errors.Is(err, db.ErrNone) {
		return "", nil
	}
	return hash, err
}

const codeColumns = `sent_at, lease_until, appid, result, done`

func scanCode(scan db.Scan) (codeRecord, error) {
	var r codeRecord
	var done int64
	err := scan((*db.Stamp)(&r.sent), (*db.Stamp)(&r.lease), &r.result.AppID, &r.result.Status, &done)
	r.done = done > 0
	return r, err
}

const selectCode = `
		SELECT ` + codeColumns + `
		FROM exchanges
		WHERE hash = $1`

var lockCode = db.Text{SQLite: selectCode, Postgres: selectCode + ` FOR UPDATE`}

// lockCode reads what is known of a code, which may be nothing, and locks it until the transaction
// ends.
func (s *Service) lockCode(ctx context.Context, tx *db.Tx, hash, invitation string) (codeRecord, error) {
	_, err := db.Exec(ctx, tx, `
		INSERT INTO exchanges (hash, invitation)
		VALUES ($1, $2)
		ON CONFLICT (hash) DO NOTHING`, hash, invitation)
	if err != nil {
		return codeRecord{}, err
	}
	return db.One(ctx, tx, scanCode, s.db.For(lockCode), hash)
}

// lease records that a code is about to be sent, and leases the code and its invitation.
func (s *Service) lease(ctx context.Context, tx *db.Tx, hash, invitation string, now time.Time) error {
	until := db.Stamp(now.Add(exchangeLease))
	_, err := db.Exec(ctx, tx, `
		UPDATE exchanges
		SET sent_at = $2, lease_until = $3
		WHERE hash = $1`, hash, db.Stamp(now), until)
	if err != nil || invitation == "" {
		return err
	}
	_, err = db.Exec(ctx, tx, `
		UPDATE invitations
		SET lease_until = $2
		WHERE hash = $1`, invitation, until)
	return err
}

// release ends the leases of an exchange that failed.
func (s *Service) release(ctx context.Context, hash, invitation string) error {
	_, err := db.Exec(ctx, s.db, `
		UPDATE exchanges
		SET lease_until = 0
		WHERE hash = $1`, hash)
	return errors.Join(err, s.unlease(ctx, s.db, invitation))
}

func (s *Service) saveResult(ctx context.Context, tx *db.Tx, hash string, r Result) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE exchanges
		SET appid = $2, result = $3, done = 1, lease_until = 0
		WHERE hash = $1`, hash, string(r.AppID), string(r.Status))
	return err
}

// saveInvalid records that WeChat did not know a code.
func (s *Service) saveInvalid(ctx context.Context, hash string) error {
	_, err := db.Exec(ctx, s.db, `
		UPDATE exchanges
		SET done = 1
		WHERE hash = $1`, hash)
	return err
}

// savedResult returns what became of a code that came by the invitation, and whether that is known.
func (s *Service) savedResult(ctx context.Context, code seal.Secret, invitation string) (Result, bool, error) {
	r, err := db.One(ctx, s.db, scanCode, selectCode+` AND invitation = $2`, code.Hash(), invitation)
	if errors.Is(err, db.ErrNone) {
		return Result{}, false, nil
	}
	return r.result, r.done, err
}

// Sweep deletes secrets that have expired, and codes a day after they were sent: WeChat's codes are
// valid for an hour.
func (s *Service) Sweep(ctx context.Context) error {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return err
	}
	_, secrets := db.Exec(ctx, s.db, `
		DELETE FROM invitation_secrets
		WHERE expires_at < $1`, db.Stamp(now))
	_, codes := db.Exec(ctx, s.db, `
		DELETE FROM exchanges
		WHERE sent_at > 0 AND sent_at < $1`, db.Stamp(now.Add(-24*time.Hour)))
	return errors.Join(secrets, codes)
}
