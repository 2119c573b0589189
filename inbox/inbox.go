// Package inbox is what WeChat tells us: pushes opened, stored, worked off, and handed down to the package that they concern.
package inbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"wxplatform/authorizer"
	"wxplatform/component"
	"wxplatform/internal/db"
	"wxplatform/internal/queue"
	"wxplatform/internal/seal"
	"wxplatform/invitation"
	"wxplatform/wechat"
)

// ErrNotAuthentic says that a push was not made by WeChat for this component, or not now: it changes nothing.
var ErrNotAuthentic = errors.New("push is not authentic")

// ErrClock says that a push is authentic but for its timestamp, more than ten minutes off: it may be ours that is wrong.
var ErrClock = fmt.Errorf("%w: its timestamp is more than 10 minutes off", ErrNotAuthentic)

const timestampSlack = 10 * time.Minute

// Inbox takes WeChat's pushes. It is safe for concurrent use.
type Inbox struct {
	Counts Counts

	appid       wechat.AppID
	envelope    *wechat.Envelope
	db          *db.DB
	ring        *seal.Ring
	component   *component.Component
	invitations *invitation.Service
	authorizers *authorizer.Registry
	releaseTest bool // whether WeChat's release test is answered
	queue       *queue.Queue[event]
}

// New is the inbox of the component c, whose pushes envelope opens. releaseTest has WeChat's full-network release test answered.
func New(envelope *wechat.Envelope, d *db.DB, ring *seal.Ring, c *component.Component, invitations *invitation.Service, authorizers *authorizer.Registry, releaseTest bool) *Inbox {
	b := &Inbox{Counts: Counts{refused: noneRefused()}, releaseTest: releaseTest, appid: c.AppID, envelope: envelope, db: d, ring: ring, component: c, invitations: invitations, authorizers: authorizers}
	b.queue = queue.New(events{b}, atOnce, round, patience)
	return b
}

// open is the message in a push, or ErrNotAuthentic.
func (b *Inbox) open(p wechat.Push) ([]byte, error) {
	message, err := b.envelope.Open(p)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotAuthentic, err)
	}
	if !recent(p.Timestamp, time.Now()) {
		return nil, ErrClock
	}
	return message, nil
}

// The signature covers timestamp and nonce without saying where one ends, so only a timestamp of WeChat's own form, ten digits, is believed.
func recent(timestamp string, now time.Time) bool {
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || len(timestamp) != 10 {
		return false
	}
	return now.Sub(time.Unix(seconds, 0)).Abs() <= timestampSlack
}

// The events that are acted on (wechat-protocol §1.4). The last is a mini program that was registered through this component.
const (
	ticketPushed = "component_verify_ticket"
	authorized   = "authorized"
	updated      = "updateauthorized"
	withdrawn    = "unauthorized"
	registered   = "notify_third_fasteregister"
)

// notice is what a push says: a component event (wechat-protocol §1), or a message of WeChat's release test. What it does not say is empty.
type notice struct {
	AppID           wechat.AppID // the component's
	CreateTime      string
	InfoType        string
	Ticket          string
	AuthorizerAppID wechat.AppID
	Code            string
	PreAuthCode     string
	Status          string // of a registration
	message                // the two kinds of push share no field
}

// read takes what is needed from a decrypted push, and nothing else of it can be in the way: its signature was good.
func read(plain []byte) notice {
	fields := wechat.ParsePush(plain)
	n := notice{
		AppID:           wechat.AppID(fields.Text("AppId")),
		CreateTime:      fields.Text("CreateTime"),
		InfoType:        fields.Text("InfoType"),
		Ticket:          fields.Text("ComponentVerifyTicket"),
		AuthorizerAppID: wechat.AppID(fields.Text("AuthorizerAppid")),
		Code:            fields.Text("AuthorizationCode"),
		PreAuthCode:     fields.Text("PreAuthCode"),
		message: message{
			To:      wechat.UserName(fields.Text("ToUserName")),
			From:    wechat.OpenID(fields.Text("FromUserName")),
			Type:    fields.Text("MsgType"),
			Content: fields.Text("Content"),
			Event:   fields.Text("Event"),
		},
	}
	if n.InfoType == registered { // which spells its fields in its own way
		n.AuthorizerAppID, n.Code, n.Status = wechat.AppID(fields.Text("appid")), fields.Text("auth_code"), fields.Text("status")
	}
	return n
}

