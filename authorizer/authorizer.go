// Package authorizer stores the merchants' accounts and calls WeChat with their access tokens. It
// knows who may act for an account and what the merchant granted, and keeps the tokens fresh.
//
// Packages that offer an API of WeChat's (session) call Admit, Begin and Turn.Call. While SQL is
// unavailable these still work for accounts that this process or Redis knows, until their access
// tokens expire (docs/design.md, "Redis or SQL down"); everything that changes or lists accounts
// fails with db.ErrUnavailable.
package authorizer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wxplatform/audit"
	"wxplatform/component"
	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/quota"
	"wxplatform/share"
	"wxplatform/tenant"
	"wxplatform/token"
	"wxplatform/wechat"
)

// Errors that callers get before WeChat is asked, or instead of its refusal.
var (
	ErrUnknown       = errors.New("no such authorizer")                                      // or it is another tenant's
	ErrUnbound       = errors.New("the JWT is bound to no account")                          // at a path that names none
	ErrRevoked       = errors.New("merchant withdrew the authorization")                     // see docs/design.md, "Absent is not unknown"
	ErrReauthorize   = errors.New("merchant must authorize again")                           // see docs/design.md, "Absent is not unknown"
	ErrNotEligible   = errors.New("account is a mini program or not verified")               // so it cannot use this API
	ErrRejected      = errors.New("WeChat rejects even the newest access token")             // after the token was replaced
	ErrTokenReplaced = errors.New("WeChat rejected the access token, which is replaced now") // it did nothing: the same call may be made again
	ErrUnconfirmed   = errors.New("WeChat says not authorized, not confirmed yet")           // 61003, until api_get_authorizer_info has said so too
	ErrUnread        = errors.New("profile could not be read from WeChat")                   // so nobody knows what is allowed
)

// PermissionError means that the merchant granted none of the permission sets that an API requires.
type PermissionError struct {
	RequiredAnyOf []wechat.PermissionSet
	Granted       wechat.PermissionSets
	Refusal       error // WeChat's, or nil if WeChat was not asked
}

// Error names the sets.
func (e *PermissionError) Error() string {
	return fmt.Sprintf("merchant granted [%s], needed is one of [%s]", e.Granted, wechat.PermissionSets(e.RequiredAnyOf))
}

// Unwrap returns WeChat's refusal.
func (e *PermissionError) Unwrap() error { return e.Refusal }

// AccountError adds what is known of the account to an error about what the account is.
type AccountError struct {
	Granted  wechat.PermissionSets // nil if it is not known
	Verified bool
	Err      error
}

// Error returns the text of the inner error.
func (e *AccountError) Error() string { return e.Err.Error() }

// Unwrap returns the inner error.
func (e *AccountError) Unwrap() error { return e.Err }

// about adds to err what is known of a.
func (a Authorizer) about(err error) error {
	if err == nil {
		return nil
	}
	return &AccountError{Granted: a.PermissionSets, Verified: a.Verified(), Err: err}
}

// Kind is the kind of an account.
type Kind string

// The kinds of account. Unread means that the profile was never read.
const (
	Unread      Kind = ""
	Official    Kind = "official"
	Service     Kind = "service"
	MiniProgram Kind = "miniprogram"
)

// State is the state of an authorizer.
type State string

// The states. Only Reauthorize and Revoked block calls.
const (
	Healthy     State = "healthy"
	Degraded    State = "degraded"
	Reauthorize State = "reauthorize"
	Revoked     State = "revoked"
	Quota       State = "quota"
)

// Profile is what api_get_authorizer_info says about an account (docs/wechat.md, "Profile of an
// authorizer").
type Profile struct {
	UserName       wechat.UserName
	Alias          string // its WeChat id; may be empty
	NickName       string
	PrincipalName  string // the firm behind it
	Kind           Kind
	VerifyType     int // -1 is not verified
	AccountStatus  int // 1 normal, 14 cancelled, 16 banned, 18 warned, 19 frozen; 0 if WeChat did not say
	PermissionSets wechat.PermissionSets
}

// Authorizer is an account that authorized the component.
type Authorizer struct {
	AppID  wechat.AppID
	Tenant tenant.ID // "" while no tenant owns it
	Profile
	ProfileAt    time.Time // when the profile was last read; zero if it never was
	State        State
	Reason       string    // why it is in this state, for people
	Since        time.Time // when this state began
	Sought       time.Time // since when another refresh token is sought; zero where none is
	Next         time.Time // when the platform acts by itself: begins a walk for what is sought, or tries again
	AuthorizedAt time.Time // when the merchant last authorized
	CreatedAt    time.Time
}

