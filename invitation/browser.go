package invitation

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// visit is what a browser gets that opens a pending invitation.
type visit struct {
	tenant  string // the name of the tenant that invites
	consent string // WeChat's consent page
}

// newVisit prepares the invitation i for a browser: it finds a pre-auth code, by which WeChat's
// event will name the invitation. It fails with *LimitError or *quota.PauseError.
func (s *Service) newVisit(ctx context.Context, id seal.Secret, i Invitation) (visit, error) {
	who, err := s.tenants.Tenant(ctx, i.Tenant)
	if err != nil {
		return visit{}, fmt.Errorf("tenant of the invitation: %w", err)
	}
	code, err := s.preAuthFor(ctx, i)
	if err != nil {
		return visit{}, err
	}
	return visit{who.Name, s.consent(i, code, s.URL(id)+"/done")}, nil
}

const (
	reuseFor      = time.Minute
	fetchedKept   = 50_000
	fetchPatience = 10 * time.Second
)

// fetched is a pre-auth code that this process got for an invitation.
type fetched struct {
	code  seal.Secret
	until time.Time // when the next page gets a new one
}

// preAuthFor returns a pre-auth code for the invitation. All who open the page within a minute get
// the same one: it always names this invitation, and an invitation ends with its first
// authorization, so there is no second consent that it could be needed for.
func (s *Service) preAuthFor(ctx context.Context, i Invitation) (seal.Secret, error) {
	if code, ok := s.reusable(i); ok {
		return code, nil
	}
	return s.fetching.Do(ctx, i.hash, func(ctx context.Context) (seal.Secret, error) {
		if code, ok := s.reusable(i); ok {
			return code, nil
		}
		return s.fetch(ctx, i)
	})
}

func (s *Service) reusable(i Invitation) (seal.Secret, bool) {
	known, found := s.fetched.Get(i.hash)
	return known.code, found && time.Now().Before(known.until)
}

// fetch gets a new pre-auth code from WeChat, and stores first which invitation it names.
func (s *Service) fetch(ctx context.Context, i Invitation) (seal.Secret, error) {
	began := time.Now()
	if err := s.preAuths.take(i, began); err != nil {
		return seal.Secret{}, fmt.Errorf("pre-auth code: %w", err)
	}
	code, lifetime, err := s.preAuthCode(ctx)
	s.preAuths.ended(err)
	if err != nil {
		return seal.Secret{}, err
	}
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return seal.Secret{}, err
	}
	if err := s.table.remember(ctx, code, i.hash, now.Add(lifetime+exchangeSlack)); err != nil {
		return seal.Secret{}, err
	}
	s.fetched.Set(i.hash, fetched{code, began.Add(min(reuseFor, lifetime/10))})
	return code, nil
}

// newProof makes the cookie by which a browser proves later that it opened this invitation's page.
// It is a random text and its MAC under the invitation's id. Anyone with the link can make one, as
// anyone can open the page; but nobody can put one into another's browser. So nothing is stored
// when a page is opened, however often that is.
func newProof(id seal.Secret) seal.Secret {
	random := rand.Text()
	return seal.NewSecret(random + "." + proofMAC(id, random))
}

// proves reports whether newProof made proof for the invitation.
func proves(proof, id seal.Secret) bool {
	random, mac, _ := strings.Cut(proof.Reveal(), ".")
	return hmac.Equal([]byte(mac), []byte(proofMAC(id, random)))
}

func proofMAC(id seal.Secret, random string) string {
	mac := hmac.New(sha256.New, []byte(id.Reveal()))
	mac.Write([]byte("the browser that opened the invitation " + random))
	return hex.EncodeToString(mac.Sum(nil))
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
