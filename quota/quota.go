// Package quota decides whether WeChat may be asked for an access token now: it keeps the pauses
// that WeChat's refusals begin, the day's budget of refreshes, and the pace of renewals.
//
// Package authorizer calls it around each request for an access token. While SQL is unavailable the
// last known pause and counts hold, and what this replica sent is counted later.
package quota

import (
	"time"

	"wxplatform/internal/db"
	"wxplatform/wechat"
)

// Limiter limits what all replicas together ask of WeChat. It is safe for concurrent use.
type Limiter struct {
	// Budget is how many access tokens all replicas may request in a day; 0 means WeChat's own
	// quota. It is set before the first call.
	Budget int64
	// KeepDays is how long the count of a day is kept. It is set before the first call.
	KeepDays time.Duration

	db     *db.DB
	pauses pauses
	usage  usage
}

// New returns a Limiter that shares its state with other replicas through d.
func New(d *db.DB) *Limiter { return &Limiter{KeepDays: DefaultKeepDays, db: d} }

// DefaultKeepDays is the default of Limiter.KeepDays.
const DefaultKeepDays = 7 * 24 * time.Hour

// IsPlatformFault reports whether a code means that WeChat refuses this platform rather than one
// account: its address, its secret, its ticket, its appid, or its component token.
func IsPlatformFault(code wechat.Code) bool {
	switch code {
	case wechat.UnknownAddress, wechat.InvalidSecret, wechat.TicketExpired, wechat.TicketInvalid, wechat.InvalidComponent,
		wechat.InvalidCredential, wechat.InvalidToken, wechat.TokenExpired, wechat.ComponentTokenExpired:
		return true
	}
	return false
}
