// Package invitation makes the links by which merchants authorize the component, serves the pages
// behind a link, and exchanges the auth codes that WeChat gives.
//
// Tenants create links over HTTP, merchants open them in a browser, and package inbox brings the
// auth codes that WeChat pushes. While SQL is unavailable everything fails with db.ErrUnavailable,
// and no auth code is spent.
package invitation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"wxplatform/audit"
	"wxplatform/authorizer"
	"wxplatform/component"
	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
	"wxplatform/internal/strict"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// What can be wrong with an invitation or an auth code.
var (
	// ErrUnknown says that there is no such invitation, or that it is another tenant's.
	ErrUnknown = errors.New("no such invitation")
	// ErrEnded says that an invitation is no longer pending.
	ErrEnded = errors.New("invitation is no longer pending")
	// ErrCode says that WeChat refused an auth code the first time that it was sent, so no earlier
	// answer can have been lost.
	ErrCode = errors.New("WeChat does not know this auth code")
	// ErrAnswerLost says that the code was exchanged and the answer lost. WeChat's event names the
	// account, and then the account's tokens can be found.
	ErrAnswerLost = errors.New("the answer to this auth code was lost; WeChat's event will name the account")
	// ErrBusy says that the code, or another one of its invitation, is being exchanged elsewhere.
	ErrBusy = errors.New("the auth code is being exchanged elsewhere")
	// ErrContradiction says that WeChat's event and WeChat's answer name different accounts for one
	// auth code. Neither is bound; trying again changes nothing, and the operator should know.
	ErrContradiction = errors.New("WeChat names two accounts for one auth code")
	// ErrMisdirected says that a browser brought an auth code through another invitation than the one
	// that WeChat's event names. Nothing is bound; trying again changes nothing, and the operator
	// should know.
	ErrMisdirected = errors.New("an auth code was brought through another invitation than the merchant consented to")
	// ErrElsewhere says that the auth code came by another invitation before.
	ErrElsewhere = errors.New("the auth code came by another invitation before")
)

// PendingError says that a tenant has as many pending invitations as it may have. Requests that
// come at the same time may exceed the number by a few.
type PendingError struct{ Most int }

// Error names the number.
func (e *PendingError) Error() string {
	return fmt.Sprintf("%d invitations are pending already", e.Most)
}

// Status is the state of an invitation.
type Status string

// The statuses. Expired is not stored: a pending invitation expires with time.
const (
	Pending    Status = "pending"
	Authorized Status = "authorized"
	NotBound   Status = "not-bound" // the account belongs to another tenant, or is not the invited one
	Cancelled  Status = "cancelled"
	Expired    Status = "expired"
)

// Kind selects one of WeChat's consent pages.
type Kind string

// The kinds: a page with a code to scan, shown on a computer, or a page inside WeChat on a phone.
const (
	PC     Kind = "pc"
	Mobile Kind = "mobile"
)

// The defaults of a Service's bounds.
const (
	DefaultMaxPending = 10_000
	DefaultKeepEnded  = 90 * 24 * time.Hour
	DefaultKeepCodes  = 24 * time.Hour // WeChat's codes are valid for an hour
)

const (
	defaultLifetime = 7 * 24 * time.Hour
	maxLifetime     = 30 * 24 * time.Hour
	minLifetime     = time.Minute
	maxState        = 128 // characters
	maxSets         = 100 // WeChat has about 80; they are in the link to its consent page
)

// Invitation is a link for one authorization. Its id is a secret: it lets its bearer authorize for
// the tenant. Only a hash of it is stored.
type Invitation struct {
	hash           string
	Tenant         tenant.ID
	RedirectURL    string // where the merchant's browser is sent in the end
	Kind           Kind
	AppID          wechat.AppID // the only account that may authorize; "" means any
	PermissionSets wechat.PermissionSets
	State          string // the tenant's own text, handed back to it
	Status         Status
	Bound          wechat.AppID // the account that the merchant authorized; "" while none was
	Created        time.Time
	Expires        time.Time
	lease          time.Time // until when one of its codes is being exchanged
}

// at returns the invitation with its status as of now.
func (i Invitation) at(now time.Time) Invitation {
	if i.Status == Pending && !now.Before(i.Expires) {
		i.Status = Expired
	}
	return i
}

