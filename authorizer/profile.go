package authorizer

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"wxplatform/internal/db"
	"wxplatform/wechat"
)

const (
	rereadEvery        = time.Minute
	unreadAgain        = 10 * time.Second // of a profile that was never read
	readingTakes       = wechat.CallPatience + 2*time.Second
	readingLook        = 100 * time.Millisecond // how often a caller looks whether another's reading has ended
	afterAuthorization = time.Minute            // how long WeChat may still say 61003 of a new authorization (docs/wechat.md, "Profile of an authorizer")
)

// reread reads a's profile from WeChat again and answers a as it is then, or as it was where the
// minute's one reading is spent or fails. All who want it of one authorizer share a reading, and a
// first one that another replica or a keeper has begun is waited for.
func (r *Registry) reread(ctx context.Context, a Authorizer) (Authorizer, error) {
	_, err := r.readings.Do(ctx, a.AppID, func(ctx context.Context) (struct{}, error) { return struct{}{}, r.readOnce(ctx, a) })
	fresh, finding := r.find(ctx, r.db, a.AppID)
	if finding != nil || fresh.Tenant != a.Tenant {
		return a, errors.Join(err, finding)
	}
	return fresh, err
}

func (r *Registry) readOnce(ctx context.Context, a Authorizer) error {
	again := rereadEvery
	if a.ProfileAt.IsZero() {
		again = unreadAgain
	}
	may, err := r.mayRead(ctx, a.AppID, again)
	switch {
	case err != nil:
		return fmt.Errorf("profile of %s: %w", a.AppID, err)
	case may:
		return r.ReadProfile(ctx, a.AppID)
	case a.ProfileAt.IsZero():
		return r.awaitReading(ctx, a.AppID)
	}
	return nil
}

// awaitReading waits until another's first reading of a profile is stored, or has had its time.
func (r *Registry) awaitReading(ctx context.Context, id wechat.AppID) error {
	for {
		under, err := r.readingUnderWay(ctx, id)
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

// ReadNewProfile is ReadProfile for an authorizer that has just authorized: callers that want its
// profile meanwhile wait for this reading.
func (r *Registry) ReadNewProfile(ctx context.Context, id wechat.AppID) error {
	if err := r.markReading(ctx, id); err != nil {
		return fmt.Errorf("profile of %s: %w", id, err)
	}
	return r.ReadProfile(ctx, id)
}

// ReadProfile reads the profile of id from WeChat and stores what the answer tells. It fails with an error of the wire, or db.ErrUnavailable; then what was stored is kept.
func (r *Registry) ReadProfile(ctx context.Context, id wechat.AppID) error {
	answer, err := r.readProfile(ctx, id)
	if err != nil {
		return err
	}
	err = r.db.Tx(ctx, func(tx *db.Tx) error { return r.storeProfile(ctx, tx, id, answer) })
	if err != nil {
		return fmt.Errorf("store the profile of %s: %w", id, err)
	}
	return nil
}

func (r *Registry) storeProfile(ctx context.Context, tx *db.Tx, id wechat.AppID, answer wechat.Object) error {
	now, err := tx.Now(ctx)
	if err != nil {
		return err
	}
	before, err := r.findLocked(ctx, tx, id)
	if err != nil {
		return err
	}
	profile := before.Profile.with(answer)
	if !before.Profile.equal(profile) {
		tx.Changed()
	}
	return r.saveProfile(ctx, tx, id, profile, now)
}

func (p Profile) equal(other Profile) bool {
	return reflect.DeepEqual(p, other)
}

// doubt has the authorization of id asked about: WeChat said 61003 or told that the merchant withdrew. Only api_get_authorizer_info decides (docs/design.md, "Absent is not unknown").
func (r *Registry) doubt(ctx context.Context, id wechat.AppID) error {
	if err := r.scheduleCheck(ctx, id); err != nil {
		return fmt.Errorf("note the doubt about %s: %w", id, err)
	}
	return nil
}

// Withdrawn takes WeChat's word that the merchant withdrew as a reason to ask; events come late, twice and out of order.
func (r *Registry) Withdrawn(ctx context.Context, id wechat.AppID) error { return r.doubt(ctx, id) }

// Ensure reads the profile of id again and gets it a new access token, whatever failed a moment ago:
// for the operator, who asks for it because WeChat rejects the one there is. It fails with
// token.ErrLimited where that was done too often lately.
func (r *Registry) Ensure(ctx context.Context, id wechat.AppID) error {
	if err := r.ReadProfile(ctx, id); err != nil {
		return err
	}
	if err := r.tokens.Hasten(ctx, id); err != nil {
		return err
	}
	stored, err := r.tokens.Version(ctx, r.db, id)
	if err != nil {
		return err
	}
	_, err = r.replace(ctx, id, stored)
	return err
}

// Profile is what WeChat says of id now; nothing is stored.
func (r *Registry) Profile(ctx context.Context, id wechat.AppID) (Profile, error) {
	answer, err := r.readProfile(ctx, id)
	return Profile{}.with(answer), err
}
