// Package invitation is how merchants come to us: links that they follow to authorize the component, the two pages behind a link, and the exchange of the auth code that WeChat gives for it.
package invitation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"wxplatform/authorizer"
	"wxplatform/component"
	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/internal/strict"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// What can be wrong with an invitation or a code.
var (
	ErrUnknown    = errors.New("no such invitation") // also another tenant's
	ErrEnded      = errors.New("invitation is no longer pending")
	ErrCode       = errors.New("WeChat does not know this auth code") // never sent before, so nothing was lost
	ErrAnswerLost = errors.New("the answer to this auth code was lost; the event will tell whose it is")
	ErrBusy       = errors.New("the auth code is being exchanged elsewhere")
	// ErrContradiction says that WeChat's event and WeChat's answer name different accounts for one
	// auth code. Neither is bound; trying again changes nothing, and the operator should know.
	ErrContradiction = errors.New("WeChat names two accounts for one auth code")
)

// Status is where an invitation stands.
type Status string

// The statuses. Expired is never stored: it is a pending one whose time is over.
const (
	Pending    Status = "pending"
	Authorized Status = "authorized"
	NotBound   Status = "not-bound" // the account belongs to another tenant, or is not the one that was invited
	Cancelled  Status = "cancelled"
	Expired    Status = "expired"
)

// Kind is which of WeChat's consent pages a merchant is led to.
type Kind string

// The kinds: a page to scan from a computer, or one inside WeChat on a phone.
const (
	PC     Kind = "pc"
	Mobile Kind = "mobile"
)

const (
	lifeDefault = 7 * 24 * time.Hour
	lifeMost    = 30 * 24 * time.Hour
	lifeLeast   = time.Minute
	stateMost   = 128 // characters
	setsMost    = 100 // WeChat has some eighty; they stand in the link to its consent page
)

// Invitation is a link for one authorization. Its id is a secret: who has it may authorize for the tenant.
type Invitation struct {
	hash           string
	Tenant         tenant.ID
	RedirectURL    string // where the merchant's browser ends up
	Kind           Kind
	AppID          wechat.AppID // the only account that may authorize; "" is any
	PermissionSets wechat.PermissionSets
	State          string // the tenant's own, handed back
	Status         Status
	Bound          wechat.AppID // the account that was authorized
	Created        time.Time
	Expires        time.Time
	lease          time.Time // until when a code of it is being exchanged
}

// at is the invitation as it is at now.
func (i Invitation) at(now time.Time) Invitation {
	if i.Status == Pending && !now.Before(i.Expires) {
		i.Status = Expired
	}
	return i
}

// Service makes invitations and exchanges the auth codes that merchants bring back. It is safe for concurrent use.
type Service struct {
	db          *db.DB
	tenants     *tenant.Registry
	authorizers *authorizer.Registry
	component   *component.Component
	publicURL   string // without a trailing slash
	consentURL  string // base of WeChat's consent pages; "" is WeChat's own two hosts
}

// New makes a Service whose links begin with publicURL and lead to consentURL, or to WeChat where that is "".
func New(d *db.DB, tenants *tenant.Registry, authorizers *authorizer.Registry, c *component.Component, publicURL, consentURL string) *Service {
	return &Service{db: d, tenants: tenants, authorizers: authorizers, component: c, publicURL: strings.TrimSuffix(publicURL, "/"), consentURL: strings.TrimSuffix(consentURL, "/")}
}

// Request is what a tenant asks for.
type Request struct {
	RedirectURL    string                `json:"redirect_url"`
	Kind           Kind                  `json:"kind"`
	AppID          wechat.AppID          `json:"appid"`
	PermissionSets wechat.PermissionSets `json:"permission_sets"`
	ExpiresIn      int64                 `json:"expires_in"` // seconds
	State          string                `json:"state"`
}