// Service makes invitations and exchanges the auth codes that merchants bring back. While SQL is
// unavailable its methods fail with db.ErrUnavailable: no code is sent to WeChat whose result could
// not be stored. It is safe for concurrent use.
type Service struct {
	// MaxPending is how many pending invitations a tenant may have, KeepEnded how long an invitation
	// is kept after it ended, and KeepCodes how long it is known what became of an auth code. They are
	// set before the first call.
	MaxPending           int
	KeepEnded, KeepCodes time.Duration

	db          *db.DB
	table       table
	tenants     *tenant.Registry
	authorizers *authorizer.Registry
	component   *component.Component
	publicURL   string // without a trailing slash
	consentURL  string // base of WeChat's consent pages; "" means WeChat's own two hosts

	preAuths  *limit // calls for a pre-auth code
	exchanges *limit // exchanges of codes that browsers bring
	fetched   *mirror.Local[string, fetched]
	fetching  *mirror.Flights[string, seal.Secret]
	storing   *mirror.Flights[string, Result] // of what WeChat gave, by the hash of the code

	misdirected atomic.Int64
}

// New makes a Service whose links begin with publicURL. They lead to consent pages at consentURL,
// or to WeChat's own if that is "".
func New(
	d *db.DB, m *mirror.Mirror, tenants *tenant.Registry, authorizers *authorizer.Registry, c *component.Component,
	publicURL, consentURL string,
) *Service {
	return &Service{
		MaxPending: DefaultMaxPending, KeepEnded: DefaultKeepEnded, KeepCodes: DefaultKeepCodes,
		db: d, table: table{d}, tenants: tenants, authorizers: authorizers, component: c,
		publicURL: strings.TrimSuffix(publicURL, "/"), consentURL: strings.TrimSuffix(consentURL, "/"),
		preAuths: newLimit(createPreAuthCode, preAuthsEach), exchanges: newLimit(queryAuth, exchangesEach),
		fetched:  mirror.NewLocal[string, fetched](fetchedKept),
		fetching: mirror.NewFlights[string, seal.Secret](m, fetchPatience),
		storing:  mirror.NewFlights[string, Result](m, 0),
	}
}

// Request is the body with which a tenant asks for an invitation.
type Request struct {
	RedirectURL    string                `json:"redirect_url"`
	Kind           Kind                  `json:"kind"`
	AppID          wechat.AppID          `json:"appid"`
	PermissionSets wechat.PermissionSets `json:"permission_sets"`
	ExpiresIn      int64                 `json:"expires_in"` // seconds; 0 means the default
	State          string                `json:"state"`
}

// check returns a *strict.Fault for the first field that is not acceptable, or nil.
func (r Request) check(owner tenant.Tenant) error {
	switch {
	case !slices.Contains(owner.Redirects, r.RedirectURL):
		return &strict.Fault{Field: "redirect_url", Why: "is not exactly one of the URLs registered for this tenant"}
	case r.Kind != PC && r.Kind != Mobile:
		return &strict.Fault{Field: "kind", Why: `is neither "pc" nor "mobile"`}
	case utf8.RuneCountInString(r.State) > maxState:
		return &strict.Fault{Field: "state", Why: fmt.Sprintf("is over %d characters", maxState)}
	case strings.ContainsRune(r.State, 0):
		return &strict.Fault{Field: "state", Why: "holds U+0000"}
	case len(r.PermissionSets) > maxSets:
		return &strict.Fault{Field: "permission_sets", Why: fmt.Sprintf("are over %d", maxSets)}
	case slices.ContainsFunc(r.PermissionSets, func(set wechat.PermissionSet) bool { return set <= 0 }):
		return &strict.Fault{Field: "permission_sets", Why: "holds a number that is not a permission set"}
	}
	return r.checkLifetime()
}

func (r Request) checkLifetime() error {
	least, most := int64(minLifetime.Seconds()), int64(maxLifetime.Seconds())
	if r.ExpiresIn != 0 && (r.ExpiresIn < least || r.ExpiresIn > most) {
		return &strict.Fault{Field: "expires_in", Why: fmt.Sprintf("is not from %d to %d seconds", least, most)}
	}
	return nil
}

func (r Request) lifetime() time.Duration {
	if r.ExpiresIn == 0 {
		return defaultLifetime
	}
	return time.Duration(r.ExpiresIn) * time.Second
}

// Create makes an invitation, and its id, which is returned this once and stored as a hash. It
// fails with *PendingError, with *strict.Fault, or with authorizer.ErrUnknown if the request names
// an account that is not the owner's.
func (s *Service) Create(ctx context.Context, by audit.Actor, owner tenant.ID, r Request) (seal.Secret, Invitation, error) {
	who, err := s.tenants.Tenant(ctx, owner)
	if err != nil {
		return seal.Secret{}, Invitation{}, fmt.Errorf("tenant of the invitation: %w", err)
	}
	if err := r.check(who); err != nil {
		return seal.Secret{}, Invitation{}, err
	}
	if r.AppID != "" {
		if _, err := s.authorizers.Get(ctx, owner, r.AppID); err != nil {
			return seal.Secret{}, Invitation{}, err
		}
	}
	id := seal.NewSecret(rand.Text())
	created, err := s.store(ctx, by, id, owner, r)
	if err != nil {
		return seal.Secret{}, Invitation{}, fmt.Errorf("create an invitation: %w", err)
	}
	return id, created, nil
}

