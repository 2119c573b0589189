package authorizer

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"wxplatform/audit"
	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/token"
	"wxplatform/wechat"
)

const (
	rereadEvery        = time.Minute
	unreadAgain        = 10 * time.Second // of a profile that was never read
	readingTakes       = wechat.CallPatience + 2*time.Second
	readingLook        = 100 * time.Millisecond // how often a caller looks whether another's reading has ended
	afterAuthorization = time.Minute            // how long WeChat may still say 61003 of a new authorization (docs/wechat.md, "Profile of an authorizer")
)

// profiles reads accounts' profiles from WeChat and stores them.
type profiles struct {
	db       *db.DB
	table    table
	api      api
	readings *mirror.Flights[wechat.AppID, struct{}] // one reading of an account is shared by all who want it
}

// reread reads a's profile from WeChat again and returns a as it is then. It returns a unchanged
// if this minute's reading is used up or fails. All callers share one reading of an account, and
// wait for a first reading that another replica has begun.
func (p *profiles) reread(ctx context.Context, a Authorizer) (Authorizer, error) {
	_, err := p.readings.Do(ctx, a.AppID, func(ctx context.Context) (struct{}, error) { return struct{}{}, p.readOnce(ctx, a) })
	fresh, finding := p.table.find(ctx, p.db, a.AppID)
	if finding != nil || fresh.Tenant != a.Tenant {
		return a, errors.Join(err, finding)
	}
	return fresh, err
}

func (p *profiles) readOnce(ctx context.Context, a Authorizer) error {
	again := rereadEvery
	if a.ProfileAt.IsZero() {
		again = unreadAgain
	}
	may, err := p.table.mayRead(ctx, a.AppID, again)
	switch {
	case err != nil:
		return fmt.Errorf("profile of %s: %w", a.AppID, err)
	case may:
		return p.read(ctx, a.AppID)
	case a.ProfileAt.IsZero():
		return p.awaitReading(ctx, a.AppID)
	}
	return nil
}

// awaitReading waits until another process's first reading is stored, or until its time is over.
func (p *profiles) awaitReading(ctx context.Context, id wechat.AppID) error {
	for {
		under, err := p.table.readingUnderWay(ctx, id)
		if err != nil || !under {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(readingLook):
		}
	}
}

// readNew also tells other replicas that a first reading is under way.
func (p *profiles) readNew(ctx context.Context, id wechat.AppID) error {
	if err := p.table.markReading(ctx, id); err != nil {
		return fmt.Errorf("profile of %s: %w", id, err)
	}
	return p.read(ctx, id)
}

func (p *profiles) read(ctx context.Context, id wechat.AppID) error {
	answer, err := p.api.readProfile(ctx, id)
	if err != nil {
		return err
	}
	err = p.db.Tx(ctx, func(tx *db.Tx) error { return p.store(ctx, tx, id, answer) })
	if err != nil {
		return fmt.Errorf("store the profile of %s: %w", id, err)
	}
	return nil
}

func (p *profiles) store(ctx context.Context, tx *db.Tx, id wechat.AppID, answer wechat.Object) error {
	now, err := tx.Now(ctx)
	if err != nil {
		return err
	}
	before, err := p.table.findLocked(ctx, tx, id)
	if err != nil {
		return err
	}
	profile := before.Profile.with(answer)
	if !before.Profile.equal(profile) {
		tx.Changed()
	}
	return p.table.saveProfile(ctx, tx, id, profile, now)
}

func (p Profile) equal(other Profile) bool {
	return reflect.DeepEqual(p, other)
}

// doubt schedules a check of the authorization of id, because WeChat answered 61003 or announced a
// withdrawal. Only api_get_authorizer_info decides (docs/design.md, "Absent is not unknown").
func (s states) doubt(ctx context.Context, id wechat.AppID) error {
	if err := s.table.scheduleCheck(ctx, id); err != nil {
		return fmt.Errorf("note the doubt about %s: %w", id, err)
	}
	return nil
}

// ReadProfile reads the profile of id from WeChat and stores what the answer tells. It fails with
// an error of package wechat or db.ErrUnavailable; what was stored is kept then.
func (r *Registry) ReadProfile(ctx context.Context, id wechat.AppID) error {
	return r.profiles.read(ctx, id)
}

// ReadNewProfile is ReadProfile for an account that has just authorized: callers that need its
// profile meanwhile wait for this reading.
func (r *Registry) ReadNewProfile(ctx context.Context, id wechat.AppID) error {
	return r.profiles.readNew(ctx, id)
}

// Withdrawn schedules a check because WeChat announced that the merchant withdrew. The announcement
// itself decides nothing: events come late, twice and out of order.
func (r *Registry) Withdrawn(ctx context.Context, id wechat.AppID) error {
	return r.states.doubt(ctx, id)
}

// Ensure reads the profile of id and gets a new access token, whatever failed recently. It is for
// the operator, if WeChat rejects the stored token; by says who. It fails with token.ErrLimited if
// that was done too often recently.
func (r *Registry) Ensure(ctx context.Context, by audit.Actor, id wechat.AppID) error {
	if err := r.profiles.read(ctx, id); err != nil {
		return err
	}
	if err := r.orderRefresh(ctx, by, id); err != nil {
		return err
	}
	stored, err := r.tokens.Version(ctx, r.db, id)
	if err != nil {
		return err
	}
	return r.newToken(ctx, id, stored)
}

// newToken gets an access token newer than bad, and notes that. Another process may have got it,
// and may not have noted it yet.
func (r *Registry) newToken(ctx context.Context, id wechat.AppID, bad token.Version) error {
	if _, err := r.replace(ctx, id, bad); err != nil {
		return err
	}
	return r.states.recovered(ctx, id)
}

// orderRefresh records the order to refresh a token, and makes it possible. What the refresh does
// is WeChat's, and no secret is recorded, so the entry has no values.
func (r *Registry) orderRefresh(ctx context.Context, by audit.Actor, id wechat.AppID) error {
	return r.db.Tx(ctx, func(tx *db.Tx) error {
		is, err := r.table.find(ctx, tx, id)
		if err != nil {
			return err
		}
		audit.Record(ctx, tx, by, ownerChange(audit.AuthorizerRefresh, is.Tenant, id, audit.Values{}, audit.Values{}))
		return r.tokens.ClearBackOff(ctx, tx, id)
	})
}

// PermissionSets returns the sets that WeChat's profile of id has now, and whether these are all.
// Nothing is stored. It fails with an error of package wechat, or like component.Component.Token.
func (r *Registry) PermissionSets(ctx context.Context, id wechat.AppID) (sets wechat.PermissionSets, all bool, err error) {
	answer, err := r.api.readProfile(ctx, id)
	if err != nil {
		return nil, false, err
	}
	sets, all = permissionSets(answer)
	return sets, all, nil
}
