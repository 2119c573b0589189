package invitation

import (
	"errors"
	"fmt"
	"time"

	"wxplatform/internal/bucket"
	"wxplatform/internal/seal"
	"wxplatform/quota"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// The calls of WeChat that anyone with a link causes are limited for each invitation, for each
// tenant and for the component, in each replica, because all tenants share their quotas
// (docs/design.md, "The merchant's browser").
var (
	preAuthsEach  = bucket.Rate{Every: 20 * time.Second, Burst: 3}
	exchangesEach = bucket.Rate{Every: 30 * time.Second, Burst: 10}
	tenantRate    = bucket.Rate{Every: 200 * time.Millisecond, Burst: 100}
	componentRate = bucket.Rate{Every: 50 * time.Millisecond, Burst: 400}
)

const (
	invitationsLimited = 50_000
	tenantsLimited     = 10_000
	maxTries           = 5 // auth codes that one browser may bring
)

// LimitError says that too many calls of WeChat were caused by an invitation, by its tenant's
// invitations, or by all. Wait is when to come again.
type LimitError struct{ Wait time.Duration }

// Error says how long to wait.
func (e *LimitError) Error() string {
	return fmt.Sprintf("too many calls of WeChat by invitations; wait %s", e.Wait.Round(time.Second))
}

// ErrTries says that one browser brought too many auth codes.
var ErrTries = errors.New("the browser brought too many auth codes")

// limit limits the calls of one API. It is safe for concurrent use.
type limit struct {
	quota.Call
	each        bucket.Rate
	invitations *bucket.Set[string] // by hash
	tenants     *bucket.Set[tenant.ID]
	component   bucket.Bucket
}

func newLimit(api string, each bucket.Rate) *limit {
	return &limit{
		Call: quota.Call{API: api}, each: each,
		invitations: bucket.NewSet[string](invitationsLimited),
		tenants:     bucket.NewSet[tenant.ID](tenantsLimited),
	}
}

// take allows one call that the invitation i causes. It fails with *LimitError, or with
// *quota.PauseError while WeChat's quota is used up. The narrowest limit is checked first, so that
// one invitation's excess takes nothing from the others'.
func (l *limit) take(i Invitation, now time.Time) error {
	if wait, ok := l.invitations.Take(i.hash, l.each, now); !ok {
		return &LimitError{wait}
	}
	if wait, ok := l.tenants.Take(i.Tenant, tenantRate, now); !ok {
		return &LimitError{wait}
	}
	if wait, ok := l.component.Take(componentRate, now); !ok {
		l.tenants.Return(i.Tenant, tenantRate)
		return &LimitError{wait}
	}
	return l.Permit(now)
}

// ended notes how a call ended that take or Permit allowed.
func (l *limit) ended(err error) {
	code := wechat.Refused(err)
	l.Done(code, err == nil || code != 0, time.Now())
}

// used counts what became of the auth codes that came by an invitation.
type used struct {
	byCookie   int // other codes that this browser brought
	byBrowsers int // codes that browsers brought
	byEvents   int // codes that WeChat's events brought, and that were exchanged
}

// mayExchange reports whether a browser's code may be sent to WeChat: at most five from each
// browser, and none for an invitation that has ended. An event and the browser of one consent may
// bring a code each, so after an event one code of a browser may follow. It fails with ErrTries or
// ErrEnded.
func (i Invitation) mayExchange(u used) error {
	switch {
	case u.byCookie >= maxTries:
		return ErrTries
	case i.Status == Pending:
		return nil
	case (i.Status == Authorized || i.Status == NotBound) && u.byEvents > 0 && u.byBrowsers == 0:
		return nil
	}
	return ErrEnded
}

const longestCode = 512

// plausible reports whether a text can be an auth code. WeChat's have letters, digits and a few
// marks (docs/wechat.md, "Common rules").
func plausible(code seal.Secret) bool {
	text := code.Reveal()
	for _, c := range []byte(text) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && c != '_' && c != '-' && c != '@' && c != '.' && c != '=' && c != '+' && c != '/' && c != '~' {
			return false
		}
	}
	return len(text) >= shortestCode && len(text) <= longestCode
}

const shortestCode = 8