// idle is why an authentic event changes nothing, or "".
func (n notice) idle() Reason {
	switch {
	case n.InfoType == registered && (n.Code == "" || !isZero(n.Status)):
		return NotRegistered
	case !n.AuthorizerAppID.Plausible():
		return BadAppID
	}
	return ""
}

// isZero is WeChat's success. A status that is missing says nothing.
func isZero(status string) bool {
	number, err := strconv.ParseFloat(status, 64)
	return status == "" || err == nil && number == 0
}

// of reports whether n is an event of this component. A message is none, whatever its customer wrote into it: WeChat says what a message is before it says what is in it.
func (n notice) of(component wechat.AppID) bool { return n.AppID == component && n.Type == "" }

// created is zero where the push does not say it in a number.
func (n notice) created() time.Time {
	seconds, err := strconv.ParseInt(n.CreateTime, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// Component takes a push to the authorization-event URL: a ticket is kept at once, everything else is stored sealed and worked off later.
// It fails with ErrNotAuthentic, or with db.ErrUnavailable where the event could not be stored, and so must be pushed again.
func (b *Inbox) Component(ctx context.Context, p wechat.Push) error {
	message, err := b.open(p)
	if err != nil {
		return err
	}
	n := read(message)
	if !n.of(b.appid) {
		return fmt.Errorf("%w: %w", ErrNotAuthentic, errContent)
	}
	switch n.InfoType {
	case ticketPushed:
		return b.ticket(ctx, n)
	case authorized, updated, withdrawn, registered:
		return b.event(ctx, n, message)
	}
	b.Counts.Unknown.Add(1)
	return nil
}

// event stores an event, unless it changes nothing.
func (b *Inbox) event(ctx context.Context, n notice, message []byte) error {
	if why := n.idle(); why != "" {
		b.Counts.Unknown.Add(1)
		b.Counts.refuse(why)
		return nil
	}
	b.Counts.Events.Add(1)
	return b.store(ctx, n.AuthorizerAppID, message)
}

// A ticket that SQL cannot take is not refused: the process goes on with it, and the next one comes in ten minutes.
func (b *Inbox) ticket(ctx context.Context, n notice) error {
	if n.Ticket == "" {
		b.Counts.Unknown.Add(1)
		return nil
	}
	b.Counts.Tickets.Add(1)
	err := b.component.Keep(ctx, component.Ticket{Value: seal.NewSecret(n.Ticket), Created: n.created(), Received: time.Now()})
	if errors.Is(err, db.ErrUnavailable) {
		return nil
	}
	return err
}

// Message takes a push to the message URL of the account that the path names: it is checked and counted. The answer is what WeChat reads, empty for nothing; only its release test gets more than success.
func (b *Inbox) Message(ctx context.Context, path wechat.AppID, p wechat.Push) (answer []byte, err error) {
	plain, err := b.open(p)
	if err != nil {
		return nil, err
	}
	m := read(plain).message
	if m.To == "" || m.Type == "" {
		b.Counts.Unknown.Add(1)
		return success, nil
	}
	b.Counts.Messages.Add(1)
	if !b.releaseTest || !m.fromTester(path) {
		return success, nil
	}
	reply, later := m.release()
	switch {
	case reply != "":
		return b.passive(m, reply), nil
	case later:
		return nil, b.store(ctx, "", plain)
	}
	return success, nil
}

// success is what WeChat wants to read; anything else raises an alarm there (wechat-protocol §1.2).
var success = []byte("success")

// handle does what an event asks. An error means that it is tried again.
func (b *Inbox) handle(ctx context.Context, n notice) error {
	if n.Type != "" {
		return b.answerQuery(ctx, n.message)
	}
	if n.idle() != "" {
		return nil // an older build stored any
	}
	switch n.InfoType {
	case authorized, updated, registered:
		return b.invitations.Authorized(ctx, invitation.Event{AppID: n.AuthorizerAppID, Code: seal.NewSecret(n.Code), PreAuthCode: seal.NewSecret(n.PreAuthCode)})
	case withdrawn:
		return b.authorizers.Withdrawn(ctx, n.AuthorizerAppID)
	}
	return nil
}