func (s *Service) store(ctx context.Context, by audit.Actor, id seal.Secret, owner tenant.ID, r Request) (i Invitation, err error) {
	err = s.db.Tx(ctx, func(tx *db.Tx) error {
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		pending, err := s.table.countPending(ctx, tx, owner, now, s.MaxPending)
		if err != nil {
			return err
		}
		if pending >= s.MaxPending {
			return &PendingError{s.MaxPending}
		}
		i = Invitation{
			hash: id.Hash(), Tenant: owner, RedirectURL: r.RedirectURL, Kind: r.Kind, AppID: r.AppID,
			PermissionSets: r.PermissionSets, State: r.State, Status: Pending,
			Created: now, Expires: now.Add(r.lifetime()),
		}
		audit.Record(ctx, tx, by, i.changed(audit.InvitationCreate, audit.Values{}, i.asCreated()))
		return s.table.insert(ctx, tx, i)
	})
	return i, err
}

// changed names the invitation by its hash, as the list does: its id is a secret.
func (i Invitation) changed(what audit.Action, before, after audit.Values) audit.Change {
	return audit.Change{Action: what, Owner: audit.Owner(i.Tenant), Subject: i.hash, Before: before, After: after}
}

// asCreated has no State, which is the tenant's own text.
func (i Invitation) asCreated() audit.Values {
	appid := audit.Null("appid")
	if i.AppID != "" {
		appid = audit.Is("appid", i.AppID)
	}
	return audit.Of(audit.Is("kind", i.Kind), appid, audit.Is("permission_sets", i.PermissionSets.String()),
		audit.Is("redirect_url", i.RedirectURL), audit.When("expires_at", i.Expires))
}

// URL returns the link of the invitation id.
func (s *Service) URL(id seal.Secret) string { return s.publicURL + "/authorize/" + id.Reveal() }

// Get returns the owner's invitation, or ErrUnknown.
func (s *Service) Get(ctx context.Context, owner tenant.ID, id seal.Secret) (Invitation, error) {
	i, err := s.lookUp(ctx, id)
	if err == nil && i.Tenant != owner {
		return Invitation{}, ErrUnknown
	}
	return i, err
}

// lookUp returns the invitation id of any tenant, or ErrUnknown: a merchant's browser has only the
// link.
func (s *Service) lookUp(ctx context.Context, id seal.Secret) (Invitation, error) {
	i, err := s.table.find(ctx, s.db, id.Hash())
	if err != nil {
		return Invitation{}, err
	}
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return Invitation{}, err
	}
	return s.current(ctx, s.db, i, now)
}

// current returns the invitation with its status as of now. While its tenant is suspended, a
// pending invitation counts as cancelled; that is not stored.
func (s *Service) current(ctx context.Context, q db.Querier, i Invitation, now time.Time) (Invitation, error) {
	i = i.at(now)
	if i.Status != Pending {
		return i, nil
	}
	suspended, err := s.tenants.IsSuspended(ctx, q, i.Tenant)
	if err != nil {
		return Invitation{}, fmt.Errorf("tenant of the invitation: %w", err)
	}
	if suspended {
		i.Status = Cancelled
	}
	return i, nil
}

// Cancel ends the owner's invitation. It fails with ErrUnknown, or with ErrEnded if the invitation
// is not pending.
func (s *Service) Cancel(ctx context.Context, by audit.Actor, owner tenant.ID, id seal.Secret) (Invitation, error) {
	i, err := s.Get(ctx, owner, id)
	if err != nil {
		return Invitation{}, err
	}
	err = s.db.Tx(ctx, func(tx *db.Tx) error {
		done, err := s.table.cancel(ctx, tx, owner, id.Hash())
		if err == nil && !done {
			return ErrEnded
		}
		audit.Record(ctx, tx, by, i.changed(audit.InvitationCancel, statusIs(Pending), statusIs(Cancelled)))
		return err
	})
	if err != nil {
		return Invitation{}, fmt.Errorf("cancel an invitation: %w", err)
	}
	i.Status = Cancelled
	return i, nil
}

func statusIs(is Status) audit.Values { return audit.Of(audit.Is("status", is)) }

// Paused returns, by its path, whether each API that links cause calls of is paused in this replica
// because WeChat's quota for it is used up.
func (s *Service) Paused() map[string]bool {
	now := time.Now()
	return map[string]bool{s.preAuths.API: s.preAuths.Paused(now), s.exchanges.API: s.exchanges.Paused(now)}
}
