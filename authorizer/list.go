package authorizer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"wxplatform/audit"
	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/token"
	"wxplatform/wechat"
)

// seekAgain is the delay before WeChat's list is searched again for an account that was not in it.
const seekAgain = time.Hour

// List is WeChat's list of the accounts that authorized the component, and what follows from it for
// the stored ones. Package reconcile reads it page by page; a walk is one complete reading.
type List struct{ registry *Registry }

// WeChatList returns WeChat's list of r's accounts.
func (r *Registry) WeChatList() List { return List{r} }

// Listing is one readable entry of WeChat's list of the accounts that authorized the component. Its
// refresh token is empty until an auth code was exchanged.
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
func (l List) Compare(ctx context.Context, begun time.Time, listed []Listing) (map[wechat.AppID]Difference, error) {
	ids, refresh := make([]wechat.AppID, len(listed)), make(map[wechat.AppID]seal.Secret, len(listed))
	for i, one := range listed {
		ids[i], refresh[one.AppID] = one.AppID, one.Refresh
	}
	stored, err := l.registry.table.conditions(ctx, ids)
	if err != nil {
		return nil, err
	}
	lacks, err := l.registry.tokens.NotStored(ctx, refresh)
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
// token is stored already, or if the row has a spare.
func (l List) AddSpare(ctx context.Context, id wechat.AppID, refresh seal.Secret) (taken bool, err error) {
	err = l.registry.states.change(ctx, id, func(tx *db.Tx, c condition, _ time.Time) (condition, error) {
		var err error
		if taken, err = l.registry.tokens.AddSpare(ctx, tx, id, refresh); err != nil || !taken {
			return c, err
		}
		return c.withoutSearch(), nil
	})
	return taken && err == nil, err
}

// EndSearch notes that a walk found no other refresh token for id than the one that was refused.
// That counts only if that token is still the stored one and the walk began after the refusal;
// otherwise it returns false and changes nothing.
func (l List) EndSearch(ctx context.Context, id wechat.AppID, begun time.Time) (ended bool, err error) {
	err = l.registry.states.change(ctx, id, func(tx *db.Tx, c condition, now time.Time) (condition, error) {
		version, err := l.registry.tokens.Version(ctx, tx, id)
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
// their refresh token is used soon. by is who ordered the walk. adopted is called after each
// transaction with those that were kept.
func (l List) Adopt(ctx context.Context, by audit.Actor, listed []Listing, adopted func([]Listing)) error {
	var now time.Time
	var trail *audit.Batch
	begin := func(tx *db.Tx) (err error) {
		trail = audit.Begin(ctx, tx, by)
		now, err = tx.Now(ctx)
		return err
	}
	keep := func(tx *db.Tx, one Listing) error {
		is, err := l.registry.table.lock(ctx, tx, one.AppID, now)
		if err != nil {
			return err
		}
		if is.CreatedAt.Equal(now) { // not by another process, since the comparison
			trail.Add(ownerChange(audit.AuthorizerAdopt, "", one.AppID, audit.Values{}, owned("")))
		}
		_, err = l.registry.tokens.AddSpare(ctx, tx, one.AppID, one.Refresh)
		return err
	}
	if err := db.InBatches(ctx, l.registry.db, listed, begin, keep, adopted); err != nil {
		return fmt.Errorf("keep authorizers of WeChat's list: %w", err)
	}
	return nil
}

// Return takes an account that withdrew, and that a walk found in the list again, as a new
// authorization without an event, if WeChat says that it is authorized. It belongs to no tenant
// then: the withdrawal freed it. by is who ordered the walk. It returns false if WeChat says no, or
// if the account changed meanwhile. It fails with an error of package wechat or db.ErrUnavailable.
func (l List) Return(ctx context.Context, by audit.Actor, one Listing, begun time.Time) (returned bool, err error) {
	before, err := l.registry.table.condition(ctx, one.AppID)
	if err != nil || before.State != Revoked || !before.Since.Before(begun) {
		return false, err
	}
	sets, all, err := l.registry.PermissionSets(ctx, one.AppID)
	if wechat.Refused(err) == wechat.NotAuthorized {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var granted Granted
	err = l.registry.db.Tx(ctx, func(tx *db.Tx) error {
		granted = Granted{} // this may run again after a rollback
		is, err := l.registry.table.lockCondition(ctx, tx, one.AppID)
		if err != nil || is != before {
			return err
		}
		owner, err := l.registry.table.find(ctx, tx, one.AppID)
		if err != nil {
			return err
		}
		audit.Record(ctx, tx, by, ownerChange(audit.AuthorizerReturn, owner.Tenant, one.AppID, owned(owner.Tenant), owned("")))
		granted, err = l.registry.Grant(ctx, tx, Grant{AppID: one.AppID, Answer: token.Answer{Refresh: one.Refresh}, PermissionSets: sets, AllSets: all, Sent: begun})
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

// NotListed checks the next limit accounts, ordered by appid, that follow after. It returns those
// that a complete walk, begun at begun and recorded with Mark, did not see. next is the after of
// the next page, "" behind the last one. It changes nothing: the caller passes them to Withdrawn,
// which schedules a check with WeChat.
func (l List) NotListed(ctx context.Context, begun time.Time, after wechat.AppID, limit int) (missing []wechat.AppID, next wechat.AppID, err error) {
	some, err := l.registry.table.whenListed(ctx, after, limit)
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

// Mark notes that a walk that began at begun saw the accounts.
func (l List) Mark(ctx context.Context, named []wechat.AppID, begun time.Time) error {
	return l.registry.table.markListed(ctx, named, begun)
}

// Sought returns some accounts that need another refresh token, if it is time to search for one of
// them.
func (l List) Sought(ctx context.Context, most int) ([]wechat.AppID, error) {
	return l.registry.table.sought(ctx, most)
}

// NotFound schedules a check with WeChat, and a later search, for the accounts that needed another
// refresh token before a complete walk began and that the walk did not see.
func (l List) NotFound(ctx context.Context, begun time.Time) error {
	return l.registry.table.notFound(ctx, begun)
}

// Page reads the page of WeChat's list that begins behind offset entries. WeChat may list fewer at
// once than it is asked for.
func (l List) Page(ctx context.Context, offset int) (ListPage, error) {
	return l.registry.api.listPage(ctx, offset)
}

// ErrNotListed means that api_get_authorizer_list has no refresh token for an account. By itself
// that changes nothing.
var ErrNotListed = errors.New("WeChat lists no refresh token for the account")

// Token returns the refresh token that WeChat lists for id. It fails with ErrNotListed or like
// Page.
func (l List) Token(ctx context.Context, id wechat.AppID) (seal.Secret, error) {
	for walk := (Walk{}); ; {
		page, err := l.registry.api.listPage(ctx, walk.Seen)
		if err != nil {
			return seal.Secret{}, fmt.Errorf("list of authorizers: %w", err)
		}
		for _, entry := range page.Entries {
			if entry.AppID == id && !entry.Refresh.IsZero() {
				return entry.Refresh, nil
			}
		}
		if last, err := walk.Ends(page); last || err != nil {
			return seal.Secret{}, cmp.Or(err, ErrNotListed)
		}
	}
}
