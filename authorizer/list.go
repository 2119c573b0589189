package authorizer

import (
	"context"
	"fmt"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/token"
	"wxplatform/wechat"
)

// seekAgain is after how long WeChat's list is searched again for an account that it did not have.
const seekAgain = time.Hour

// Listing is one entry of WeChat's list of the accounts that authorized the component. Its refresh
// token is empty until an auth code was exchanged.
type Listing struct {
	AppID   wechat.AppID
	Refresh seal.Secret
}

// Difference is how an entry of WeChat's list differs from what is stored.
type Difference int

// The differences.
const (
	Same         Difference = iota
	Unknown                 // the account is not stored
	NotExchanged            // the account is not stored, and has no refresh token yet
	Returned                // it withdrew, and WeChat lists it again
	OtherToken              // WeChat lists a refresh token that is not stored
	SameToken               // another refresh token is needed, and the list has none
)

// Compare says how each entry of a walk that began at begun differs from what is stored. It changes
// nothing. It fails with db.ErrUnavailable.
func (r *Registry) Compare(ctx context.Context, begun time.Time, listed []Listing) (map[wechat.AppID]Difference, error) {
	ids, refresh := make([]wechat.AppID, len(listed)), make(map[wechat.AppID]seal.Secret, len(listed))
	for i, one := range listed {
		ids[i], refresh[one.AppID] = one.AppID, one.Refresh
	}
	stored, err := r.table.conditions(ctx, ids)
	if err != nil {
		return nil, err
	}
	lacks, err := r.tokens.NotStored(ctx, refresh)
	if err != nil {
		return nil, err
	}
	differences := make(map[wechat.AppID]Difference, len(listed))
	for id, token := range refresh {
		c, known := stored[id]
		differences[id] = c.difference(known, !token.IsZero(), lacks[id], begun)
	}
	return differences, nil
}

// difference compares a stored condition, if there is one (known), with a listing, which may have a
// refresh token (exchanged) that is not stored (another).
func (c condition) difference(known, exchanged, another bool, begun time.Time) Difference {
	switch {
	case !known && !exchanged:
		return NotExchanged
	case !known:
		return Unknown
	case c.State == Revoked && exchanged && c.Since.Before(begun):
		return Returned
	case c.State == Revoked:
		return Same
	case another:
		return OtherToken
	case c.listed(begun, c.Version, begun) != c:
		return SameToken
	}
	return Same
}

// AddSpare stores a refresh token from WeChat's list as the spare, which is tried if WeChat refuses
// the row's own: it overwrites nothing (docs/design.md, "Whose fault"). It returns false if the
// token is stored already.
func (r *Registry) AddSpare(ctx context.Context, id wechat.AppID, refresh seal.Secret) (taken bool, err error) {
	err = r.states.change(ctx, id, func(tx *db.Tx, c condition, _ time.Time) (condition, error) {
		var err error
		if taken, err = r.tokens.AddSpare(ctx, tx, id, refresh); err != nil || !taken {
			return c, err
		}
		return c.withoutSearch(), nil
	})
	return taken && err == nil, err
}

// EndSearch notes that a walk found no other refresh token for id than the one that was refused.
// That counts only if that token is still the stored one and the walk began after the refusal;
// otherwise it returns false and changes nothing.
func (r *Registry) EndSearch(ctx context.Context, id wechat.AppID, begun time.Time) (ended bool, err error) {
	err = r.states.change(ctx, id, func(tx *db.Tx, c condition, now time.Time) (condition, error) {
		version, err := r.tokens.Version(ctx, tx, id)
		if err != nil {
			return c, err
		}
		after := c.listed(begun, version, now)
		ended = after != c
		return after, nil
	})
	return ended && err == nil, err
}