// Verified reports whether WeChat verified the account.
func (a Authorizer) Verified() bool { return a.Kind != Unread && a.VerifyType >= 0 }

// usable returns why no call can be made for a, or nil.
func (a Authorizer) usable() error {
	switch a.State {
	case Revoked:
		return ErrRevoked
	case Reauthorize:
		return ErrReauthorize
	}
	return nil
}

// cached is how many authorizers a process caches, unless Cache was called.
const cached = 200_000

// Registry keeps the authorizers. It is safe for concurrent use.
type Registry struct {
	db        *db.DB
	facts     *mirror.Facts[Authorizer] // caches rows of SQL, by tenant and appid
	component *component.Component
	tokens    *token.Store
	quota     *quota.Limiter

	table    table
	states   states
	api      api
	profiles *profiles
	counted  counted
	slots    *share.Slots // one for each request of a tenant's that calls WeChat
	streams  *share.Slots // one for each of those that stream

	rejections rejections
}

// New makes a Registry of the authorizers in d, whose rows it caches in m. tokens keeps their
// tokens, and limiter decides when WeChat may be asked for one.
func New(d *db.DB, m *mirror.Mirror, c *component.Component, tokens *token.Store, limiter *quota.Limiter, client *wechat.Client) *Registry {
	rows, calls := table{d}, api{c, client}
	return &Registry{
		db: d, facts: mirror.NewFacts(m, "authorizer", cached, rows.loadFact), component: c, tokens: tokens, quota: limiter,
		table:    rows,
		states:   states{d, rows, tokens},
		api:      calls,
		profiles: &profiles{db: d, table: rows, api: calls, readings: mirror.NewFlights[wechat.AppID, struct{}](m, 2*readingTakes)},
		slots:    share.New(wechat.MostConnections),
		streams:  share.New(wechat.MostTransfers),

		rejections: rejections{noted: mirror.NewLocal[wechat.AppID, token.Version](rejectionsRemembered)},
	}
}

// Cache has the process cache about n authorizers.
func (r *Registry) Cache(n int) { r.facts.Resize(n) }

// Get returns owner's authorizer, from the cache if nothing has changed. It fails with ErrUnknown,
// also for another tenant's, or with db.ErrUnavailable if neither SQL nor a cache knows it.
func (r *Registry) Get(ctx context.Context, owner tenant.ID, id wechat.AppID) (Authorizer, error) {
	a, err := r.facts.Get(ctx, string(owner)+"/"+string(id))
	if err == nil && (a.Tenant != owner || a.AppID != id) {
		return Authorizer{}, ErrUnknown // tenants are separated here too, even if the cache is wrong
	}
	return a, err
}

// List returns up to limit of owner's authorizers whose appid is greater than after, in the order
// of their appids.
func (r *Registry) List(ctx context.Context, owner tenant.ID, after wechat.AppID, limit int) ([]Authorizer, error) {
	all, err := r.table.list(ctx, owner, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list authorizers: %w", err)
	}
	return all, nil
}

// Find returns the authorizer id of any tenant. It is for the operator and for WeChat's own
// messages, never for a tenant. It fails with ErrUnknown.
func (r *Registry) Find(ctx context.Context, id wechat.AppID) (Authorizer, error) {
	return r.table.find(ctx, r.db, id)
}

// All returns up to limit authorizers of any tenant whose appid is greater than after. It is for
// the operator.
func (r *Registry) All(ctx context.Context, after wechat.AppID, limit int) ([]Authorizer, error) {
	return r.table.all(ctx, after, limit)
}

// InState is All for one state.
func (r *Registry) InState(ctx context.Context, state State, after wechat.AppID, limit int) ([]Authorizer, error) {
	return r.table.allInState(ctx, state, after, limit)
}

// Move gives the authorizer id to another tenant, or to none (""). Only the operator may do that;
// by says who. It fails with ErrUnknown.
func (r *Registry) Move(ctx context.Context, by audit.Actor, id wechat.AppID, to tenant.ID) error {
	return r.db.Tx(ctx, func(tx *db.Tx) error {
		tx.Changed()
		before, err := r.table.findLocked(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := r.table.bind(ctx, tx, id, to); err != nil {
			return err
		}
		addMove(audit.Begin(ctx, tx, by), id, before.Tenant, to)
		return r.tokens.SetOwner(ctx, tx, id, token.Owner(to))
	})
}