func (r Request) check(owner tenant.Tenant) error {
	switch {
	case !slices.Contains(owner.Redirects, r.RedirectURL):
		return &strict.Fault{Field: "redirect_url", Why: "is not one that is registered for this tenant, to the letter"}
	case r.Kind != PC && r.Kind != Mobile:
		return &strict.Fault{Field: "kind", Why: `is neither "pc" nor "mobile"`}
	case utf8.RuneCountInString(r.State) > stateMost:
		return &strict.Fault{Field: "state", Why: fmt.Sprintf("is over %d characters", stateMost)}
	case len(r.PermissionSets) > setsMost:
		return &strict.Fault{Field: "permission_sets", Why: fmt.Sprintf("are over %d", setsMost)}
	case strings.ContainsRune(r.State, 0):
		return &strict.Fault{Field: "state", Why: "holds U+0000"}
	case r.ExpiresIn != 0 && (r.ExpiresIn < int64(lifeLeast.Seconds()) || r.ExpiresIn > int64(lifeMost.Seconds())):
		return &strict.Fault{Field: "expires_in", Why: fmt.Sprintf("is not from %d to %d seconds", int64(lifeLeast.Seconds()), int64(lifeMost.Seconds()))}
	}
	for _, set := range r.PermissionSets {
		if set <= 0 {
			return &strict.Fault{Field: "permission_sets", Why: "holds what is no permission set's number"}
		}
	}
	return nil
}

func (r Request) life() time.Duration {
	if r.ExpiresIn == 0 {
		return lifeDefault
	}
	return time.Duration(r.ExpiresIn) * time.Second
}

// Create makes an invitation and its id, which is shown this once and stored as a hash. It fails with *strict.Fault, or authorizer.ErrUnknown where the appid is not owner's.
func (s *Service) Create(ctx context.Context, by tenant.Actor, owner tenant.ID, r Request) (seal.Secret, Invitation, error) {
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
	made, err := s.make(ctx, id, owner, r)
	return id, made, err
}

func (s *Service) make(ctx context.Context, id seal.Secret, owner tenant.ID, r Request) (Invitation, error) {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return Invitation{}, fmt.Errorf("make an invitation: %w", err)
	}
	i := Invitation{
		hash: id.Hash(), Tenant: owner, RedirectURL: r.RedirectURL, Kind: r.Kind, AppID: r.AppID, PermissionSets: r.PermissionSets,
		State: r.State, Status: Pending, Created: now, Expires: now.Add(r.life()),
	}
	if err := s.insert(ctx, i); err != nil {
		return Invitation{}, fmt.Errorf("make an invitation: %w", err)
	}
	return i, nil
}

// URL is the link of the invitation id.
func (s *Service) URL(id seal.Secret) string { return s.publicURL + "/authorize/" + id.Reveal() }

// Get is owner's invitation, or ErrUnknown.
func (s *Service) Get(ctx context.Context, owner tenant.ID, id seal.Secret) (Invitation, error) {
	i, err := s.find(ctx, s.db, id.Hash())
	if err == nil && i.Tenant != owner {
		err = ErrUnknown
	}
	if err != nil {
		return Invitation{}, err
	}
	return s.today(ctx, i)
}

// open is the invitation id, whosever it is: for the merchant's browser, which has nothing but the link.
func (s *Service) open(ctx context.Context, id seal.Secret) (Invitation, error) {
	i, err := s.find(ctx, s.db, id.Hash())
	if err != nil {
		return Invitation{}, err
	}
	return s.today(ctx, i)
}

func (s *Service) today(ctx context.Context, i Invitation) (Invitation, error) {
	now, err := db.Now(ctx, s.db)
	return i.at(now), err
}

// Cancel ends owner's invitation while it is pending: ErrUnknown or ErrEnded otherwise.
func (s *Service) Cancel(ctx context.Context, by tenant.Actor, owner tenant.ID, id seal.Secret) (Invitation, error) {
	i, err := s.Get(ctx, owner, id)
	if err != nil {
		return Invitation{}, err
	}
	done, err := s.cancel(ctx, owner, id.Hash())
	if err == nil && !done {
		err = ErrEnded
	}
	i.Status = Cancelled
	return i, err
}
