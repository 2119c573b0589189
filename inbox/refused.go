package inbox

import (
	"errors"
	"sync/atomic"
	"time"

	"wxplatform/internal/strict"
	"wxplatform/wechat"
)

// Reason says why a push was refused, or why an authentic one changed nothing.
type Reason string

// The reasons. Pushes with one of the last two are authentic, and are answered success.
const (
	BadSignature   Reason = "signature"    // no token of ours signed it
	BadEnvelope    Reason = "envelope"     // no AES key of ours decrypts it
	OtherComponent Reason = "component"    // it was encrypted for another component
	BadClock       Reason = "clock"        // its timestamp is more than ten minutes off
	TooLarge       Reason = "size"         // its body is over pushLimit
	Cut            Reason = "cut"          // its body could not be read to the end
	NoEncrypt      Reason = "no-encrypt"   // its body has no single Encrypt (wechat.ErrNoEncrypt)
	BadContent     Reason = "content"      // it decrypts, but is not an event of this component
	BadAppID       Reason = "appid"        // it names no plausible account
	NotRegistered  Reason = "registration" // a registration failed, or brings no auth code
)

// Reasons lists every Reason.
var Reasons = []Reason{
	BadSignature, BadEnvelope, OtherComponent, BadClock, TooLarge, Cut, NoEncrypt, BadContent, BadAppID, NotRegistered,
}

var (
	errCut     = errors.New("its body was cut")
	errContent = errors.New("its content is not an event of this component")
)

// reasonOf says why a push is refused with err, or "" if err is not a refusal.
func reasonOf(err error) Reason {
	for _, c := range []struct {
		is error
		Reason
	}{
		{ErrClock, BadClock},
		{wechat.ErrSignature, BadSignature},
		{wechat.ErrComponent, OtherComponent},
		{wechat.ErrNoEncrypt, NoEncrypt},
		{wechat.ErrEnvelope, BadEnvelope},
		{strict.ErrTooLarge, TooLarge},
		{errCut, Cut},
		{errContent, BadContent},
	} {
		if errors.Is(err, c.is) {
			return c.Reason
		}
	}
	return ""
}

// Counts counts pushes by kind since the process started. Tickets, Events and Messages are
// authentic; Unknown pushes are too, but change nothing.
type Counts struct {
	Tickets, Events, Unknown, Messages atomic.Int64

	authentic atomic.Int64 // when the last authentic push came, in Unix nanoseconds
	refused   map[Reason]*refusals
}

// refusals counts the pushes that were refused for one reason.
type refusals struct{ count, last atomic.Int64 } // last is when, in Unix nanoseconds

func noneRefused() map[Reason]*refusals {
	none := map[Reason]*refusals{}
	for _, r := range Reasons {
		none[r] = &refusals{}
	}
	return none
}

// Refused returns how many pushes were refused, or changed nothing, for a reason.
func (c *Counts) Refused(r Reason) int64 { return c.refused[r].count.Load() }

// LastRefused returns when a push was last refused for a reason, or the zero time.
func (c *Counts) LastRefused(r Reason) time.Time { return at(&c.refused[r].last) }

// LastAuthentic returns when the last authentic push came to this process, or the zero time.
func (c *Counts) LastAuthentic() time.Time { return at(&c.authentic) }

func at(nanoseconds *atomic.Int64) time.Time {
	if n := nanoseconds.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

// Forged returns how many pushes were not made with our Token and AES key, or do not hold what
// WeChat sends.
func (c *Counts) Forged() int64 {
	return c.Refused(BadSignature) + c.Refused(BadEnvelope) + c.Refused(OtherComponent) + c.Refused(BadContent)
}

func (c *Counts) refuse(r Reason) {
	if all, known := c.refused[r]; known {
		all.count.Add(1)
		all.last.Store(time.Now().UnixNano())
	}
}
