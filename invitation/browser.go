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

// visit is what a browser that opens a pending invitation gets.
type visit struct {
	tenant  string      // the name of who is asking
	consent string      // where the button leads
	cookie  seal.Secret // proves at the end that it was this browser
}

// welcome prepares i for a browser: a fresh pre-auth code, which names the invitation in WeChat's event, and a cookie.
func (s *Service) welcome(ctx context.Context, id seal.Secret, i Invitation) (visit, error) {
	who, err := s.tenants.Tenant(ctx, i.Tenant)
	if err != nil {
		return visit{}, fmt.Errorf("tenant of the invitation: %w", err)
	}
	code, life, err := s.preAuthCode(ctx)
	if err != nil {
		return visit{}, err
	}
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return visit{}, err
	}
	proof := seal.NewSecret(rand.Text())
	remembering := errors.Join(
		s.remember(ctx, preAuth, code, i.hash, now.Add(life+exchangeSlack)),
		s.remember(ctx, cookie, proof, i.hash, now.Add(life+exchangeSlack)))
	return visit{who.Name, s.consent(i, code, s.URL(id)+"/done"), proof}, remembering
}

// proven reports whether the browser that brings a code has opened the invitation's page.
func (s *Service) proven(ctx context.Context, proof seal.Secret, i Invitation) (bool, error) {
	hash, err := s.named(ctx, cookie, proof)
	return err == nil && hash == i.hash, err
}

// target is where the browser goes with the result of its code: the tenant's redirect_url, exactly as registered, and our parameters behind it.
func (i Invitation) target(id seal.Secret, r Result) (string, error) {
	u, err := url.Parse(i.RedirectURL)
	if err != nil {
		return "", errors.New("redirect_url of the invitation is no URL")
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
