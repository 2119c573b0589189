package invitation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// visit is what a browser gets that opens a pending invitation.
type visit struct {
	tenant  string      // the name of the tenant that invites
	consent string      // WeChat's consent page
	cookie  seal.Secret // proves, when the browser comes back, that it is the same one
}

// newVisit prepares the invitation i for a browser: it gets a new pre-auth code, by which WeChat's
// event will name the invitation, and a new cookie.
func (s *Service) newVisit(ctx context.Context, id seal.Secret, i Invitation) (visit, error) {
	who, err := s.tenants.Tenant(ctx, i.Tenant)
	if err != nil {
		return visit{}, fmt.Errorf("tenant of the invitation: %w", err)
	}
	code, lifetime, err := s.preAuthCode(ctx)
	if err != nil {
		return visit{}, err
	}
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return visit{}, err
	}
	proof, until := seal.NewSecret(rand.Text()), now.Add(lifetime+exchangeSlack)
	remembering := errors.Join(
		s.remember(ctx, preAuth, code, i.hash, until),
		s.remember(ctx, cookie, proof, i.hash, until))
	return visit{who.Name, s.consent(i, code, s.URL(id)+"/done"), proof}, remembering
}

// opened reports whether the browser with this cookie opened the page of the invitation i.
func (s *Service) opened(ctx context.Context, proof seal.Secret, i Invitation) (bool, error) {
	hash, err := s.invitationOf(ctx, cookie, proof)
	return err == nil && hash == i.hash, err
}

// target is the address to which the browser is sent with a result: the tenant's redirect_url,
// exactly as registered, with our parameters added (docs/design.md, "The merchant's browser").
func (i Invitation) target(id seal.Secret, r Result) (string, error) {
	u, err := url.Parse(i.RedirectURL)
	if err != nil {
		return "", errors.New("the invitation's redirect_url is not a URL")
	}
	query := url.Values{"invitation": {id.Reveal()}, "state": {i.State}, "result": {string(r.Status)}}
	if r.Status == Authorized {
		query.Set("appid", string(r.AppID))
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += query.Encode()
	return u.String(), nil
}
