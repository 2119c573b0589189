package inbox

import (
	"errors"
	"sync/atomic"

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
	NoEncrypt      Reason = "no-encrypt"   // its body has no Encrypt, or two different ones
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

	refused map[Reason]*atomic.Int64
}

func noneRefused() map[Reason]*atomic.Int64 {
	none := map[Reason]*atomic.Int64{}
	for _, r := range Reasons {
		none[r] = new(atomic.Int64)
	}
	return none
}

// Refused returns how many pushes were refused, or changed nothing, for a reason.
func (c *Counts) Refused(r Reason) int64 { return c.refused[r].Load() }

// Forged returns how many pushes were not made with our Token and AES key, or do not hold what
// WeChat sends.
func (c *Counts) Forged() int64 {
	return c.Refused(BadSignature) + c.Refused(BadEnvelope) + c.Refused(OtherComponent) + c.Refused(BadContent)
}

func (c *Counts) refuse(r Reason) {
	if count, known := c.refused[r]; known {
		count.Add(1)
	}
}
