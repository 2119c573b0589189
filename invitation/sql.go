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

func readInvitation(scan db.Scan) (Invitation, error) {
	var i Invitation
	var sets string
	var created, expires, lease int64
	err := scan(&i.hash, &i.Tenant, &i.RedirectURL, &i.Kind, &i.AppID, &sets, &i.State, &i.Status, &i.Bound, &created, &expires, &lease)
	i.PermissionSets = wechat.ParsePermissionSets(sets)
	i.Created, i.Expires, i.lease = db.Time(created), db.Time(expires), db.Time(lease)
	return i, err
}

func (s *Service) insert(ctx context.Context, i Invitation) error {
	_, err := db.Exec(ctx, s.db, `
		INSERT INTO invitations (hash, tenant, redirect_url, kind, appid, permission_sets, state, status, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		i.hash, string(i.Tenant), i.RedirectURL, string(i.Kind), string(i.AppID), i.PermissionSets.String(), i.State, string(i.Status), db.Millis(i.Created), db.Millis(i.Expires))
	return err
}

func (s *Service) find(ctx context.Context, q db.Querier, hash string) (Invitation, error) {
	i, err := db.One(ctx, q, readInvitation, `
		SELECT hash, tenant, redirect_url, kind, appid, permission_sets, state, status, bound, created_at, expires_at, lease_until
		FROM invitations
		WHERE hash = $1`, hash)
	if errors.Is(err, db.ErrNone) {
		err = ErrUnknown
	}
	return i, err
}

func (s *Service) cancel(ctx context.Context, owner tenant.ID, hash string) (bool, error) {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return false, err
	}
	rows, err := db.Exec(ctx, s.db, `
		UPDATE invitations
		SET status = 'cancelled'
		WHERE tenant = $1 AND hash = $2 AND status = 'pending' AND expires_at > $3`, string(owner), hash, db.Millis(now))
	return rows > 0, err
}

var lockInvitation = db.Text{
	SQLite:   `SELECT hash FROM invitations WHERE hash = $1`,
	Postgres: `SELECT hash FROM invitations WHERE hash = $1 FOR UPDATE`,
}

// locked is the invitation, held until the transaction ends; the zero one where a code came by none.
func (s *Service) locked(ctx context.Context, tx *db.Tx, hash string) (Invitation, error) {
	if hash == "" {
		return Invitation{}, nil
	}
	if _, err := db.One(ctx, tx, db.Value[string], s.db.For(lockInvitation), hash); err != nil {
		return Invitation{}, err
	}
	return s.find(ctx, tx, hash)
}

// finish also lets go of the lease.
func (s *Service) finish(ctx context.Context, tx *db.Tx, hash string, result Result) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE invitations
		SET status = $2, bound = $3, lease_until = 0
		WHERE hash = $1`, hash, string(result.Status), string(result.AppID))
	return err
}

func (s *Service) unlease(ctx context.Context, q db.Querier, hash string) error {
	_, err := db.Exec(ctx, q, `UPDATE invitations SET lease_until = 0 WHERE hash = $1`, hash)
	return err
}

// The single-use secrets that name an invitation.
const (
	preAuth = "pre-auth"
	cookie  = "cookie"
)

func (s *Service) remember(ctx context.Context, kind string, secret seal.Secret, invitation string, expires time.Time) error {
	_, err := db.Exec(ctx, s.db, `
		INSERT INTO invitation_secrets (hash, kind, invitation, expires_at)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT (hash) DO NOTHING`, secret.Hash(), kind, invitation, db.Millis(expires))
	return err
}

// named is the invitation that a secret names, or "".
func (s *Service) named(ctx context.Context, kind string, secret seal.Secret) (string, error) {
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

func (s *Service) invitationOf(ctx context.Context, code seal.Secret) (string, error) {
	return s.named(ctx, preAuth, code)
}

var lockExchange = db.Text{
	SQLite:   `SELECT sent_at, lease_until, appid, result, done FROM exchanges WHERE hash = $1`,
	Postgres: `SELECT sent_at, lease_until, appid, result, done FROM exchanges WHERE hash = $1 FOR UPDATE`,
}

func readExchange(scan db.Scan) (exchanged, error) {
	var e exchanged
	var sent, lease, done int64
	err := scan(&sent, &lease, &e.appid, &e.result, &done)
	e.sent, e.lease, e.done = db.Time(sent), db.Time(lease), done > 0
	return e, err
}

// lockExchange is what is known of a code, held until the transaction ends.
func (s *Service) lockExchange(ctx context.Context, tx *db.Tx, hash, invitation string) (exchanged, error) {
	_, err := db.Exec(ctx, tx, `
		INSERT INTO exchanges (hash, invitation)
		VALUES ($1, $2)
		ON CONFLICT (hash) DO NOTHING`, hash, invitation)
	if err != nil {
		return exchanged{}, err
	}
	return db.One(ctx, tx, readExchange, s.db.For(lockExchange), hash)
}

func (s *Service) lease(ctx context.Context, tx *db.Tx, hash, invitation string, now time.Time) error {
	until := db.Millis(now.Add(exchangeLease))
	_, err := db.Exec(ctx, tx, `UPDATE exchanges SET sent_at = $2, lease_until = $3 WHERE hash = $1`, hash, db.Millis(now), until)
	if err != nil || invitation == "" {
		return err
	}
	_, err = db.Exec(ctx, tx, `UPDATE invitations SET lease_until = $2 WHERE hash = $1`, invitation, until)
	return err
}

// release ends the leases of an exchange that failed, so that the next one who has the code need not wait.
func (s *Service) release(ctx context.Context, hash, invitation string) error {
	_, err := db.Exec(ctx, s.db, `UPDATE exchanges SET lease_until = 0 WHERE hash = $1`, hash)
	return errors.Join(err, s.unlease(ctx, s.db, invitation))
}

func (s *Service) saveResult(ctx context.Context, tx *db.Tx, hash string, r Result) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE exchanges
		SET appid = $2, result = $3, done = 1, lease_until = 0
		WHERE hash = $1`, hash, string(r.AppID), string(r.Status))
	return err
}

func (s *Service) saveInvalid(ctx context.Context, hash string) error {
	_, err := db.Exec(ctx, s.db, `UPDATE exchanges SET done = 1 WHERE hash = $1`, hash)
	return err
}

// resultOf is what became of a code that came by the invitation, and whether anything did yet.
func (s *Service) resultOf(ctx context.Context, code seal.Secret, invitation string) (Result, bool, error) {
	e, err := db.One(ctx, s.db, readExchange, `
		SELECT sent_at, lease_until, appid, result, done
		FROM exchanges
		WHERE hash = $1 AND invitation = $2`, code.Hash(), invitation)
	if errors.Is(err, db.ErrNone) {
		return Result{}, false, nil
	}
	return Result{e.appid, e.result}, e.done, err
}

// Sweep removes what is over and proves nothing any more: secrets past their time, and codes a day after they were sent, for WeChat's live an hour.
func (s *Service) Sweep(ctx context.Context) error {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return err
	}
	_, secrets := db.Exec(ctx, s.db, `DELETE FROM invitation_secrets WHERE expires_at < $1`, db.Millis(now))
	_, codes := db.Exec(ctx, s.db, `DELETE FROM exchanges WHERE sent_at > 0 AND sent_at < $1`, db.Millis(now.Add(-24*time.Hour)))
	return errors.Join(secrets, codes)
}