// Adopt keeps accounts that WeChat lists and that are not stored. They belong to no tenant, and
// their refresh token is used soon. adopted is told after each transaction which ones were kept.
func (r *Registry) Adopt(ctx context.Context, listed []Listing, adopted func([]Listing)) error {
	var now time.Time
	begin := func(tx *db.Tx) (err error) { now, err = tx.Now(ctx); return err }
	keep := func(tx *db.Tx, one Listing) error {
		if _, err := r.table.lock(ctx, tx, one.AppID, now); err != nil {
			return err
		}
		_, err := r.tokens.AddSpare(ctx, tx, one.AppID, one.Refresh)
		return err
	}
	if err := db.InBatches(ctx, r.db, listed, begin, keep, adopted); err != nil {
		return fmt.Errorf("keep authorizers of WeChat's list: %w", err)
	}
	return nil
}

// Return takes an account that withdrew, and that a walk found in the list again, as a new
// authorization without an event, if WeChat says that it is authorized. It belongs to no tenant
// then: the withdrawal freed it. It returns false if WeChat says no, or if the account
// changed meanwhile. It fails with an error of package wechat or db.ErrUnavailable.
func (r *Registry) Return(ctx context.Context, one Listing, begun time.Time) (returned bool, err error) {
	before, err := r.table.condition(ctx, one.AppID)
	if err != nil || before.State != Revoked || !before.Since.Before(begun) {
		return false, err
	}
	profile, err := r.Profile(ctx, one.AppID)
	if wechat.Refused(err) == wechat.NotAuthorized {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var granted Granted
	err = r.db.Tx(ctx, func(tx *db.Tx) error {
		is, err := r.table.lockCondition(ctx, tx, one.AppID)
		if err != nil || is != before {
			return err
		}
		granted, err = r.Grant(ctx, tx, Grant{AppID: one.AppID, Answer: token.Answer{Refresh: one.Refresh}, PermissionSets: profile.PermissionSets, AllSets: true, Sent: begun})
		return err
	})
	if err != nil || granted.Publish == nil {
		return false, err
	}
	granted.Publish(ctx)
	return true, nil
}

// lastListed is when WeChat listed an authorizer last.
type lastListed struct {
	id                          wechat.AppID
	state                       State
	listed, authorized, created time.Time
}

// missing reports whether a walk that began at begun should have seen l and did not.
func (l lastListed) missing(begun time.Time) bool {
	return l.state != Revoked && l.listed.Before(begun) && l.authorized.Before(begun) && l.created.Before(begun)
}

// NotListed returns those of the next limit accounts behind after that a whole walk, begun at begun
// and marked with MarkListed, did not see. next is where the following page begins, "" after the
// last one. That an account is not listed changes nothing by itself: Withdrawn has WeChat asked.
func (r *Registry) NotListed(ctx context.Context, begun time.Time, after wechat.AppID, limit int) (missing []wechat.AppID, next wechat.AppID, err error) {
	some, err := r.table.whenListed(ctx, after, limit)
	if err != nil {
		return nil, "", err
	}
	for _, one := range some {
		if one.missing(begun) {
			missing = append(missing, one.id)
		}
	}
	if len(some) == limit {
		next = some[len(some)-1].id
	}
	return missing, next, nil
}

// MarkListed notes that a walk that began at begun saw the entries.
func (r *Registry) MarkListed(ctx context.Context, listed []Listing, begun time.Time) error {
	return r.table.markListed(ctx, listed, begun)
}

// Sought returns some accounts that need another refresh token, if it is time to search for one of
// them.
func (r *Registry) Sought(ctx context.Context, most int) ([]wechat.AppID, error) {
	return r.table.sought(ctx, most)
}

// NotFound has WeChat asked about accounts that needed another refresh token before a whole walk
// began, and that the walk did not see. They are searched for again later.
func (r *Registry) NotFound(ctx context.Context, begun time.Time) error {
	return r.table.notFound(ctx, begun)
}

// ListPage reads the page of WeChat's list that begins behind offset entries. WeChat may list fewer
// at once than it is asked for.
func (r *Registry) ListPage(ctx context.Context, offset int) (ListPage, error) {
	return r.api.listPage(ctx, offset)
}
